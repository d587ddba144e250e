"""Warnings for workloads: the same decision that their pods will meet, never a refusal, never a record."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st

from contract.names import INJECT
from tests.fakes import FakeEvidenceLog
from tests.webhook.goldens import cases, load
from tests.webhook.world import MTLS, NAMESPACE, SETTINGS, annotated, decided, pod
from webhook.decision import Defaults, Deny
from webhook.errors import ReviewError
from webhook.workloads import parse_workload, warn_of_pods

Raw = dict[str, Any]


def template(raw: Raw) -> Raw:
    return {key: raw[key] for key in ("metadata", "spec") if key in raw}


def plain(raw: Raw) -> Raw:
    return {"template": template(raw)}


def nested(raw: Raw) -> Raw:
    return {"schedule": "@daily", "jobTemplate": {"spec": {"template": template(raw)}}}


KINDS: dict[str, Callable[[Raw], Raw]] = {
    "Deployment": plain,
    "StatefulSet": plain,
    "DaemonSet": plain,
    "Job": plain,
    "CronJob": nested,
}


def body(raw: Raw, kind: str = "Deployment", **request: Any) -> bytes:
    spec = KINDS.get(kind, plain)(raw)
    reviewed = {"uid": "u-1", "namespace": NAMESPACE, "object": {"kind": kind, "spec": spec}, **request}
    return json.dumps({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": reviewed}).encode()


def answer(raw: Raw, kind: str = "Deployment", defaults: Defaults = MTLS) -> Any:
    return json.loads(warn_of_pods(parse_workload(body(raw, kind)), defaults, SETTINGS.pods.policy))["response"]


@pytest.mark.parametrize("kind", KINDS)
def test_workload_whose_pods_will_be_refused_is_allowed_with_the_reason(kind: str) -> None:
    raw = annotated(mode="plaintext")
    decision = decided(raw)

    response = answer(raw, kind)

    assert isinstance(decision, Deny)
    assert response == {
        "uid": "u-1",
        "allowed": True,
        "warnings": [f"podtls: pods of this {kind} will be refused: {decision.reason}"],
    }


def test_workload_that_opts_out_is_warned_with_the_reason_of_the_skip() -> None:
    raw = pod({"labels": {INJECT: "disabled"}})

    assert answer(raw)["warnings"] == ["podtls: not injected: label podtls.io/inject=disabled opts out"]


def test_workload_that_is_weaker_than_its_namespace_is_warned_as_its_pods_are() -> None:
    response = answer(annotated(mode="tls"))

    assert response["warnings"] == ["podtls: mode tls of the pod is weaker than mode mtls of its namespace"]


def test_default_of_the_namespace_counts() -> None:
    response = answer(pod(), defaults=Defaults("mtls", "redirect"))

    assert response["warnings"][0].startswith(
        "podtls: pods of this Deployment will be refused: podtls.io/capture: redirect (label on the namespace)"
    )


@pytest.mark.parametrize("case", cases())
def test_every_golden_is_warned_of_exactly_what_its_pod_would_be(case: str) -> None:
    decision = decided(load(case))

    # The API server takes no more than this of each.
    assert answer(load(case)).get("warnings", []) == [warning[:256] for warning in decision.warnings]


def test_long_reason_is_shortened_to_what_the_api_server_shows() -> None:
    (warning,) = answer(annotated(upstreams="x" * 4000))["warnings"]

    assert len(warning) == 256


def test_route_warns_and_writes_no_record(client: FlaskClient, log: FakeEvidenceLog) -> None:
    headers = {"Content-Type": "application/json"}

    response = client.post("/warn/mtls/port", data=body(annotated(mode="plaintext")), headers=headers)

    assert (response.status_code, response.content_type) == (200, "application/json")
    assert response.get_json()["response"]["allowed"] is True
    assert "annotation podtls.io/mode: 'plaintext' is not allowed" in response.get_json()["response"]["warnings"][0]
    assert log.records == []


@pytest.mark.parametrize("path", ["/warn/plaintext/port", "/warn/mtls/everything", "/warn/mtls"])
def test_path_with_an_unknown_choice_is_not_found(client: FlaskClient, path: str) -> None:
    assert client.post(path, data=body(pod())).status_code == 404


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        pytest.param(b"{", "not an AdmissionReview of a workload", id="no JSON"),
        pytest.param(b"[" * 100_000, "not an AdmissionReview of a workload", id="too deep"),
        pytest.param(b'{"request": {}}', "missing required field `uid`", id="no uid"),
        pytest.param(body(pod(), "ReplicaSet"), "expected CronJob, DaemonSet, Deployment, Job, StatefulSet", id="kind"),
        pytest.param(body(pod(), object={"kind": "Job", "spec": {}}), "with a pod template", id="no template"),
        pytest.param(body(pod(), object=None), "Expected `object`, got `null`", id="DELETE"),
        pytest.param(body(pod(), namespace="A b"), "request.namespace: expected an RFC 1123 label", id="namespace"),
        pytest.param(body(pod(containers=3)), "Expected `array | null`, got `int`", id="no pod"),
        pytest.param(body(pod(initContainers=[{"ports": 3}])), "Expected `array | null`", id="no init container"),
    ],
)
def test_what_is_not_a_workload_is_a_bad_request_that_says_why(client: FlaskClient, sent: bytes, reason: str) -> None:
    with pytest.raises(ReviewError) as refused:
        parse_workload(sent)
    response = client.post("/warn/mtls/port", data=sent, headers={"Content-Type": "application/json"})

    assert reason in str(refused.value)
    assert (response.status_code, response.get_json()["code"]) == (400, 400)


@given(st.text())
def test_no_annotation_makes_it_refuse(value: str) -> None:
    assert answer(annotated(ports=value, mode=value, upstreams=value))["allowed"] is True
