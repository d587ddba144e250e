"""Admission as kube-apiserver does it, against a real TLS server: what is sent, and which answers count."""

import base64
import json
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lab.sandbox.apiserver.admission import Admitted, Webhook, admit
from lab.sandbox.apiserver.controllers import ADMIN
from lab.sandbox.apiserver.webhook_client import WebhookClient
from lab.sandbox.certificates import Pair, self_signed
from lab.sandbox.errors import AdmissionError
from tests.lab.sandbox.webhook_server import Reply, Script, WebhookServer, allow, answer, webhook_server

NAME = "podtls-webhook.podtls-system.svc"
POD: dict[str, Any] = {
    "kind": "Pod",
    "apiVersion": "v1",
    "metadata": {"generateName": "payments-6d4f8-", "namespace": "shop", "labels": {"app": "payments"}},
    "spec": {"containers": [{"name": "app", "image": "app:1"}]},
}
ADD_LABEL = [{"op": "add", "path": "/metadata/labels/seen", "value": "yes"}]

Serve = Callable[[Script], WebhookServer]


@pytest.fixture(scope="module")
def certificate() -> Pair:
    return self_signed("webhook", dns=(NAME,))


@pytest.fixture
def serve(certificate: Pair, tmp_path: Path) -> Iterator[Serve]:
    with ExitStack() as stack:
        yield lambda say: stack.enter_context(webhook_server(certificate, tmp_path, say))


def _webhook(certificate: Pair, **changes: Any) -> Webhook:
    entry = Webhook(
        name="mtls-port.podtls.io",
        namespace="podtls-system",
        service="podtls-webhook",
        port=443,
        path="/mutate/mtls/port",
        ca_bundle=certificate.certificate,
        timeout_seconds=5,
        failure_policy="Fail",
        namespace_selector={},
        rules=(),
    )
    return replace(entry, **changes)


def _admit(server: WebhookServer, webhook: Webhook, *more: Webhook) -> Admitted:
    client = WebhookClient(lambda _namespace, _service, _port: server.address)
    try:
        return admit(POD, ADMIN, (webhook, *more), client)
    finally:
        client.close()


def _patch(operations: Any) -> str:
    return base64.b64encode(json.dumps(operations).encode()).decode()


def test_webhook_is_called_as_kube_apiserver_calls_it(certificate: Pair, serve: Serve) -> None:
    server = serve(allow)

    _admit(server, _webhook(certificate))

    ((path, headers),) = server.requests
    (review,) = server.reviews
    assert path == "/mutate/mtls/port?timeout=5s"
    assert headers["Host"] == f"{NAME}:443"
    assert headers["Content-Type"] == "application/json"
    assert headers["User-Agent"] == "kube-apiserver-admission"
    assert server.server_names == [NAME]
    assert (review["apiVersion"], review["kind"]) == ("admission.k8s.io/v1", "AdmissionReview")
    request = review["request"]
    assert request["object"] == POD
    assert request["oldObject"] is None
    assert request["userInfo"] == ADMIN
    assert (request["operation"], request["namespace"], request["dryRun"]) == ("CREATE", "shop", False)
    assert request["kind"] == request["requestKind"] == {"group": "", "version": "v1", "kind": "Pod"}
    assert "name" not in request


def test_patch_is_applied_and_warnings_and_annotations_are_surfaced(certificate: Pair, serve: Serve) -> None:
    server = serve(
        lambda review: allow(
            review,
            patch=_patch(ADD_LABEL),
            patchType="JSONPatch",
            warnings=["mind the gap"],
            auditAnnotations={"decision": "inject"},
        )
    )

    admitted = _admit(server, _webhook(certificate))

    assert admitted.pod["metadata"]["labels"] == {"app": "payments", "seen": "yes"}
    assert POD["metadata"]["labels"] == {"app": "payments"}
    assert admitted.operations == ADD_LABEL
    assert admitted.warnings == ["mind the gap"]
    assert admitted.audit_annotations == {"mtls-port.podtls.io/decision": "inject"}


def test_pod_that_no_webhook_chose_is_unchanged(serve: Serve) -> None:
    server = serve(allow)

    admitted = admit(POD, ADMIN, (), WebhookClient(lambda *_: server.address))

    assert admitted == Admitted(POD)
    assert server.requests == []


def test_connection_is_kept_alive_between_reviews(certificate: Pair, serve: Serve) -> None:
    server = serve(allow)

    _admit(server, _webhook(certificate), _webhook(certificate, name="second.podtls.io"))

    assert len(server.requests) == 2
    assert len(server.peers) == 1


