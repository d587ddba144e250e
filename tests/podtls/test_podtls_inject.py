"""`podtls inject`: what the webhook would do to the pods of a file, and nothing to anything else."""

import difflib
import json
import re
from pathlib import Path
from typing import Any

import jsonpatch
import kubernetes_validate
import pytest
import yaml

from documents.stream import parse_documents
from documents.writer import to_yaml
from tests.podtls.conftest import Run
from tests.webhook.world import GOLDEN, SCHEMAS, apply, patch
from webhook.bundle import parse_bundle
from webhook.settings import InjectionSettings, PodSettings

_MANIFESTS = Path(__file__).parents[2] / "manifests"
_CASES = sorted(path.parent.name for path in GOLDEN.glob("*/pod.yaml"))
_POD = "containers: [{name: app, image: 'a:1', ports: [{containerPort: 8080}]}]"


def _one(text: str) -> Any:
    (document,) = parse_documents(text, "test")
    return document.value


def _workload(api_version: str, kind: str, pod: str = _POD) -> str:
    template = f"{{metadata: {{labels: {{app: web}}}}, spec: {{{pod}}}}}"
    if kind == "CronJob":
        template = f"{{spec: {{template: {template}}}}}"
    place = "jobTemplate" if kind == "CronJob" else "template"
    return f"apiVersion: {api_version}\nkind: {kind}\nmetadata: {{name: web}}\nspec: {{{place}: {template}}}\n"


def _template(value: dict[str, Any]) -> Any:
    spec = value["spec"]
    return spec["jobTemplate"]["spec"]["template"] if value["kind"] == "CronJob" else spec["template"]


@pytest.mark.parametrize("case", _CASES)
def test_golden_pod_is_injected_as_by_the_webhook_and_is_valid(
    case: str, run: Run, options: list[str], bundle: Path
) -> None:
    file = GOLDEN / case / "pod.yaml"
    raw = yaml.safe_load(file.read_text())
    settings = InjectionSettings(PodSettings(image=options[1]), parse_bundle(bundle.read_bytes()))

    outcome = run("inject", "-f", file, "--namespace", "shop", *options)

    assert outcome.code == 0
    injected = yaml.safe_load(outcome.out)
    assert injected == apply(raw, patch(raw, settings=settings, record=""))
    for version in SCHEMAS:
        if case == "future-fields":
            with pytest.raises(kubernetes_validate.ValidationError, match="unexpected"):
                kubernetes_validate.validate(injected, version, strict=True)
        else:
            kubernetes_validate.validate(injected, version, strict=True)


@pytest.mark.parametrize("case", _CASES)
def test_injecting_twice_changes_nothing(case: str, run: Run, options: list[str]) -> None:
    once = run("inject", "-f", GOLDEN / case / "pod.yaml", "--namespace", "shop", *options)

    twice = run("inject", "-f", "-", "--namespace", "shop", *options, text=once.out)

    assert twice.out == once.out


@pytest.mark.parametrize(
    ("api_version", "kind"),
    [
        ("apps/v1", "Deployment"),
        ("apps/v1", "StatefulSet"),
        ("apps/v1", "DaemonSet"),
        ("apps/v1", "ReplicaSet"),
        ("batch/v1", "Job"),
        ("batch/v1", "CronJob"),
        ("v1", "ReplicationController"),
    ],
)
def test_template_of_a_workload_is_injected_and_keeps_its_metadata(
    api_version: str, kind: str, run: Run, options: list[str]
) -> None:
    outcome = run("inject", "-f", "-", *options, text=_workload(api_version, kind))

    value = _one(outcome.out)
    template = _template(value)
    assert value["metadata"] == {"name": "web"}
    assert template["metadata"]["labels"] == {"app": "web", "podtls.io/injected": "true"}
    assert [item["name"] for item in template["spec"]["initContainers"]] == ["podtls-init", "podtls-nginx"]


def test_annotations_of_the_template_count_and_those_of_the_workload_do_not(run: Run, options: list[str]) -> None:
    text = (
        "apiVersion: apps/v1\nkind: Deployment\n"
        "metadata: {name: web, annotations: {podtls.io/ports: '1=1'}}\n"
        f"spec: {{template: {{metadata: {{annotations: {{podtls.io/mode: tls}}}}, spec: {{{_POD}}}}}}}\n"
    )

    outcome = run("inject", "-f", "-", *options, text=text)

    status = json.loads(_template(_one(outcome.out))["metadata"]["annotations"]["podtls.io/status"])
    assert (status["mode"], status["ports"], status["record"]) == ("tls", "8443=8080", "")
    assert "Deployment default/web: mode tls of the pod is weaker than mode mtls" in outcome.err


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("apiVersion: v1\nkind: ConfigMap\ndata:\n  on: 'yes'\n  mode: 0o777\n", id="ConfigMap"),
        pytest.param("apiVersion: batch.volcano.sh/v1alpha1\nkind: Job\nspec: {}\n", id="Job of another group"),
        pytest.param("apiVersion: v1\nkind: PodTemplateList\nitems: null\n", id="list of nothing"),
        pytest.param("just text\n", id="text"),
        pytest.param("- a\n- 1\n", id="list"),
        pytest.param("kind: Pod\nspec: {}\napiVersion: example.com/v1\n", id="Pod of another group"),
    ],
)
def test_what_is_no_workload_is_passed_through(text: str, run: Run, options: list[str]) -> None:
    outcome = run("inject", "-f", "-", *options, text=text)

    assert (outcome.code, outcome.out) == (0, text)
    assert outcome.err == "podtls: no pod to inject\n"


