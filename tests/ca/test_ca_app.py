"""Enrolling at the CA API: statuses, headers, order of the checks, and what is recorded."""

import base64
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import pkcs7
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from audit.log import EvidenceLog
from ca.api.csr import DER_LIMIT
from ca.authority.authority import Authority
from ca.errors import UnavailableError
from contract.names import (
    AUDIENCE,
    CA_BODY_LIMIT,
    HEADER_SOURCE,
    LIFETIME,
    PATH_REENROLL,
    TYPE_PEM_CHAIN,
)
from tests.ca.certificate_requests import request_with_extension, sign_tampered
from tests.ca.enrollments import enroll, read_records
from tests.ca.world import (
    ADDRESS,
    NOW,
    RECORD_ID,
    UID,
    body_of,
    pod_object,
    request_der,
    user_of,
)
from tests.fakes import FakeCluster

Key = ec.EllipticCurvePrivateKey
FULL = Path("/dev/full")
WEAK = rsa.generate_private_key(65537, 1024)  # noqa: S505 - it must be refused


def leaf_of(answer: TestResponse) -> x509.Certificate:
    (leaf,) = pkcs7.load_der_pkcs7_certificates(base64.b64decode(answer.data))
    return leaf


def test_attested_pod_gets_a_certificate_for_its_key_and_its_names(
    client: FlaskClient, headers: dict[str, str], body: bytes, key: Key
) -> None:
    answer = enroll(client, headers, body)

    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/pkcs7-mime; smime-type=certs-only"
    assert answer.headers["Content-Transfer-Encoding"] == "base64"
    leaf = leaf_of(answer)
    assert leaf.public_key() == key.public_key()
    assert leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(
        x509.DNSName
    ) == [
        "10-1-2-3.shop.pod.cluster.local",
        "fd00--3.shop.pod.cluster.local",
        "payments.shop.svc",
        "payments.shop.svc.cluster.local",
    ]


def test_our_own_client_gets_leaf_and_issuing_ca(
    client: FlaskClient, headers: dict[str, str], body: bytes, key: Key, authority: Authority
) -> None:
    answer = enroll(client, {**headers, "Accept": TYPE_PEM_CHAIN}, body)

    leaf, issuing = x509.load_pem_x509_certificates(answer.data)
    assert answer.content_type == TYPE_PEM_CHAIN
    assert leaf.public_key() == key.public_key()
    assert issuing == authority.certificate


def test_certificate_that_left_is_recorded_with_all_that_led_to_it(
    client: FlaskClient, headers: dict[str, str], key: Key, log: EvidenceLog
) -> None:
    asked: list[x509.GeneralName] = [x509.DNSName("admin.example")]

    leaf = leaf_of(enroll(client, headers, body_of(request_der(key, names=asked))))

    (record,) = read_records(log)
    assert (record.decision, record.reason, record.replica, record.source) == (
        "issue",
        "attested",
        "podtls-ca-0",
        ADDRESS,
    )
    assert (record.namespace, record.pod, record.pod_uid, record.node) == ("shop", "payments-1", UID, "node-1")
    assert record.spiffe_id == "spiffe://cluster.local/ns/shop/sa/payments"
    assert record.ignored_names == ["DNS:admin.example"]
    assert record.serial == f"{leaf.serial_number:x}"
    assert (record.not_before, record.not_after) == (leaf.not_valid_before_utc, leaf.not_valid_after_utc)
    assert record.token_id == "JTI=b5a2f1e0-1111-2222-3333-444455556666"
    assert record.patch_record == RECORD_ID
    assert record.key_digest.startswith("sha256:")
    assert "admin.example" not in record.dns
    assert record.time == NOW


def test_pod_chooses_its_lifetime(
    client: FlaskClient, headers: dict[str, str], body: bytes, cluster: FakeCluster
) -> None:
    cluster.pods["shop", "payments-1"] = pod_object(metadata__annotations={LIFETIME: "1h"})

    leaf = leaf_of(enroll(client, headers, body))

    assert leaf.not_valid_after_utc == NOW.replace(microsecond=0) + timedelta(hours=1)


