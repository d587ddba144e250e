"""`podtls audit reconcile`: which files it reads and how, what it prints, how it ends."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from audit.log import EvidenceLog
from contract.names import INJECTED, STATUS
from documents.writer import to_yaml
from podtls.kubernetes.installation import NAMESPACE
from tests.audit.records import TIME, admission, certificate
from tests.podtls.cluster_world import BASE, manifests
from tests.podtls.conftest import Run

STORED, REFUSED, GONE = "a" * 32, "b" * 32, "d" * 32
NAME = "checkout-5d8f-x7k2p"
QUOTA = 'pods "too-many" is forbidden: exceeded quota: enough'


def raw_pod(name: str = NAME, record: str | None = STORED, **metadata: Any) -> dict[str, Any]:
    """A pod as kubectl prints it, with what tells that we injected it."""
    status = {"version": "0.1.0", "mode": "mtls", "ports": "8443=8080", "record": record}
    meta = {
        "name": name,
        "namespace": "shop",
        "uid": f"uid-{name}",
        "creationTimestamp": "2026-11-22T10:30:00Z",
        "labels": {INJECTED: "true"},
        "annotations": {} if record is None else {STATUS: json.dumps(status)},
        **metadata,
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": {"serviceAccountName": "default"}}


def pod_list(*pods: dict[str, Any]) -> str:
    return json.dumps({"apiVersion": "v1", "kind": "List", "metadata": {}, "items": pods})


def typed_list(*pods: dict[str, Any]) -> dict[str, Any]:
    """As the API server itself answers: the items do not say their kind."""
    items = [{"metadata": pod["metadata"], "spec": pod["spec"]} for pod in pods]
    return {"apiVersion": "v1", "kind": "PodList", "metadata": {}, "items": items}


def event(record: str, code: int = 201, message: str = "", **changes: Any) -> str:
    """A line of the API server's audit log, at level Metadata."""
    values = {
        "kind": "Event",
        "apiVersion": "audit.k8s.io/v1",
        "level": "Metadata",
        "auditID": "c0a8",
        "stage": "ResponseComplete",
        "requestURI": "/api/v1/namespaces/shop/pods",
        "verb": "create",
        "user": {"username": "system:serviceaccount:kube-system:replicaset-controller"},
        "objectRef": {"resource": "pods", "namespace": "shop", "apiVersion": "v1"},
        "responseStatus": {"metadata": {}, "code": code, "message": message},
        "requestReceivedTimestamp": "2026-11-22T10:30:00.120000Z",
        "stageTimestamp": "2026-11-22T10:30:00.140000Z",
        "annotations": {"mtls-port.podtls.io/decision": "inject", "mtls-port.podtls.io/record": record},
        **changes,
    }
    return json.dumps(values) + "\n"


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    """Three records that injected: of a pod, of one that the API server refused, of one that nobody has seen."""
    log = EvidenceLog(tmp_path / "webhook-0.jsonl")
    log.append(admission())
    log.append(admission(id=REFUSED, uid="2", name="too-many", time=TIME.replace(hour=11)))
    log.append(admission(id=GONE, uid="3", time=TIME.replace(hour=12), namespace="ops"))
    return tmp_path


@pytest.fixture
def pods(tmp_path: Path) -> Path:
    path = tmp_path / "pods.json"
    path.write_text(pod_list(raw_pod(), {"apiVersion": "v1", "kind": "Pod", **plain()}))
    return path


def plain() -> dict[str, Any]:
    """A pod that is not one that podtls knows."""
    raw = raw_pod("plain", None)
    raw["metadata"].pop("labels")
    return raw


@pytest.fixture
def api_audit(tmp_path: Path) -> Path:
    path = tmp_path / "audit.log"
    path.write_text(event(STORED) + event(REFUSED, 403, QUOTA))
    return path


