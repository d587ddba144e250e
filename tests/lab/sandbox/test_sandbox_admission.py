"""Admission as kube-apiserver does it, against a real TLS server: what is sent, and which answers count."""

import base64
import json
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import pytest
import trustme

from lab.sandbox.apiserver.admission import Admitted, WebhookEntry, admit
from lab.sandbox.apiserver.controllers import ADMIN
from lab.sandbox.apiserver.listener import APIRequest, APIResponse, Listener, listen
from lab.sandbox.apiserver.webhook_client import WebhookClient
from lab.sandbox.errors import AdmissionError

NAME = "podtls-webhook.podtls-system.svc"
POD: dict[str, Any] = {
    "kind": "Pod",
    "apiVersion": "v1",
    "metadata": {"generateName": "payments-6d4f8-", "namespace": "shop", "labels": {"app": "payments"}},
    "spec": {"containers": [{"name": "app", "image": "app:1"}]},
}
ADD_LABEL = [{"op": "add", "path": "/metadata/labels/seen", "value": "yes"}]

AUTHORITY = trustme.CA()
ENTRY = WebhookEntry(
    name="mtls-port.podtls.io",
    namespace="podtls-system",
    service="podtls-webhook",
    port=443,
    path="/mutate/mtls/port",
    ca_bundle=AUTHORITY.cert_pem.bytes().decode(),
    timeout_seconds=5,
    failure_policy="Fail",
    namespace_selector={},
    rules=(),
)

Review = dict[str, Any]
Answer = Callable[[Review], APIResponse]
Serve = Callable[[Answer], Listener]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """A webhook over TLS that answers each review as the test says."""
    with ExitStack() as stack:

        def start(answer: Answer) -> Listener:
            def respond(request: APIRequest) -> APIResponse:
                return answer(json.loads(request.body))

            return stack.enter_context(listen(respond, AUTHORITY.issue_cert(NAME)))

        yield start


def allow(review: Review, **response: Any) -> APIResponse:
    """An answer that admits the pod."""
    return answer({"uid": _uid(review), "allowed": True} | response)


def answer(response: dict[str, Any], version: str = "admission.k8s.io/v1") -> APIResponse:
    review = {"kind": "AdmissionReview", "apiVersion": version, "response": response}
    return APIResponse(200, json.dumps(review).encode())


def _admit(address: tuple[str, int], *entries: WebhookEntry) -> Admitted:
    client = WebhookClient(lambda _namespace, _service, _port: address)
    try:
        return admit(POD, ADMIN, entries or (ENTRY,), client)
    finally:
        client.close()


def _patch(operations: Any) -> str:
    return base64.b64encode(json.dumps(operations).encode()).decode()


def test_webhook_is_called_as_kube_apiserver_calls_it(serve: Serve) -> None:
    server = serve(allow)

    _admit(server.address)

    (sent,) = server.requests
    review = json.loads(sent.body)
    assert sent.target == "/mutate/mtls/port?timeout=5s"
    assert sent.headers["host"] == f"{NAME}:443"
    assert sent.headers["content-type"] == "application/json"
    assert sent.headers["user-agent"] == "kube-apiserver-admission"
    assert (review["apiVersion"], review["kind"]) == ("admission.k8s.io/v1", "AdmissionReview")
    request = review["request"]
    assert request["object"] == POD
    assert request["oldObject"] is None
    assert request["userInfo"] == ADMIN
    assert (request["operation"], request["namespace"], request["dryRun"]) == ("CREATE", "shop", False)
    assert request["kind"] == request["requestKind"] == {"group": "", "version": "v1", "kind": "Pod"}
    assert "name" not in request


def test_patch_is_applied_and_warnings_and_annotations_are_surfaced(serve: Serve) -> None:
    server = serve(
        lambda review: allow(
            review,
            patch=_patch(ADD_LABEL),
            patchType="JSONPatch",
            warnings=["mind the gap"],
            auditAnnotations={"decision": "inject"},
        )
    )

    admitted = _admit(server.address)

    assert admitted.pod["metadata"]["labels"] == {"app": "payments", "seen": "yes"}
    assert POD["metadata"]["labels"] == {"app": "payments"}
    assert admitted.operations == ADD_LABEL
    assert admitted.warnings == ["mind the gap"]
    assert admitted.audit_annotations == {"mtls-port.podtls.io/decision": "inject"}