def test_own_pods_enroll_like_any_other(client: FlaskClient, cluster: FakeCluster, body: bytes) -> None:
    pod = pod_object(
        metadata__name="podtls-webhook-0",
        metadata__namespace="podtls-system",
        spec__serviceAccountName="podtls-webhook",
    )
    cluster.pods["podtls-system", "podtls-webhook-0"] = pod
    token = cluster.issue_token(user_of(pod), AUDIENCE)
    headers = {
        "Authorization": f"Bearer {token}",
        HEADER_SOURCE: ADDRESS,
        "Content-Type": "application/pkcs10",
    }

    assert "sa/podtls-webhook" in leaf_of(enroll(client, headers, body)).subject.rfc4514_string()


@pytest.mark.parametrize(
    ("change", "status"),
    [
        pytest.param({"Authorization": ""}, 401, id="no token"),
        pytest.param({"Authorization": "Bearer expired"}, 401, id="expired token"),
        pytest.param({"Authorization": "Basic cm9vdDp4"}, 401, id="Basic"),
    ],
)
def test_challenge_is_empty_and_comes_before_anything_is_parsed(
    change: dict[str, str], status: int, client: FlaskClient, headers: dict[str, str], log: EvidenceLog
) -> None:
    # Everything else is wrong as well, and is not read.
    wrong = {"Content-Type": "text/html", "Accept": "text/html", **{k: v for k, v in headers.items() if "Podtls" in k}}

    answer = enroll(client, {**wrong, **change}, b"\x00" * 200_000)

    assert answer.status_code == status
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert answer.data == b""
    assert read_records(log) == []


@pytest.mark.parametrize(
    ("change", "body", "status", "reason"),
    [
        pytest.param({}, b"!!!", 400, "not base64", id="not base64"),
        pytest.param({}, body_of(b"garbage"), 400, "not DER that can be read", id="garbage DER"),
        pytest.param({}, b"", 400, "not DER that can be read", id="empty"),
        pytest.param({}, body_of(request_der(WEAK)), 400, "RSA key of 1024 bits", id="RSA 1024"),
        pytest.param({}, body_of(request_der(ec.generate_private_key(ec.SECP192R1()))), 400, "secp192r1", id="P-192"),
        pytest.param({}, body_of(b"\x30" * (DER_LIMIT + 1)), 413, f"allowed are {DER_LIMIT}", id="huge request"),
        pytest.param({}, b"a" * (CA_BODY_LIMIT + 1), 413, "exceeds the capacity limit", id="huge body"),
        pytest.param({"Content-Type": "application/json"}, b"{}", 415, "expected application/pkcs10", id="JSON"),
        pytest.param({"Accept": "text/html"}, b"", 406, "the answer is application/pkcs7-mime", id="a browser"),
    ],
)
def test_bad_request_of_an_attested_pod_is_told_why(
    change: dict[str, str],
    body: bytes,
    status: int,
    reason: str,
    client: FlaskClient,
    headers: dict[str, str],
    log: EvidenceLog,
) -> None:
    answer = enroll(client, {**headers, **change}, body)

    assert answer.status_code == status
    assert reason in answer.text
    assert answer.content_type == "text/plain; charset=utf-8"
    assert read_records(log) == []


@pytest.mark.parametrize(
    "der",
    [
        pytest.param(lambda key: sign_tampered(key, version=1), id="version"),
        pytest.param(lambda key: request_with_extension(key, "1.3.6.1.5.5.7.1.24", b"\x30\x03\x02\x01\x63"), id="TLS"),
    ],
)
def test_request_that_the_parser_does_not_expect_is_400_without_a_certificate(
    der: Callable[[Key], bytes], client: FlaskClient, headers: dict[str, str], key: Key, log: EvidenceLog
) -> None:
    answer = enroll(client, headers, body_of(der(key)))

    assert answer.status_code == 400
    assert answer.text.startswith("podtls: certificate request: ")
    assert read_records(log) == []


def test_reenrolling_with_a_token_is_enrolling(
    client: FlaskClient, headers: dict[str, str], body: bytes, key: Key, log: EvidenceLog
) -> None:
    answer = client.post(PATH_REENROLL, headers=headers, data=body)

    (record,) = read_records(log)
    assert answer.status_code == 200
    assert leaf_of(answer).public_key() == key.public_key()
    assert record.serial == f"{leaf_of(answer).serial_number:x}"


def test_reenrolling_without_a_token_is_challenged(client: FlaskClient, body: bytes) -> None:
    answer = client.post(PATH_REENROLL, headers={"Content-Type": "application/pkcs10"}, data=body)

    assert (answer.status_code, answer.headers["WWW-Authenticate"], answer.data) == (401, "Bearer", b"")