def test_table_tells_what_became_of_every_record(run: Run, logs: Path, pods: Path, api_audit: Path) -> None:
    outcome = run("audit", "reconcile", "--pods", pods, "--api-audit", api_audit, logs)

    assert (outcome.code, outcome.err) == (0, "")
    assert [line.split(maxsplit=5) for line in outcome.out.splitlines()[1:3]] == [
        ["TIME", "OUTCOME", "NAMESPACE", "POD", "ID", "WHY"],
        ["2026-11-22T10:30:00Z", "stored", "shop", "checkout-5d8f-*", STORED[:12], f"pod {NAME} names it"],
    ]
    assert f"refused later  shop       too-many         {REFUSED[:12]}  the API server answered 403: {QUOTA}\n" in (
        outcome.out
    )
    assert "  not seen       ops " in outcome.out
    assert outcome.out.endswith("\n\nno findings; 1 pod compared; records: 1 stored, 1 refused later, 1 not seen\n")


def test_findings_come_first_and_make_the_exit_code_1(run: Run, logs: Path) -> None:
    copied = pod_list(raw_pod(), raw_pod("checkout-5d8f-copy"), raw_pod("lost", "e" * 32))

    outcome = run("audit", "reconcile", "--pods", "-", logs, text=copied)

    lines = outcome.out.splitlines()
    assert outcome.code == 1
    assert lines[:2] == ["Findings:", "FINDING                   NAMESPACE  POD                  RECORD        WHY"]
    assert [tuple(re.split(" {2,}", line)[:4]) for line in lines[2:5]] == [
        ("two pods name one record", "shop", NAME, STORED[:12]),
        ("two pods name one record", "shop", "checkout-5d8f-copy", STORED[:12]),
        ("no record", "shop", "lost", "e" * 12),
    ]
    assert lines[5:7] == ["", "Records:"]
    assert lines[-1].startswith("3 findings; 3 pods compared; ")


@pytest.mark.parametrize("form", ["json", "yaml"])
def test_json_and_yaml_hold_it_all(form: str, run: Run, logs: Path, api_audit: Path) -> None:
    listing = pod_list(raw_pod(), raw_pod("lost", "e" * 32))

    outcome = run("audit", "reconcile", "--pods", "-", "--api-audit", api_audit, "-o", form, logs, text=listing)

    told = yaml.safe_load(outcome.out)
    assert told["findings"] == [
        {
            "finding": "no record",
            "time": "2026-11-22T10:30:00Z",
            "namespace": "shop",
            "pod": "lost",
            "record": "e" * 32,
            "why": "in none of these files",
        }
    ]
    assert told["records"][0] == {
        "id": STORED,
        "time": "2026-11-22T10:30:00.123456Z",
        "namespace": "shop",
        "pod": "checkout-5d8f-*",
        "outcome": "stored",
        "why": f"pod {NAME} names it",
    }
    assert [each["outcome"] for each in told["records"]] == ["stored", "refused later", "not seen"]
    assert told["pods"] == {"compared": 2, "own": 0}


@pytest.mark.parametrize(
    ("options", "ids"),
    [
        pytest.param(["-n", "ops"], [GONE], id="namespace"),
        pytest.param(["--since", "2026-11-22T11:00:00Z"], [REFUSED, GONE], id="since"),
        pytest.param(["--until", "2026-11-22T11:00:00Z"], [STORED], id="until"),
        pytest.param(["-n", "shop", "--since", "2026-11-22T11:00:00Z"], [REFUSED], id="all must match"),
    ],
)
def test_filters_choose_what_is_shown(options: list[str], ids: list[str], run: Run, logs: Path, pods: Path) -> None:
    outcome = run("audit", "reconcile", "--pods", pods, "-o", "json", *options, logs)

    assert outcome.code == 0
    assert [each["id"] for each in json.loads(outcome.out)["records"]] == ids


