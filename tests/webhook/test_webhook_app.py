import base64
import hashlib
import json
import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from audit.errors import LogWriteError
from audit.record import encode
from contract.names import ENV_TRUST_BUNDLE, HEADER_CALLER, HEADER_SOURCE, MODE
from tests.fakes import FakeEvidenceLog
from tests.webhook.bundles import bundle_pem
from tests.webhook.goldens import load
from tests.webhook.world import apply, body, pod, validate
from webhook.jsonpatch import Operation

JSON = {"Content-Type": "application/json"}


def post(client: FlaskClient, raw: bytes, path: str = "/mutate/mtls/port", **headers: str) -> TestResponse:
    return client.post(path, data=raw, headers={**JSON, **headers})


def assert_is_status(answer: TestResponse, code: int, message: str) -> None:
    assert answer.status_code == code
    assert answer.content_type == "application/json"
    status: dict[str, Any] = answer.get_json()
    assert (status["kind"], status["apiVersion"], status["status"], status["code"]) == ("Status", "v1", "Failure", code)
    assert message in status["message"]


def operations_of(answer: TestResponse) -> list[Operation]:
    patch = json.loads(base64.b64decode(answer.get_json()["response"]["patch"]))
    return [Operation(step["op"], step["path"], step.get("value")) for step in patch]


def test_pod_comes_in_and_a_patch_that_enrolls_it_goes_out(client: FlaskClient) -> None:
    raw = load("deployment")

    answer = post(client, body(raw))

    assert answer.status_code == 200
    assert answer.content_type == "application/json"
    response = answer.get_json()["response"]
    assert (response["uid"], response["allowed"]) == ("705ab4f5-6393-11e8-b7cc-42010a800002", True)
    result = apply(raw, operations_of(answer))
    assert [entry["name"] for entry in result["spec"]["initContainers"]] == ["podtls-init", "podtls-nginx"]
    validate(result)


def test_response_is_sent_with_its_record_in_the_log(client: FlaskClient, log: FakeEvidenceLog) -> None:
    raw = load("deployment")
    sent = body(raw)
    headers = {HEADER_SOURCE: "10.1.2.3", HEADER_CALLER: "verified"}

    answer = post(client, sent, **headers)

    (record,) = log.records
    assert record.id == answer.get_json()["response"]["auditAnnotations"]["record"]
    assert (record.decision, record.reason) == ("inject", "enrolled: mode mtls, capture port")
    assert (record.source, record.caller, record.dry_run) == ("10.1.2.3", "verified", False)
    assert record.digest == "sha256:" + hashlib.sha256(sent).hexdigest()
    assert (record.path, record.mode, record.ports) == ("mtls/port", "mtls", "8443=8080")
    assert (record.namespace, record.generate_name, record.replica) == (
        "shop",
        "payments-6b8d7c9f5-",
        "podtls-webhook-0",
    )
    assert record.owners == raw["metadata"]["ownerReferences"]
    assert record.requested_by == json.loads(sent)["request"]["userInfo"]
    assert record.operations == [step.to_json() for step in operations_of(answer)]
    assert abs((datetime.now(UTC) - record.time).total_seconds()) < 3600
    assert f'"record":"{record.id}"' in json.dumps(record.operations).replace("\\", "")


