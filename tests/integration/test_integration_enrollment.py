"""One pod's whole way over real TLS: review, patch, init container, certificate; and what evidence says of it."""

import base64
import json
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from audit.log import read
from audit.record import AdmissionRecord, CertificateRecord
from contract.names import CERTIFICATE_FILE, CURRENT, EXIT_REFUSED, KEY_FILE
from injector.enroll.certificate import make_key, make_request
from lab.nginx import Nginx
from tests.ca.world import user_of
from tests.injector.authority import Authority
from tests.injector.unprivileged import ROOT, need_python
from tests.integration.enrollment import Installation, installation
from tests.webhook.world import body

pytestmark = pytest.mark.integration

_PASSWORD = "hunter2-in-the-environment"
# Version, empty subject, P-256: how every request of an injector goes on after its lengths, in base64.
_REQUEST = "ICAQAwADBZMBMGByqGSM49"
_TOKEN = "eyJhbGciOiJSUzI1NiJ9.cGxhbnRlZA.c2lnbmF0dXJl"


def payments() -> dict[str, Any]:
    """A Pod full of secrets, wherever a user may put one."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "payments-1", "labels": {"app": "payments"}, "annotations": {"example.com/x": _TOKEN}},
        "spec": {
            "serviceAccountName": "payments",
            "volumes": [{"name": "mine", "hostPath": {"path": f"/{_PASSWORD}"}}],
            "initContainers": [{"name": "first", "image": "a", "env": [{"name": "KEY", "value": _PASSWORD}]}],
            "containers": [
                {
                    "name": "app",
                    "image": "example.com/web:1",
                    "args": ["--token", _TOKEN],
                    "env": [{"name": "PASSWORD", "value": _PASSWORD}],
                    "ports": [{"containerPort": 8080}],
                }
            ],
        },
    }


@pytest.fixture
def parts(any_nginx: Nginx, authority: Authority, workshop: Path) -> Iterator[Installation]:
    need_python()
    with installation(any_nginx, authority, workshop) as found:
        yield found


@pytest.fixture
def parts_of_each_build(nginx: Nginx, authority: Authority, workshop: Path) -> Iterator[Installation]:
    need_python()
    with installation(nginx, authority, workshop) as found:
        yield found


def certificate_records(parts: Installation) -> list[CertificateRecord]:
    found = [each for each in read(parts.logs[1]) if isinstance(each, CertificateRecord)]
    return [each for each in found if each.pod == "payments-1"]


def audit_show(record: str, parts: Installation) -> "subprocess.CompletedProcess[str]":
    arguments = [sys.executable, "-m", "podtls", "audit", "show", record, *map(str, parts.logs), "-o", "json"]
    return subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def test_patched_pod_enrolls_itself_and_evidence_leads_from_its_certificate_to_its_patch(
    parts_of_each_build: Installation, workshop: Path
) -> None:
    parts = parts_of_each_build
    raw = payments()

    stored = parts.admit(body(raw), raw)
    result = parts.init(stored)

    assert (result.returncode, result.stdout) == (0, "")
    current = workshop / "pod" / CURRENT
    leaf = x509.load_pem_x509_certificates((current / CERTIFICATE_FILE).read_bytes())[0]
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert {"payments.shop.svc", "payments.shop.svc.localhost"} < set(names.get_values_for_type(x509.DNSName))
    assert stat.S_IMODE((current / KEY_FILE).stat().st_mode) == 0o400
    (patch,) = (each for each in read(parts.logs[0]) if isinstance(each, AdmissionRecord))
    (issued,) = certificate_records(parts)
    assert (issued.decision, issued.serial) == ("issue", f"{leaf.serial_number:x}")
    assert (issued.patch_record, issued.source) == (patch.id, "127.0.0.1")
    # The same, as an auditor finds it on copied files.
    shown = audit_show(issued.id, parts)
    assert shown.returncode == 0, shown.stderr
    assert patch.id in shown.stdout


def test_secrets_of_the_pod_its_token_and_its_key_stand_in_no_word_of_any_part(
    parts: Installation, workshop: Path
) -> None:
    raw = payments()
    refused = payments()
    refused["metadata"]["annotations"]["podtls.io/mode"] = "none"

    stored = parts.admit(body(raw), raw)
    parts.init(stored)
    parts.endpoint.review(body(refused))
    parts.endpoint.review(body(raw)[:-30])
    parts.endpoint.review(body(raw | {"kind": "Secret"}))
    stored["status"]["phase"] = "Failed"
    parts.change(stored)
    failed = parts.init(stored)

    words = parts.words()
    key = (workshop / "pod" / CURRENT / KEY_FILE).read_text().splitlines()[1]
    planted = (_PASSWORD, _TOKEN, key, "PRIVATE KEY", (workshop / "token").read_text(), "CERTIFICATE REQUEST")
    assert failed.returncode == EXIT_REFUSED
    assert "has finished: Failed" in (workshop / "termination").read_text()
    for expected in ('"decision":"inject"', '"decision":"deny"', '"decision":"issue"', '"decision":"refuse"'):
        assert expected in words
    assert [secret for secret in planted if secret in words] == []
    assert _REQUEST not in words


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        pytest.param({"deletionTimestamp": "2030-01-01T00:00:00Z"}, "is terminating", id="terminating"),
        pytest.param({"labels": {"app": "payments"}}, "is not injected", id="label removed"),
    ],
)
def test_pod_that_is_not_what_its_token_says_ends_as_refused_and_is_recorded(
    parts: Installation, workshop: Path, change: dict[str, Any], reason: str
) -> None:
    raw = payments()
    stored = parts.admit(body(raw), raw)
    parts.change(stored, **change)

    result = parts.init(stored)

    assert result.returncode == EXIT_REFUSED
    assert reason in result.stderr
    assert not (workshop / "pod" / CURRENT).exists()
    assert [(each.decision, reason in each.reason) for each in certificate_records(parts)] == [("refuse", True)]


def test_address_of_another_pod_gets_no_certificate(parts: Installation) -> None:
    raw = payments()
    stored = parts.admit(body(raw), raw)
    stored["status"]["podIPs"] = [{"ip": "10.9.9.9"}]
    # Long ago, or the CA would wait for the address to appear.
    parts.change(stored, creationTimestamp="2020-01-01T00:00:00Z")

    result = parts.init(stored)

    assert result.returncode == EXIT_REFUSED
    assert "source address 127.0.0.1 is not the pod's, the API server shows 10.9.9.9" in result.stderr


def test_token_for_another_audience_is_refused_without_a_word(parts: Installation, workshop: Path) -> None:
    raw = payments()
    stored = parts.admit(body(raw), raw)
    # An API server from before audiences vouches for every token, and says nothing of them.
    review = {"kind": "TokenReview", "status": {"authenticated": True, "user": user_of(stored)}}
    parts.ca.server.listener.faults.garbage = json.dumps(review).encode()

    result = parts.init(stored)

    assert result.returncode == EXIT_REFUSED
    assert "the CA answered 401 (the pod's token is not accepted)" in result.stderr
    assert certificate_records(parts) == []
    assert not (workshop / "pod" / CURRENT).exists()


def test_what_the_secrets_test_looks_for_is_in_every_request() -> None:
    assert _REQUEST in base64.b64encode(make_request(make_key())).decode()