def test_refused_reenrollment_is_recorded_and_told_why(
    client: FlaskClient, headers: dict[str, str], body: bytes, cluster: FakeCluster, log: EvidenceLog
) -> None:
    cluster.pods["shop", "payments-1"] = pod_object(metadata__uid="new")

    answer = client.post(PATH_REENROLL, headers=headers, data=body)

    (record,) = read_records(log)
    assert (answer.status_code, record.decision, answer.text) == (403, "refuse", f"podtls: {record.reason}\n")


def test_request_signed_by_another_key_is_refused(
    client: FlaskClient, headers: dict[str, str], key: Key, log: EvidenceLog
) -> None:
    der = bytearray(request_der(key))
    der[-1] ^= 1

    answer = enroll(client, headers, body_of(bytes(der)))

    assert answer.status_code == 400
    assert "not made with the private key of its public key" in answer.text
    assert read_records(log) == []


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        pytest.param({"metadata__uid": "new"}, "the uid differs", id="another pod's uid"),
        pytest.param({"status__phase": "Succeeded"}, "has finished: Succeeded", id="finished"),
        pytest.param({"spec__serviceAccountName": "orders"}, "another service account", id="service account changed"),
        pytest.param({"metadata__labels": {}}, "is not injected", id="not injected"),
        pytest.param({"status__podIPs": [{"ip": "10.9.9.9"}]}, "is not the pod's", id="address of another pod"),
    ],
)
def test_refusal_is_told_and_recorded_with_the_same_reason(
    changes: dict[str, Any],
    reason: str,
    client: FlaskClient,
    headers: dict[str, str],
    body: bytes,
    cluster: FakeCluster,
    log: EvidenceLog,
) -> None:
    cluster.pods["shop", "payments-1"] = pod_object(**changes)

    answer = enroll(client, headers, body)

    (record,) = read_records(log)
    assert answer.status_code == 403
    assert reason in answer.text
    assert record.decision == "refuse"
    assert answer.text == f"podtls: {record.reason}\n"
    assert (record.pod, record.pod_uid, record.token_id[:4]) == ("payments-1", UID, "JTI=")
    assert (record.serial, record.dns) == ("", [])


def test_pod_that_is_gone_is_refused(
    client: FlaskClient, headers: dict[str, str], body: bytes, cluster: FakeCluster, log: EvidenceLog
) -> None:
    cluster.pods.clear()

    answer = enroll(client, headers, body)

    assert (answer.status_code, answer.text) == (403, "podtls: pod shop/payments-1 is gone\n")
    assert [record.decision for record in read_records(log)] == ["refuse"]


def test_address_that_is_not_there_yet_is_worth_another_try(
    client: FlaskClient, headers: dict[str, str], body: bytes, cluster: FakeCluster, log: EvidenceLog
) -> None:
    cluster.pods["shop", "payments-1"] = pod_object(
        metadata__creationTimestamp="2030-05-01T11:59:59Z", status__podIPs=None
    )

    answer = enroll(client, headers, body)

    assert answer.status_code == 202
    assert answer.headers["Retry-After"] == "1"
    assert read_records(log) == []


def test_nothing_is_signed_while_the_api_server_is_down(
    client: FlaskClient, headers: dict[str, str], body: bytes, cluster: FakeCluster, log: EvidenceLog
) -> None:
    cluster.down = UnavailableError("the API server does not answer: MaxRetryError")

    answer = enroll(client, headers, body)

    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "2"
    assert "the API server does not answer" in answer.text
    assert read_records(log) == []


@pytest.mark.parametrize(
    "changes", [pytest.param({}, id="certificate"), pytest.param({"status__phase": "Failed"}, id="refusal")]
)
def test_nothing_leaves_while_the_log_is_full(
    changes: dict[str, Any],
    client_with_log: Callable[[EvidenceLog], FlaskClient],
    headers: dict[str, str],
    body: bytes,
    cluster: FakeCluster,
) -> None:
    cluster.pods["shop", "payments-1"] = pod_object(**changes)

    answer = enroll(client_with_log(EvidenceLog(FULL)), headers, body)

    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "2"
    assert "No space left on device" in answer.text
    assert "BEGIN" not in answer.text