def test_documents_without_pods_keep_every_character(run: Run, options: list[str]) -> None:
    service = "kind:   Service # late\napiVersion: v1\nspec:\n  selector: {app: 'on'}\nmetadata:\n    name: é\n"
    text = f"# comment\n---\n{service}---\n---\n{_workload('apps/v1', 'Deployment')}--- # end\n"

    outcome = run("inject", "-f", "-", *options, text=text)

    assert outcome.out.startswith(f"# comment\n---\n{service}---\n---\napiVersion: apps/v1\n")
    assert outcome.out.endswith("\n--- # end\n")


_COMMENTED = """\
# A head.
apiVersion: apps/v1   # aligned
kind: Deployment
metadata: { name: web,
  labels: {app: web} }
spec:
    selector:
        matchLabels: &labels {app: web}
    template:
        metadata:
            labels: *labels # shared
            annotations:
              # The mode that our service can bear.
              podtls.io/mode:    "tls"

        # The pod.
        spec:
          volumes: # none of ours
            # scratch
            - {name: 'scratch', emptyDir: {}}
            # - name: later
          terminationGracePeriodSeconds: 0o36
          containers:
          - name: app
            image: "a:1" # pinned
            args: [ 'on',
                    ~ ]
            command:
              - sh
              - -c
              - |
                # not a comment
                  exec app

            env:
            -   name: folded
                value: one
                  two
          # - name: helper
---
# Nothing but this.
"""


def _lines_that_go(before: str, after: str) -> list[str]:
    lines = difflib.ndiff(before.splitlines(), after.splitlines())
    return [line[2:] for line in lines if line.startswith("- ")]


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_only_lines_that_must_change_do(newline: str, run: Run, options: list[str], tmp_path: Path) -> None:
    before = _COMMENTED.replace("\n", newline)
    file = tmp_path / "web.yaml"
    file.write_bytes(before.encode())

    injected = run("inject", "-f", file, *options)
    file.write_bytes(injected.out.encode())
    back = run("uninject", "-f", file)

    # A label of ours in the mapping that the selector shares needs a copy.
    copy = ["            labels: *labels # shared"]
    assert _lines_that_go(before, injected.out) == copy
    assert _lines_that_go(back.out, before) == ["            labels: # shared", "                app: web"]
    assert _lines_that_go(before, back.out) == copy
    assert injected.out.count(newline) == injected.out.count("\n") > 150
    assert "            # scratch\n            - {name: 'scratch', emptyDir: {}}\n            - name: podtls" in (
        injected.out.replace(newline, "\n")
    )


_EXAMPLES = sorted(path for path in (_MANIFESTS / "examples").rglob("*.yaml"))


@pytest.mark.parametrize("file", _EXAMPLES, ids=lambda file: str(file.relative_to(_MANIFESTS)))
def test_example_keeps_all_its_lines_there_and_back(file: Path, run: Run, options: list[str], tmp_path: Path) -> None:
    before, injected = file.read_text(), tmp_path / "injected.yaml"

    outcome = run("inject", "-f", file, *options)
    injected.write_text(outcome.out)

    assert "#" in before
    assert "podtls-nginx" in outcome.out
    assert _lines_that_go(before, outcome.out) == []
    back = run("uninject", "-f", injected).out
    assert _lines_that_go(before, back) == []
    # Nobody can tell whose it is.
    assert {line.strip() for line in _lines_that_go(back, before)} == {
        *("sysctls:", "- name: net.ipv4.ip_unprivileged_port_start", "value: '0'")
    }


_LIST = """\
apiVersion: v1
kind: List
items:
  # first
  - apiVersion: v1
    kind: Pod
    metadata: {name: a} # braces
    spec:
      containers:
        - name: a   # spaced
          image: "x"
          ports: [{containerPort: 80}]
  # second
  - kind: ConfigMap
    apiVersion: v1
    metadata:
      name: c   # kept
  # third
  - apiVersion: v1
    kind: Pod
    metadata:
        generateName: 'b-'
    spec: # of the third
      containers:
      - {name: b, image: "y"}
"""


