"""What must never be in evidence: planted in a pod, looked for in the log and in all that the command prints of it."""

from pathlib import Path
from typing import Any

import orjson
import pytest

from audit.log import EvidenceLog
from audit.record import encode
from tests.audit.records import admission, certificate
from tests.podtls.conftest import Run
from tests.webhook.world import patch, pod

_TOKEN = "eyJhbGciOiJSUzI1NiJ9.cGxhbnRlZA.c2lnbmF0dXJl"
_KEY = "-----BEGIN PRIVATE KEY-----\nTUlHSEFnRUFNQk1HQnlxR1NNNDk\n-----END PRIVATE KEY-----\n"
_PASSWORD = "hunter2-in-the-environment"
_SECRETS = (_TOKEN, _PASSWORD, "PRIVATE KEY", "TUlHSEFnRUFNQk1H")


def _pod_with_secrets() -> dict[str, Any]:
    raw = pod({"annotations": {"example.com/token": _TOKEN}, "labels": {"app": "web"}})
    raw["spec"]["containers"][0] |= {
        "env": [{"name": "PASSWORD", "value": _PASSWORD}, {"name": "KEY", "value": _KEY}],
        "args": ["--token", _TOKEN],
    }
    raw["spec"]["initContainers"] = [{"name": "first", "image": "a", "env": [{"name": "KEY", "value": _KEY}]}]
    raw["spec"]["volumes"] = [{"name": "mine", "hostPath": {"path": f"/{_PASSWORD}"}}]
    return raw


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A log with the record of the real patch of that pod, and of a certificate for it."""
    operations = patch(_pod_with_secrets())
    record = admission(
        operations=[operation.to_json() for operation in operations],
        warnings=[operation.note for operation in operations if operation.note],
    )
    log = EvidenceLog(tmp_path / "evidence.jsonl")
    log.append(record)
    log.append(certificate())
    return log.path


def test_patch_of_a_pod_with_secrets_leaves_none_in_the_log(path: Path) -> None:
    written = path.read_text()

    assert "podtls-init" in written
    assert [secret for secret in _SECRETS if secret in written] == []


@pytest.mark.parametrize("form", ["table", "json", "yaml"])
def test_command_prints_none_of_them(form: str, path: Path, run: Run) -> None:
    outcomes = [run("audit", "list", path, "-o", form), run("audit", "show", "a", path, "-o", form)]

    for outcome in outcomes:
        assert outcome.code == 0
        assert [secret for secret in _SECRETS if secret in outcome.out + outcome.err] == []


def test_no_field_of_the_schema_could_hold_one() -> None:
    """Schema 1 names digests and ids of keys, tokens and bodies; none of its fields is for the thing itself."""
    fields = set(orjson.loads(encode(admission()))) | set(orjson.loads(encode(certificate())))

    assert fields.isdisjoint({"token", "key", "privateKey", "csr", "body", "object", "pod_body", "env", "environment"})
    assert {"digest", "keyDigest", "tokenId"} <= fields