def test_connection_that_the_server_closed_is_opened_again(certificate: Pair, serve: Serve) -> None:
    server = serve(lambda review: replace(allow(review), headers={"Connection": "close"}))

    _admit(server, _webhook(certificate), _webhook(certificate, name="second.podtls.io"))

    assert len(server.requests) == 2
    assert len(server.peers) == 2


def test_denial_reaches_the_user_with_the_webhooks_message(certificate: Pair, serve: Serve) -> None:
    status = {"code": 403, "message": "podtls.io/mode: 'x' is none of mtls, tls"}
    server = serve(lambda review: answer({"uid": review["request"]["uid"], "allowed": False, "status": status}))

    with pytest.raises(AdmissionError) as refused:
        _admit(server, _webhook(certificate))

    assert str(refused.value) == (
        "admission webhook \"mtls-port.podtls.io\" denied the request: podtls.io/mode: 'x' is none of mtls, tls"
    )


def _busy(retry_after: str | None, then: Script) -> Script:
    """503 once, then something else."""
    replies = iter([Reply(503, b"", {} if retry_after is None else {"Retry-After": retry_after})])
    return lambda review: next(replies, None) or then(review)


def test_busy_webhook_that_says_when_is_asked_again(certificate: Pair, serve: Serve) -> None:
    server = serve(_busy("0", allow))

    _admit(server, _webhook(certificate))

    assert len(server.requests) == 2


@pytest.mark.parametrize("retry_after", [pytest.param(None, id="no Retry-After"), pytest.param("soon", id="no number")])
def test_busy_webhook_that_does_not_say_when_fails_at_once(
    certificate: Pair, serve: Serve, retry_after: str | None
) -> None:
    server = serve(_busy(retry_after, allow))

    with pytest.raises(AdmissionError, match=r"failed calling webhook .* status code 503 but did not return more"):
        _admit(server, _webhook(certificate))
    assert len(server.requests) == 1


def test_waiting_beyond_the_timeout_is_not_begun(certificate: Pair, serve: Serve) -> None:
    server = serve(_busy("60", allow))

    with pytest.raises(AdmissionError, match=r"context deadline exceeded after the server responded .* 503"):
        _admit(server, _webhook(certificate))


def test_webhook_that_is_busy_for_ever_is_given_up(certificate: Pair, serve: Serve) -> None:
    server = serve(lambda _review: Reply(429, b"", {"Retry-After": "0"}))

    with pytest.raises(AdmissionError, match="status code 429"):
        _admit(server, _webhook(certificate))
    assert len(server.requests) == 10


def test_status_body_of_an_error_reaches_the_user(certificate: Pair, serve: Serve) -> None:
    status = {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "message": "the patch log is full",
        "code": 500,
    }
    server = serve(lambda _review: Reply(500, json.dumps(status).encode()))

    with pytest.raises(
        AdmissionError, match=r'failed calling webhook "mtls-port\.podtls\.io": .*the patch log is full'
    ):
        _admit(server, _webhook(certificate))


def test_failing_webhook_with_policy_ignore_admits_the_pod_unchanged(certificate: Pair, serve: Serve) -> None:
    server = serve(lambda _review: Reply(500, b"plain text is dropped"))

    admitted = _admit(server, _webhook(certificate, failure_policy="Ignore"))

    assert admitted == Admitted(POD)


def test_certificate_of_another_bundle_is_not_believed(certificate: Pair, serve: Serve) -> None:
    server = serve(allow)
    other = self_signed("another", dns=(NAME,))

    with pytest.raises(AdmissionError, match="certificate verify failed: self-signed certificate"):
        _admit(server, _webhook(certificate, ca_bundle=other.certificate))
    assert server.requests == []


def test_certificate_with_another_name_is_not_believed(certificate: Pair, serve: Serve) -> None:
    server = serve(allow)

    with pytest.raises(AdmissionError, match=r"not valid for 'other\.podtls-system\.svc'"):
        _admit(server, _webhook(certificate, service="other"))


def test_webhook_that_never_answers_ends_at_its_timeout(certificate: Pair) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        server = WebhookServer(allow, silent.getsockname())

        with pytest.raises(AdmissionError, match="timed out"):
            _admit(server, _webhook(certificate, timeout_seconds=1))


def _uid(review: dict[str, Any]) -> str:
    return str(review["request"]["uid"])


@pytest.mark.parametrize(
    ("say", "reason"),
    [
        pytest.param(lambda _: Reply(200, b"not json"), "invalid webhook response", id="not JSON"),
        pytest.param(lambda _: Reply(200, b"[]"), "invalid webhook response", id="not a review"),
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
def test_answer_that_kube_apiserver_would_not_accept_is_refused(
    certificate: Pair, serve: Serve, say: Script, reason: str
) -> None:
    server = serve(say)

    with pytest.raises(AdmissionError, match=reason):
        _admit(server, _webhook(certificate))