def test_items_of_a_list_keep_all_their_lines_there_and_back(run: Run, options: list[str], tmp_path: Path) -> None:
    injected = tmp_path / "injected.yaml"

    outcome = run("inject", "-f", "-", *options, text=_LIST)
    injected.write_text(outcome.out)
    back = run("uninject", "-f", injected).out

    assert outcome.out.count("name: podtls-nginx") == 2
    # Braces that get a label or an annotation stay braces, on the same line.
    assert _lines_that_go(_LIST, outcome.out) == ["    metadata: {name: a} # braces"]
    assert [line for line in outcome.out.splitlines() if "#" in line and "podtls" not in line] == [
        line for line in _LIST.splitlines() if "#" in line and "braces" not in line
    ]
    assert back == _LIST


def test_lines_that_end_with_cr_alone_are_refused(run: Run, options: list[str], tmp_path: Path) -> None:
    file = tmp_path / "web.yaml"
    file.write_bytes(_LIST.replace("\n", "\r").encode())

    outcome = run("inject", "-f", file, *options)

    assert (outcome.code, outcome.out) == (64, "")
    assert outcome.err == f"podtls: {file}: line 1: ends with CR alone, expected LF or CR LF\n"


def test_workloads_in_lists_of_lists_are_injected_where_they_stand(run: Run, options: list[str]) -> None:
    items = [_one(_workload("apps/v1", "Deployment")), {"apiVersion": "v1", "kind": "Secret"}]
    pods = {"apiVersion": "v1", "kind": "PodList", "items": [{"metadata": {"name": "a"}, "spec": _one(_POD)}]}
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": [*items, pods, None]})

    outcome = run("inject", "-f", "-", *options, text=text)

    deployment, secret, inner, nothing = _one(outcome.out)["items"]
    assert "initContainers" in _template(deployment)["spec"]
    assert (secret, nothing) == (items[1], None)
    assert "initContainers" in inner["items"][0]["spec"]


def test_patch_prints_one_patch_a_line_that_kubectl_could_apply(run: Run, options: list[str]) -> None:
    text = f"{_workload('apps/v1', 'Deployment')}---\n{_workload('batch/v1', 'CronJob')}"

    patches = run("inject", "-f", "-", "--patch", *options, text=text)
    injected = run("inject", "-f", "-", *options, text=text)

    results = [
        jsonpatch.apply_patch(document.value, json.loads(line))
        for document, line in zip(parse_documents(text, "test"), patches.out.splitlines(), strict=True)
    ]
    assert results == [document.value for document in parse_documents(injected.out, "test")]
    assert "podtls: patch of CronJob default/web\n" in patches.err


def test_diff_shows_what_is_added_and_nothing_else(run: Run, options: list[str], tmp_path: Path) -> None:
    file = tmp_path / "web.yaml"
    file.write_text(to_yaml(_one(_workload("apps/v1", "Deployment"))) + "---\nkind: Other\n")

    outcome = run("inject", "-f", file, "--diff", *options)

    lines = outcome.out.splitlines()
    assert lines[:2] == [f"--- {file}", f"+++ {file} (podtls)"]
    assert "+        podtls.io/injected: 'true'" in lines
    assert not any(line.startswith("-") or "Other" in line for line in lines[1:])


def test_skipped_pod_is_passed_through_with_its_reason(run: Run, options: list[str]) -> None:
    text = f"apiVersion: v1\nkind: Pod\nmetadata:\n  name: web\n  namespace: ops\nspec: {{hostNetwork: yes, {_POD}}}\n"

    outcome = run("inject", "-f", "-", *options, text=text)

    assert (outcome.code, _one(outcome.out)) == (0, _one(text))
    assert "Pod ops/web: not injected: hostNetwork pods share" in outcome.err