def test_secrets_of_the_pod_are_in_no_record_and_no_log_line(
    client: FlaskClient, log: FakeEvidenceLog, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    raw = pod()
    raw["spec"]["containers"][0]["env"] = [{"name": "PASSWORD", "value": "planted-secret"}]
    raw["metadata"]["annotations"] = {"example.com/token": "planted-secret"}

    post(client, body(raw))

    assert "planted-secret" not in repr(log.records)
    assert "planted-secret" not in caplog.text


@pytest.mark.parametrize(
    ("headers", "source", "caller"),
    [
        pytest.param({}, "unknown", "unverified", id="none"),
        pytest.param({HEADER_CALLER: "Verified"}, "unknown", "unverified", id="misspelt"),
        pytest.param({HEADER_SOURCE: "::1", HEADER_CALLER: "verified"}, "::1", "verified", id="both"),
    ],
)
def test_source_and_caller_are_what_the_edge_proxy_says(
    client: FlaskClient, log: FakeEvidenceLog, headers: dict[str, str], source: str, caller: str
) -> None:
    post(client, body(pod()), **headers)

    assert (log.records[0].source, log.records[0].caller) == (source, caller)


@pytest.mark.parametrize(
    ("raw", "decision", "allowed"),
    [
        pytest.param(pod({"annotations": {MODE: "x"}}), "deny", False, id="deny"),
        pytest.param(pod(hostNetwork=True), "skip", True, id="skip"),
        pytest.param(pod(), "inject", True, id="inject"),
    ],
)
@pytest.mark.parametrize("dry_run", [True, False])
def test_every_decision_is_recorded_dry_runs_too(
    client: FlaskClient, log: FakeEvidenceLog, raw: dict[str, Any], decision: str, *, allowed: bool, dry_run: bool
) -> None:
    answer = post(client, body(raw, dryRun=dry_run))

    response = answer.get_json()["response"]
    (record,) = log.records
    assert response["allowed"] is allowed
    assert (record.decision, record.dry_run) == (decision, dry_run)
    assert response["auditAnnotations"] == {"decision": decision, "reason": record.reason, "record": record.id}
    assert response.get("warnings", []) == record.warnings


def test_record_of_an_equal_round_names_the_first_one(client: FlaskClient, log: FakeEvidenceLog) -> None:
    raw = pod()
    first = operations_of(post(client, body(raw)))

    answer = post(client, body(apply(raw, first)))

    assert "patch" not in answer.get_json()["response"]
    assert log.records[1].reason.endswith(f"; equal to what record {log.records[0].id} injected, nothing to add")


def test_record_of_a_round_that_replaces_names_the_first_one(client: FlaskClient, log: FakeEvidenceLog) -> None:
    raw = pod()
    once = apply(raw, operations_of(post(client, body(raw))))
    once["spec"]["initContainers"][0]["image"] = "evil.example.com/x:1"

    answer = post(client, body(once))

    assert log.records[1].reason.endswith(f"; replaces what record {log.records[0].id} injected")
    assert answer.get_json()["response"]["warnings"][0].startswith("podtls: 'podtls-init' differed")


@pytest.mark.parametrize("image", ["registry.example.com/podtls/init:0.1.0", "evil.example.com/x:1"])
def test_later_round_names_its_record_under_a_key_of_its_own(
    client: FlaskClient, log: FakeEvidenceLog, image: str
) -> None:
    """The API server keeps the first value of an audit annotation, so a second `record` would be lost."""
    raw = pod()
    first = post(client, body(raw))
    once = apply(raw, operations_of(first))
    once["spec"]["initContainers"][0]["image"] = image

    answer = post(client, body(once))

    told = [each.get_json()["response"]["auditAnnotations"] for each in (first, answer)]
    assert told[0] | told[1] == {
        "decision": "inject",
        "reason": "enrolled: mode mtls, capture port",
        "record": log.records[0].id,
        "later-record": log.records[1].id,
    }


def test_full_disk_refuses_the_request_saying_so_and_invites_no_retry(
    client: FlaskClient, log: FakeEvidenceLog
) -> None:
    log.error = LogWriteError("evidence log /var/log/podtls/evidence.jsonl: No space left on device")

    answer = post(client, body(pod()))

    assert_is_status(answer, 503, "podtls: evidence log /var/log/podtls/evidence.jsonl: No space left on device")
    assert "Retry-After" not in answer.headers


def test_missing_trust_bundle_refuses_the_request_saying_so(
    client: FlaskClient, log: FakeEvidenceLog, bundle_file: Path
) -> None:
    bundle_file.unlink()

    answer = post(client, body(pod()))

    assert_is_status(answer, 503, f"trust bundle {bundle_file}: No such file or directory")
    assert "Retry-After" not in answer.headers
    assert log.records == []


def test_new_trust_bundle_is_in_the_next_pod(client: FlaskClient, bundle_file: Path) -> None:
    post(client, body(pod()))
    bundle_file.write_bytes(bundle_pem("new") + bundle_pem("old"))

    answer = post(client, body(pod()))

    result = apply(pod(), operations_of(answer))
    values = {entry["name"]: entry.get("value") for entry in result["spec"]["initContainers"][0]["env"]}
    assert values[ENV_TRUST_BUNDLE] == bundle_file.read_text("ascii")


@pytest.mark.parametrize(
    ("method", "path", "headers", "code", "message"),
    [
        pytest.param("POST", "/mutate/mtls/port", {"Content-Type": "text/plain"}, 415, "got 'text/plain'", id="type"),
        pytest.param("POST", "/mutate/mtls/port", {}, 415, "expected application/json", id="no-type"),
        pytest.param("POST", "/mutate/bogus/port", JSON, 404, "not found", id="unknown-mode"),
        pytest.param("POST", "/mutate/mtls/bogus", JSON, 404, "not found", id="unknown-capture"),
        pytest.param("POST", "/mutate/mtls", JSON, 404, "not found", id="no-capture"),
        pytest.param("POST", "/", JSON, 404, "not found", id="root"),
        pytest.param("GET", "/mutate/mtls/port", JSON, 405, "not allowed", id="GET"),
        pytest.param("POST", "/healthz", JSON, 405, "not allowed", id="POST-healthz"),
        pytest.param("POST", "/mutate/mtls/port", JSON, 400, "not an AdmissionReview of a Pod", id="empty-body"),
    ],
)
def test_every_response_but_200_is_a_status(
    client: FlaskClient, log: FakeEvidenceLog, method: str, path: str, headers: dict[str, str], code: int, message: str
) -> None:
    answer = client.open(path, method=method, headers=headers)

    assert_is_status(answer, code, message)
    assert ("Allow" in answer.headers) == (code == 405)
    assert log.records == []


def test_content_type_with_a_charset_is_json(client: FlaskClient) -> None:
    answer = client.post("/mutate/tls/port", data=body(pod()), content_type="application/json; charset=utf-8")

    assert answer.status_code == 200


def test_body_of_11_mib_is_too_large_and_one_of_9_mib_is_not(client: FlaskClient) -> None:
    large = pod({"annotations": {"example.com/large": "x" * 9 * 1024 * 1024}})

    accepted = post(client, body(large))
    refused = post(client, b" " * (11 * 1024 * 1024))

    assert accepted.status_code == 200
    assert_is_status(refused, 413, "exceeds the capacity limit")


def test_review_that_would_fill_the_log_is_refused_and_not_recorded(client: FlaskClient, log: FakeEvidenceLog) -> None:
    answer = post(client, body(pod(), userInfo={"username": "x" * 1024 * 1024}))

    assert_is_status(answer, 413, "allowed 131072")
    assert log.records == []


def test_our_own_bug_is_a_500_without_its_details(
    client: FlaskClient, log: FakeEvidenceLog, caplog: pytest.LogCaptureFixture
) -> None:
    log.error = ZeroDivisionError("planted detail")  # type: ignore[assignment]  # nothing that a log should raise

    answer = post(client, body(pod()))

    assert_is_status(answer, 500, "internal error")
    assert "planted detail" not in answer.get_data(as_text=True)
    assert "Traceback" in caplog.text


def test_healthz_is_ok_while_readyz_says_what_is_missing(
    client: FlaskClient, log: FakeEvidenceLog, bundle_file: Path
) -> None:
    ready = client.get("/readyz")
    log.error = LogWriteError("evidence log: disk full")
    full = client.get("/readyz")
    bundle_file.write_text("no certificate")
    untrusted = client.get("/readyz")
    healthy = client.get("/healthz")

    assert (ready.status_code, ready.text) == (200, "ok\n")
    assert_is_status(full, 503, "evidence log: disk full")
    assert_is_status(untrusted, 503, "trust bundle")
    assert (healthy.status_code, healthy.text) == (200, "ok\n")


def test_metrics_count_decisions_and_failures(client: FlaskClient) -> None:
    post(client, body(pod()))
    post(client, body(pod(hostNetwork=True)))
    post(client, b"hello")

    answer = client.get("/metrics")

    assert answer.content_type.startswith("text/plain; version=0.0.4")
    assert 'podtls_admissions_total{decision="inject",mode="mtls"} 1.0' in answer.text
    assert 'podtls_admissions_total{decision="skip",mode=""} 1.0' in answer.text
    assert 'podtls_failed_requests_total{code="400"} 1.0' in answer.text
    assert "podtls_admission_seconds_count 3.0" in answer.text


def test_each_decision_is_one_line_for_the_operator(client: FlaskClient, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "webhook.evidence")

    post(client, body(pod({"name": "two\nlines"})))

    (message,) = caplog.messages
    assert "\n" not in message
    assert {"decision": "inject", "namespace": "shop", "name": "two\nlines"}.items() <= json.loads(message).items()


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(pod({"annotations": {f"podtls.io/{n}": "" for n in range(50_000)}}), id="unknown annotations"),
        pytest.param(
            pod(initContainers=[*({"name": f"i{n}"} for n in range(50_000)), {"name": "podtls-init"}]),
            id="init containers before ours",
        ),
        pytest.param(pod(volumes=[{"name": f"podtls-{n}"} for n in range(50_000)]), id="volumes of our names"),
        pytest.param(pod(initContainers=[{"name": "podtls-init"}] * 50_000), id="containers of our names"),
        pytest.param(
            pod(containers=[{"name": "a", "ports": [{"containerPort": n} for n in range(1, 7_000)]}]), id="ports"
        ),
        pytest.param(
            pod(containers=[{"name": "a", "ports": [{"name": f"podtls-{'1' * 10**6}", "containerPort": 1}]}]),
            id="port name",
        ),
    ],
)
def test_no_pod_makes_a_record_larger_than_a_few_patches(
    client: FlaskClient, log: FakeEvidenceLog, raw: dict[str, Any]
) -> None:
    post(client, body(raw))

    (record,) = log.records
    assert len(encode(record)) < 64 * 1024