def test_certificate_in_the_cas_log_tells_that_its_pod_was_stored(run: Run, logs: Path) -> None:
    EvidenceLog(logs / "ca-0.jsonl").append(certificate())

    outcome = run("audit", "reconcile", "--pods", "-", "-o", "json", logs, text=pod_list())

    assert json.loads(outcome.out)["records"][0]["why"] == f"pod {NAME} got certificate 1f2e"


def test_own_pods_of_podtls_are_told_apart_and_their_namesakes_are_not(run: Run, logs: Path) -> None:
    """Nobody injects the webhook's own pods: their manifest has label and containers, and there is no record."""
    (workload,) = [each for each in manifests() if each["kind"] == "StatefulSet" and "webhook" in str(each["metadata"])]
    template = workload["spec"]["template"]
    own = raw_pod("podtls-webhook-0", None, namespace=NAMESPACE, labels=template["metadata"]["labels"])
    own["spec"] = template["spec"]
    stranger = raw_pod("stranger", None, namespace=NAMESPACE)
    forged = raw_pod("forged", STORED, namespace=NAMESPACE)
    forged["spec"] = template["spec"]

    outcome = run("audit", "reconcile", "--pods", "-", "-o", "json", logs, text=pod_list(own, stranger, forged))

    told = json.loads(outcome.out)
    assert [(each["pod"], each["finding"]) for each in told["findings"]] == [
        ("stranger", "no record"),
        ("forged", "record of another pod"),
    ]
    assert told["pods"] == {"compared": 2, "own": 1}


def test_no_other_workload_of_ours_carries_the_label() -> None:
    templates = {
        each["metadata"]["name"]: each["spec"]["template"]["metadata"]["labels"]
        for each in manifests()
        if each["kind"] in {"StatefulSet", "Deployment"}
    }

    assert [name for name, labels in templates.items() if INJECTED in labels] == ["podtls-webhook"]


@pytest.mark.parametrize(
    "metadata",
    [
        pytest.param({"annotations": None}, id="label alone"),
        pytest.param({"labels": None}, id="annotation alone, without an id"),
        pytest.param({"annotations": {STATUS: "{"}}, id="annotation that is no JSON"),
        pytest.param({"annotations": {STATUS: '{"record": "../x"}'}}, id="annotation with another id"),
    ],
)
def test_pod_that_somebody_else_made_look_like_ours_is_a_finding(
    metadata: dict[str, Any], run: Run, logs: Path
) -> None:
    listing = pod_list(raw_pod("made", "", **metadata))

    outcome = run("audit", "reconcile", "--pods", "-", "-o", "json", logs, text=listing)

    assert [each["why"] for each in json.loads(outcome.out)["findings"]] == [
        "podtls.io/status names none: the webhook did not inject it"
    ]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(json.dumps(raw_pod()), id="one pod"),
        pytest.param("\ufeff" + pod_list(raw_pod()), id="byte order mark"),
        pytest.param(to_yaml(json.loads(pod_list(raw_pod()))), id="YAML"),
        pytest.param(f"{to_yaml(raw_pod())}---\n{to_yaml(plain())}", id="two documents"),
        pytest.param(json.dumps(typed_list(raw_pod())), id="PodList"),
        pytest.param(
            pod_list({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}}, raw_pod()), id="get all"
        ),
    ],
)
def test_pods_are_read_as_kubectl_prints_them(text: str, run: Run, logs: Path) -> None:
    outcome = run("audit", "reconcile", "--pods", "-", "-o", "json", logs, text=text)

    told = json.loads(outcome.out)
    assert (told["pods"]["compared"], told["records"][0]["outcome"]) == (1, "stored")


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(event(REFUSED, stage="RequestReceived"), id="not answered yet"),
        pytest.param(event(REFUSED, verb="update"), id="update"),
        pytest.param(event(REFUSED, objectRef={"resource": "pods", "subresource": "binding"}), id="subresource"),
        pytest.param(event(REFUSED, objectRef={"resource": "jobs"}), id="another resource"),
        pytest.param(event(REFUSED, objectRef=None), id="no resource"),
        pytest.param(event(REFUSED, responseStatus=None), id="no answer"),
        pytest.param(event(REFUSED, annotations=None), id="no annotations"),
        pytest.param(event(REFUSED, annotations={"other.example/record": REFUSED}), id="another webhook's record"),
    ],
)
def test_other_events_say_nothing_of_our_records(line: str, run: Run, logs: Path, tmp_path: Path) -> None:
    (tmp_path / "audit.log").write_text(event(STORED) + line)

    outcome = run("audit", "reconcile", "--api-audit", tmp_path / "audit.log", "-o", "json", logs)

    assert [each["outcome"] for each in json.loads(outcome.out)["records"]] == ["stored", "not seen", "not seen"]