def test_connection_is_kept_alive_between_reviews(serve: Serve) -> None:
    server = serve(allow)

    _admit(server.address, ENTRY, replace(ENTRY, name="second.podtls.io"))

    assert len(server.requests) == 2
    assert server.connections == 1


def test_denial_reaches_the_user_with_the_webhooks_message(serve: Serve) -> None:
    status = {"code": 403, "message": "podtls.io/mode: 'x' is none of mtls, tls"}
    server = serve(lambda review: answer({"uid": review["request"]["uid"], "allowed": False, "status": status}))

    with pytest.raises(AdmissionError) as refused:
        _admit(server.address)

    assert str(refused.value) == (
        "admission webhook \"mtls-port.podtls.io\" denied the request: podtls.io/mode: 'x' is none of mtls, tls"
    )


def test_status_body_of_an_error_reaches_the_user(serve: Serve) -> None:
    status = {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "message": "the patch log is full",
        "code": 500,
    }
    server = serve(lambda _review: APIResponse(500, json.dumps(status).encode()))

    with pytest.raises(
        AdmissionError, match=r'failed calling webhook "mtls-port\.podtls\.io": .*the patch log is full'
    ):
        _admit(server.address)


def test_failing_webhook_with_policy_ignore_admits_the_pod_unchanged(serve: Serve) -> None:
    server = serve(lambda _review: APIResponse(500, b"plain text is dropped"))

    admitted = _admit(server.address, replace(ENTRY, failure_policy="Ignore"))

    assert admitted == Admitted(POD)


def test_certificate_of_another_bundle_is_not_believed(serve: Serve) -> None:
    server = serve(allow)
    other = trustme.CA().cert_pem.bytes().decode()

    with pytest.raises(AdmissionError, match="certificate verify failed: unable to get local issuer certificate"):
        _admit(server.address, replace(ENTRY, ca_bundle=other))
    assert server.requests == []


def test_certificate_with_another_name_is_not_believed(serve: Serve) -> None:
    server = serve(allow)

    with pytest.raises(AdmissionError, match=r"not valid for 'other\.podtls-system\.svc'"):
        _admit(server.address, replace(ENTRY, service="other"))


def test_webhook_that_never_answers_ends_at_its_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(AdmissionError, match="timed out"):
        _admit(silent.getsockname(), replace(ENTRY, timeout_seconds=1))


def _uid(review: dict[str, Any]) -> str:
    return str(review["request"]["uid"])


@pytest.mark.parametrize(
    ("say", "reason"),
    [
        pytest.param(lambda _: APIResponse(200, b"not json"), "invalid webhook response", id="not JSON"),
        pytest.param(lambda _: APIResponse(200, b"[]"), "invalid webhook response", id="not a review"),
        pytest.param(lambda r: answer({"uid": _uid(r)}), "invalid webhook response", id="no allowed"),
        pytest.param(
            lambda r: answer({"uid": _uid(r), "allowed": True}, "v1"), "expected webhook response", id="version"
        ),
        pytest.param(lambda _: answer({"uid": "x", "allowed": True}), "expected response.uid", id="another uid"),
        pytest.param(lambda r: allow(r, patch=_patch([])), "without response.patchType", id="patch without type"),
        pytest.param(lambda r: allow(r, patchType="JSONPatch"), "or the reverse", id="type without patch"),
        pytest.param(lambda r: allow(r, patch="W10=", patchType="Merge"), "'Merge'", id="unknown type"),
        pytest.param(lambda r: allow(r, patch="%", patchType="JSONPatch"), "not base64 of JSON", id="patch not base64"),
        pytest.param(
            lambda r: allow(r, patch="eA==", patchType="JSONPatch"), "not base64 of JSON", id="patch not JSON"
        ),
        pytest.param(
            lambda r: allow(r, patch=_patch([{"op": "add", "path": "/a/b", "value": 1}]), patchType="JSONPatch"),
            "patch cannot be applied",
            id="patch into a missing parent",
        ),
    ],
)
def test_answer_that_kube_apiserver_would_not_accept_is_refused(serve: Serve, say: Answer, reason: str) -> None:
    server = serve(say)

    with pytest.raises(AdmissionError, match=reason):
        _admit(server.address)
