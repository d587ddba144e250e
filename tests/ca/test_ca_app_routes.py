"""The CA API besides enrolling: names, the bundle, probes, metrics and the log."""

import base64
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import pkcs7
from flask.testing import FlaskClient

from audit.log import EvidenceLog
from ca.api.app import create_app
from ca.authority.authority import Authority
from ca.settings import Settings
from contract.names import (
    HEADER_SOURCE,
    PATH_CACERTS,
    PATH_CSRATTRS,
    PATH_ENROLL,
    PATH_NAMES,
    PATH_REENROLL,
)
from tests.ca.enrollments import enroll, read_records
from tests.ca.world import (
    ADDRESS,
    pod_object,
    service_object,
)
from tests.fakes import FakeCluster


def test_names_endpoint_says_what_a_certificate_would_carry(
    client: FlaskClient, headers: dict[str, str], cluster: FakeCluster, log: EvidenceLog
) -> None:
    cluster.service_objects.append(service_object("added-later", {"app": "payments"}))

    answer = client.get(PATH_NAMES, headers=headers)

    assert answer.status_code == 200
    assert answer.json == {
        "dns": [
            "10-1-2-3.shop.pod.cluster.local",
            "added-later.shop.svc",
            "added-later.shop.svc.cluster.local",
            "fd00--3.shop.pod.cluster.local",
            "payments.shop.svc",
            "payments.shop.svc.cluster.local",
        ],
        "uri": "spiffe://cluster.local/ns/shop/sa/payments",
    }
    assert read_records(log) == []


def test_names_endpoint_tells_nobody_without_a_token(client: FlaskClient) -> None:
    answer = client.get(PATH_NAMES, headers={HEADER_SOURCE: ADDRESS})

    assert (answer.status_code, answer.data) == (401, b"")


def test_names_endpoint_refuses_and_records_no_decision(
    client: FlaskClient, headers: dict[str, str], cluster: FakeCluster, log: EvidenceLog
) -> None:
    cluster.pods["shop", "payments-1"] = pod_object(metadata__uid="new")

    answer = client.get(PATH_NAMES, headers=headers)

    assert answer.status_code == 403
    assert "the uid differs" in answer.text
    assert read_records(log) == []


def test_cacerts_gives_the_bundle_and_the_issuing_ca_to_anybody(client: FlaskClient, authority: Authority) -> None:
    answer = client.get(PATH_CACERTS)

    found = pkcs7.load_der_pkcs7_certificates(base64.b64decode(answer.data))
    assert answer.headers["Content-Transfer-Encoding"] == "base64"
    assert set(found) == {authority.bundle[0], authority.certificate}


def test_cacerts_in_another_form_is_not_acceptable(client: FlaskClient) -> None:
    assert client.get(PATH_CACERTS, headers={"Accept": "text/html"}).status_code == 406


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        pytest.param("GET", PATH_ENROLL, 405, "POST", id="method"),
        pytest.param("GET", PATH_REENROLL, 405, "POST", id="method of reenroll"),
        pytest.param("GET", "/.well-known/podtls/nothing", 404, "", id="a path that is not EST's"),
    ],
)
def test_what_is_not_there_is_said_in_plain_text(
    method: str, path: str, status: int, allow: str, client: FlaskClient
) -> None:
    answer = client.open(path, method=method)

    assert answer.status_code == status
    assert answer.content_type == "text/plain; charset=utf-8"
    assert answer.text.startswith("podtls: ")
    assert allow in answer.headers.get("Allow", "")


@pytest.mark.parametrize(
    "path", ["", "/", "/serverkeygen", "/fullcmc", "/shop/simpleenroll", "/shop/csrattrs", "/cacerts/"]
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_est_operation_that_we_do_not_have_is_404_without_a_body(path: str, method: str, client: FlaskClient) -> None:
    answer = client.open(f"/.well-known/est{path}", method=method)

    assert (answer.status_code, answer.data) == (404, b"")


def test_path_that_only_begins_like_est_is_said_in_plain_text(client: FlaskClient) -> None:
    answer = client.get("/.well-known/establish")

    assert answer.status_code == 404
    assert answer.text.startswith("podtls: ")


def test_csrattrs_says_that_no_attribute_is_asked_for(client: FlaskClient) -> None:
    answer = client.get(PATH_CSRATTRS)

    assert (answer.status_code, answer.data) == (204, b"")
    assert "Content-Type" not in answer.headers


def test_cacerts_is_one_line_of_base64(client: FlaskClient) -> None:
    answer = client.get(PATH_CACERTS)

    assert answer.data
    assert not set(answer.data) & set(b"\r\n ")


def test_replica_with_key_and_log_is_ready(client: FlaskClient) -> None:
    assert [client.get(path).status_code for path in ("/healthz", "/readyz")] == [200, 200]


def test_replica_that_cannot_record_is_not_ready(
    client_with_log: Callable[[EvidenceLog], FlaskClient], tmp_path: Path
) -> None:
    answer = client_with_log(EvidenceLog(tmp_path / "no" / "such" / "log")).get("/readyz")

    assert answer.status_code == 503
    assert "No such file" in answer.text


def test_replica_with_an_expired_authority_is_not_ready(
    settings: Settings, authority: Authority, cluster: FakeCluster, log: EvidenceLog
) -> None:
    late = authority.certificate.not_valid_after_utc

    answer = create_app(settings, lambda: authority, cluster, log, clock=lambda: late).test_client().get("/readyz")

    assert (answer.status_code, answer.text) == (503, "podtls: the issuing CA has expired\n")


def test_metrics_count_what_was_answered(client: FlaskClient, headers: dict[str, str], body: bytes) -> None:
    enroll(client, headers, body)
    enroll(client, {}, body)
    client.get("/nowhere")

    text = client.get("/metrics").text

    assert 'podtls_ca_requests_total{code="200",route="enroll"} 1.0' in text
    assert 'podtls_ca_requests_total{code="401",route="enroll"} 1.0' in text
    assert 'podtls_ca_requests_total{code="404",route="none"} 1.0' in text


def test_log_says_each_decision_once_and_no_secret(
    client: FlaskClient,
    headers: dict[str, str],
    body: bytes,
    caplog: pytest.LogCaptureFixture,
    log: EvidenceLog,
    cluster: FakeCluster,
) -> None:
    caplog.set_level(logging.DEBUG)

    enroll(client, headers, body)
    enroll(client, {**headers, "Authorization": "Bearer planted-secret-token"}, body)
    cluster.pods.clear()
    enroll(client, headers, body)

    lines = [record.getMessage() for record in caplog.records if record.name == "ca.api.app"]
    assert ['"decision":"issue"' in line for line in lines] == [True, False, False]
    written = "\n".join(lines) + log.path.read_text()
    token = headers["Authorization"].removeprefix("Bearer ")
    for secret in (token, "planted-secret-token", "PRIVATE KEY", body.decode().splitlines()[0]):
        assert secret not in written