def test_rotated_audit_logs_are_read_together_and_both_rounds_of_a_reinvocation(
    run: Run, logs: Path, tmp_path: Path
) -> None:
    (tmp_path / "audit-1.log").write_text(event(REFUSED, 403, QUOTA))
    both = {"mtls-port.podtls.io/record": STORED, "mtls-port.podtls.io/later-record": GONE}
    (tmp_path / "audit.log").write_text(event("", annotations=both))
    files = ["--api-audit", tmp_path / "audit-1.log", "--api-audit", tmp_path / "audit.log"]

    outcome = run("audit", "reconcile", *files, "-o", "json", logs)

    assert [each["outcome"] for each in json.loads(outcome.out)["records"]] == ["stored", "refused later", "stored"]


def test_torn_lines_are_reported_and_the_rest_is_read(run: Run, logs: Path, pods: Path, tmp_path: Path) -> None:
    first = event(STORED)
    (tmp_path / "audit.log").write_text(f"{first}{event(REFUSED)[:40]}\n{event(REFUSED, 403)}")
    with (logs / "webhook-0.jsonl").open("a") as file:
        file.write('{"v":1,')

    outcome = run("audit", "reconcile", "--pods", pods, "--api-audit", tmp_path / "audit.log", "-o", "json", logs)

    assert [each["outcome"] for each in json.loads(outcome.out)["records"]] == ["stored", "refused later", "not seen"]
    torn, record = outcome.err.splitlines()
    assert torn.startswith(
        f"podtls: {tmp_path}/audit.log: line 2 (byte {len(first)}, 41 bytes) is not a record: "
        "not an audit.k8s.io/v1 Event: "
    )
    assert f"{logs}/webhook-0.jsonl: line 4 " in record


def test_audit_log_without_pods_is_pointed_out(run: Run, logs: Path, pods: Path, tmp_path: Path) -> None:
    (tmp_path / "audit.log").write_text(event(STORED, annotations={}))

    outcome = run("audit", "reconcile", "--pods", pods, "--api-audit", tmp_path / "audit.log", logs)

    assert outcome.code == 0
    assert outcome.err == (
        f"podtls: --api-audit: {tmp_path}/audit.log: no creation of a pod in it names a record;"
        " does its policy log pods?\n"
    )