def test_one_refused_pod_refuses_all_with_the_webhooks_reason(run: Run, options: list[str]) -> None:
    bad = _workload("apps/v1", "DaemonSet").replace("{labels", "{annotations: {podtls.io/ports: '0=1'}, labels")

    outcome = run("inject", "-f", "-", *options, text=f"{_workload('apps/v1', 'Deployment')}---\n{bad}")

    assert (outcome.code, outcome.out) == (77, "")
    assert outcome.err.startswith("podtls: refused: DaemonSet default/web: annotation podtls.io/ports")
    assert outcome.err.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\n",
            "stdin: Deployment web: spec.template.spec: missing",
            id="no template",
        ),
        pytest.param("apiVersion: v1\nkind: Pod\nspec: []\n", "stdin: Pod (no name): spec: missing", id="no spec"),
        pytest.param(
            "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: {}}\n",
            "stdin: Pod default/a: not a Pod: Expected `array | null`, got `object` - at `$.spec.containers`",
            id="wrong type",
        ),
        pytest.param(
            "apiVersion: v1\nkind: Pod\nmetadata: {name: a, labels: {b: yes}}\nspec: {}\n",
            "Expected `str | null`, got `bool`",
            id="label that is a boolean",
        ),
        pytest.param(
            "apiVersion: v1\nkind: Pod\nmetadata: {name: a, namespace: A_B}\nspec: {}\n",
            "namespace: got 'A_B', expected an RFC 1123 label",
            id="namespace",
        ),
        pytest.param("a: [", "stdin: line 1: not YAML", id="no YAML"),
    ],
)
def test_document_that_is_no_workload_ends_in_one_line_and_64(
    text: str, reason: str, run: Run, options: list[str]
) -> None:
    outcome = run("inject", "-f", "-", *options, text=text)

    assert (outcome.code, outcome.out) == (64, "")
    assert reason in outcome.err
    assert outcome.err.count("\n") == 1


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        pytest.param(["--image", "a b"], "--image: got 'a b', expected an image reference", id="image"),
        pytest.param(["--zone", "-"], "--zone: zone '-': expected a DNS name", id="zone"),
        pytest.param(
            ["--trust-domain", "A"], "--trust-domain: trust domain 'A': allowed are 1 to 64 of a-z", id="trust domain"
        ),
        pytest.param(
            ["--ca-url", "http://a"], "--ca-url: 'http://a' is not of the form https://host[:port]", id="CA URL"
        ),
        pytest.param(["--bundle", "/nowhere"], "--bundle: /nowhere: No such file or directory", id="bundle"),
        pytest.param(["--bundle", "/dev/null"], "--bundle: /dev/null: trust bundle: expected PEM", id="empty bundle"),
        pytest.param(["--mode", "none"], "'none' is not one of 'mtls', 'tls', 'permissive'", id="mode"),
        pytest.param(["-f", "/nowhere"], "--filename: /nowhere: No such file or directory", id="file"),
    ],
)
def test_wrong_option_is_named_with_what_is_allowed(
    wrong: list[str], reason: str, run: Run, options: list[str]
) -> None:
    outcome = run("inject", "-f", "-", *options, *wrong)

    assert outcome.code == 64
    assert reason in outcome.err
    assert outcome.err.count("\n") == 1


def test_file_that_is_not_utf_8_is_refused(run: Run, options: list[str], tmp_path: Path) -> None:
    file = tmp_path / "latin.yaml"
    file.write_bytes("a: é".encode("latin-1"))

    outcome = run("inject", "-f", file, *options)

    assert outcome.err == f"podtls: --filename: {file}: not UTF-8 at byte 3\n"


def test_mode_that_comes_later_is_refused_as_by_the_webhook(run: Run, options: list[str]) -> None:
    outcome = run("inject", "-f", "-", "--capture", "redirect", *options, text=_workload("apps/v1", "Deployment"))

    assert outcome.code == 77
    assert "capture: redirect" in outcome.err


def test_warnings_and_refusals_show_no_value_of_the_users_environment(run: Run, options: list[str]) -> None:
    secret = "hunter2-in-the-environment"
    pod = _POD.replace("image:", f"env: [{{name: PASSWORD, value: {secret}}}], image:")
    text = _workload("apps/v1", "Deployment", pod)

    patches = run("inject", "-f", "-", "--patch", *options, text=text)
    refused = run("inject", "-f", "-", "--capture", "redirect", *options, text=text)

    assert secret not in patches.out + patches.err + refused.out + refused.err


def test_bundle_file_with_a_key_in_it_publishes_no_key(run: Run, options: list[str], tmp_path: Path) -> None:
    both = tmp_path / "both.pem"
    planted = "-----BEGIN PRIVATE KEY-----\ncGxhbnRlZA==\n-----END PRIVATE KEY-----\n"
    both.write_text(planted + Path(options[3]).read_text())

    outcome = run("inject", "-f", "-", *options[:3], both, text=_workload("apps/v1", "Deployment"))

    assert outcome.code == 0
    assert "PRIVATE KEY" not in outcome.out
    assert "cGxhbnRlZA" not in outcome.out


@pytest.mark.parametrize("option", ["--trust-domain", "--zone", "--ca-url"])
def test_default_that_the_help_shows_is_the_one_that_counts(option: str, run: Run, options: list[str]) -> None:
    shown = re.search(rf"{option} TEXT.*?\[default:\s+(\S+)\]", run("inject", "--help").out, re.DOTALL)
    pod = _workload("v1", "Pod")

    assert shown is not None
    given = run("inject", "-f", "-", *options, option, shown[1], text=pod)
    assert (given.code, given.out) == (0, run("inject", "-f", "-", *options, text=pod).out)
