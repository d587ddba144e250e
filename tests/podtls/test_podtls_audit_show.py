"""`podtls audit show`: one record, who stands behind it, and what belongs to it."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from audit.log import EvidenceLog
from audit.record import Record
from tests.audit.records import admission, certificate
from tests.podtls.conftest import Run


def _log(tmp_path: Path, *records: Record) -> Path:
    log = EvidenceLog(tmp_path / "evidence.jsonl")
    for record in records:
        log.append(record)
    return log.path


def test_patch_is_shown_with_its_operations_and_its_certificates(run: Run, evidence: Path) -> None:
    outcome = run("audit", "show", "aaaa", evidence)

    assert outcome.code == 0
    assert f"admission {'a' * 32}\n" in outcome.out
    assert "  decision        inject\n" in outcome.out
    assert "  + /metadata/labels/podtls.io~1injected\n      'true'\n" in outcome.out
    assert f"related\n  certificate {'c' * 32} 2026-11-22T10:30:00Z issue checkout-5d8f-x7k2p\n" in outcome.out


def test_human_behind_a_controller_is_looked_for_in_the_api_servers_audit_log(run: Run, evidence: Path) -> None:
    outcome = run("audit", "show", "a", evidence)

    assert "requested by system:serviceaccount:kube-system:replicaset-controller\n" in outcome.out
    assert "its owner ReplicaSet/checkout-5d8f. The API server's audit log names the person under that" in outcome.out
    assert "under that owner (and its owners), namespace shop." in outcome.out


def test_pod_without_owner_names_its_user_only(run: Run, tmp_path: Path) -> None:
    path = _log(tmp_path, admission(owners=[], requested_by={"username": "jane\x1b[2J"}))

    outcome = run("audit", "show", "a", path)

    assert "requested by jane\\x1b[2J\n" in outcome.out
    assert "controller" not in outcome.out


def test_unverified_caller_is_told_to_be_no_proof(run: Run, tmp_path: Path) -> None:
    path = _log(tmp_path, admission(caller="unverified", requested_by={}, owners=["odd"], warnings=["be\nware"]))

    outcome = run("audit", "show", "a", path)

    assert "anybody who can reach the webhook may have sent this" in outcome.out
    assert "requested by nobody named" in outcome.out
    assert "its owner odd." in outcome.out
    assert "  warning         be\\nware\n" in outcome.out


def test_certificate_is_shown_with_the_patch_of_its_pod(run: Run, evidence: Path) -> None:
    outcome = run("audit", "show", "cccc", evidence)

    assert "  dns             checkout.shop.svc, checkout.shop.svc.cluster.local\n" in outcome.out
    assert f"related\n  patch {'a' * 32} 2026-11-22T10:30:00Z inject checkout-5d8f-*\n" in outcome.out


def test_certificate_whose_patch_is_in_another_log_says_so(run: Run, evidence: Path) -> None:
    outcome = run("audit", "show", "cccc", evidence / "ca-0.jsonl")

    assert f"  patch {'a' * 32} (not in these files: the webhook's replicas have their own)\n" in outcome.out


def test_token_with_two_keys_and_key_of_two_pods_are_pointed_out(run: Run, tmp_path: Path) -> None:
    path = _log(
        tmp_path,
        certificate(patch_record="", not_before=None, not_after=None),
        certificate(id="1" * 32, key_digest="sha256:other"),
        certificate(id="2" * 32, pod_uid="other"),
        certificate(id="3" * 32, key_digest="sha256:other", token_id="other"),
        certificate(id="4" * 32),
    )

    outcome = run("audit", "show", "c", path)

    assert f"  same token, another key {'1' * 32}" in outcome.out
    assert f"  same key, another pod {'2' * 32}" in outcome.out
    assert "3333" not in outcome.out
    assert "4444" not in outcome.out
    assert "  notBefore       -\n" in outcome.out


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        pytest.param({"dry_run": True}, "  A dry run: the API server stored no pod.\n", id="dry run"),
        pytest.param({}, "  No certificate in these files: see the CA's files, or the pod was never stored", id="none"),
    ],
)
def test_patch_without_certificate_says_what_that_can_mean(
    changes: dict[str, Any], line: str, run: Run, tmp_path: Path
) -> None:
    outcome = run("audit", "show", "a", _log(tmp_path, admission(**changes)))

    assert line in outcome.out


def test_refused_pod_has_nothing_related(run: Run, tmp_path: Path) -> None:
    operations = [{"op": "remove", "path": "/a"}, {"op": "test", "path": "/b", "value": [1]}]

    outcome = run("audit", "show", "a", _log(tmp_path, admission(decision="deny", operations=operations)))

    assert "related" not in outcome.out
    assert "  - /a\n  ? /b\n      - 1\n" in outcome.out


@pytest.mark.parametrize(("form", "load"), [("json", json.loads), ("yaml", yaml.safe_load)])
def test_json_and_yaml_hold_the_record_and_all_that_belongs_to_it(
    form: str, load: Any, run: Run, evidence: Path
) -> None:
    values = load(run("audit", "show", "cccc", evidence, "-o", form).out)

    assert values["record"]["id"] == "c" * 32
    assert [other["id"] for other in values["related"]] == ["a" * 32]


def test_unknown_id_is_refused(run: Run, evidence: Path) -> None:
    outcome = run("audit", "show", "f00", evidence / "ca-0.jsonl")

    assert outcome.code == 64
    assert outcome.err == "podtls: ID: got 'f00', no record in 1 file(s) has an id that starts with it\n"


def test_ambiguous_id_is_refused_with_the_ids(run: Run, tmp_path: Path) -> None:
    path = _log(tmp_path, admission(id="a" + "0" * 31), admission(id="a" + "1" * 31))

    outcome = run("audit", "show", "a", path)

    assert outcome.code == 64
    assert outcome.err == f"podtls: ID: got 'a', 2 ids start with it: a{'0' * 31}, a{'1' * 31}\n"


def test_copies_of_a_log_show_one_record(run: Run, evidence: Path) -> None:
    (evidence / "copy.jsonl").write_bytes((evidence / "ca-0.jsonl").read_bytes())

    certificate_shown = run("audit", "show", "c", evidence)
    patch_shown = run("audit", "show", "a", evidence)

    assert certificate_shown.code == 0
    assert patch_shown.out.count("certificate " + "c" * 32) == 1


def test_two_records_of_one_id_are_not_believed(run: Run, tmp_path: Path) -> None:
    path = _log(tmp_path, admission(), admission(namespace="forged"))

    outcome = run("audit", "show", "a", path)

    assert outcome.code == 64
    assert "different records have id" in outcome.err