LISTED = "allowed: a Pod or a List of Pods, as kubectl get pods -A -o json prints it"
UNPACKED = "allowed: an unpacked log of the API server, one audit.k8s.io/v1 Event (level Metadata or more) a line"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(b"", f"nothing in it; {LISTED}", id="kubectl printed nothing"),
        pytest.param(b'{"kind": "List",\n "items": [\n', "line 3: not YAML: ", id="cut off"),
        pytest.param(b"\xff\xfe{\x00", "not UTF-8 at byte 0", id="UTF-16"),
        pytest.param(b"[]", f"got list; {LISTED}", id="no object"),
        pytest.param(b"kind: Deployment", f"got Deployment; {LISTED}", id="another kind"),
        pytest.param(
            pod_list({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "x"}}).encode(),
            f"no Pod among 1 items; {LISTED}",
            id="other kinds",
        ),
        pytest.param(
            json.dumps(raw_pod(uid=None)).encode(),
            f"Pod {NAME}: Expected `str`, got `null` - at `$.metadata.uid`; {LISTED}",
            id="a manifest",
        ),
        pytest.param(
            json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": [], "spec": {}}).encode(),
            "Pod (no name): Expected `object`, got `array` - at `$.metadata`",
            id="no metadata",
        ),
        pytest.param(b'{"apiVersion": "v1", "kind": "Pod"}', "Pod (no name): spec: missing", id="no spec"),
    ],
)
def test_wrong_listing_is_named_with_what_is_allowed(
    content: bytes, reason: str, run: Run, logs: Path, tmp_path: Path
) -> None:
    path = tmp_path / "pods.json"
    path.write_bytes(content)

    outcome = run("audit", "reconcile", "--pods", path, logs)

    assert (outcome.code, outcome.out) == (64, "")
    assert outcome.err.startswith(f"podtls: --pods: {path}: {reason}")
    assert outcome.err.count("\n") == 1


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(b"\x1f\x8b\x08\x00", "line 1: not an audit.k8s.io/v1 Event: JSON is malformed", id="packed"),
        pytest.param(b'{\n "kind": "Event"\n}\n', "line 1: not an audit.k8s.io/v1 Event: ", id="more than a line each"),
        pytest.param(
            event(STORED, apiVersion="audit.k8s.io/v1beta1").encode(),
            f"line 1: got audit.k8s.io/v1beta1 Event, expected audit.k8s.io/v1 Event; {UNPACKED}",
            id="another version",
        ),
        pytest.param(b"[" * 100_000, "line 1: not an audit.k8s.io/v1 Event: ", id="nested too deeply"),
        pytest.param(b"no events\n" * 100, "line 1: not an audit.k8s.io/v1 Event: ", id="text"),
    ],
)
def test_wrong_audit_log_is_named_with_what_is_allowed(
    content: bytes, reason: str, run: Run, logs: Path, tmp_path: Path
) -> None:
    path = tmp_path / "audit.log"
    path.write_bytes(content)

    outcome = run("audit", "reconcile", "--api-audit", path, logs)

    assert (outcome.code, outcome.out) == (64, "")
    assert outcome.err.startswith(f"podtls: --api-audit: {path}: {reason}")
    assert outcome.err.endswith(f"; {UNPACKED}\n")
    assert outcome.err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        pytest.param([], "nothing to compare with, expected --pods FILE, --api-audit FILE or both", id="neither"),
        pytest.param(["--pods", "/nowhere"], "--pods: /nowhere: No such file or directory", id="pods"),
        pytest.param(["--api-audit", "/nowhere"], "--api-audit: /nowhere: No such file or directory", id="audit log"),
        pytest.param(["--pods", str(BASE)], f"--pods: {BASE}: Is a directory", id="directory"),
        pytest.param(["--pods", "-", "--since", "soon"], "'--since': got 'soon', allowed: 2026-11-22", id="time"),
    ],
)
def test_wrong_argument_is_named(arguments: list[str], reason: str, run: Run, logs: Path) -> None:
    outcome = run("audit", "reconcile", *arguments, logs)

    assert (outcome.code, outcome.out) == (64, "")
    assert reason in outcome.err


def test_what_strangers_sent_cannot_drive_the_terminal(run: Run, logs: Path, tmp_path: Path) -> None:
    (tmp_path / "audit.log").write_text(event(STORED, 403, "\x1b[2J\u202e"))

    outputs = [
        run("audit", "reconcile", "--api-audit", tmp_path / "audit.log", "-o", form, logs).out
        for form in ("table", "json")
    ]

    assert all("\\x1b[2J" in out or "\\u001b[2J" in out for out in outputs)
    assert not any("\x1b" in out or "\u202e" in out for out in outputs)
