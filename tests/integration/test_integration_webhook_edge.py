"""The webhook as kube-apiserver meets it: TLS, real edge proxy, real gunicorn, bad input and faults."""

import json
import os
import signal
import ssl
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPSConnection
from pathlib import Path

import pytest

from contract.names import HEADER_CALLER, HEADER_SOURCE
from lab.nginx import Nginx
from tests.injector.authority import Authority
from tests.injector.processes import eventually
from tests.integration.stack import MUTATE, RETRYABLE, Caller, WebhookEndpoint, assert_is_status, webhook_endpoint
from tests.webhook.world import body, pod

pytestmark = pytest.mark.integration

_MIB = 1024 * 1024


@pytest.fixture(scope="module")
def lasting(any_nginx: Nginx, authority: Authority, lasting_workshop: Path) -> Iterator[WebhookEndpoint]:
    """An endpoint for tests that leave nothing behind."""
    with webhook_endpoint(any_nginx, authority, lasting_workshop) as endpoint:
        yield endpoint


def until_closed(connection: ssl.SSLSocket) -> bytes:
    return b"".join(iter(lambda: connection.recv(65536), b""))


def large_pod(size: int) -> bytes:
    return body(pod({"annotations": {"example.com/large": "x" * size}}))


def test_review_is_answered_and_recorded_with_the_peers_own_address(
    nginx: Nginx, authority: Authority, workshop: Path
) -> None:
    lies = {HEADER_SOURCE: "10.0.0.1", HEADER_CALLER: "verified", "X-Forwarded-For": "10.0.0.1"}

    with webhook_endpoint(nginx, authority, workshop) as endpoint:
        reply = endpoint.review(source="127.0.0.9", headers=lies)
        (record,) = endpoint.records()

    response = reply.json["response"]
    assert isinstance(response, dict)
    assert (reply.status, response["allowed"], response["patchType"]) == (200, True, "JSONPatch")
    assert response["auditAnnotations"]["record"] == record["id"]
    assert (record["source"], record["caller"], record["replica"]) == ("127.0.0.9", "unverified", "podtls-webhook-0")


def test_review_in_http_1_0_is_answered(nginx: Nginx, authority: Authority, workshop: Path) -> None:
    review = body(pod())
    head = f"POST {MUTATE} HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: {len(review)}\r\n\r\n"

    with webhook_endpoint(nginx, authority, workshop) as endpoint:
        with endpoint.edge.connect() as connection:
            connection.sendall(head.encode() + review)
            answer = until_closed(connection)
        records = endpoint.records()

    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["response"]["allowed"] is True
    assert len(records) == 1


def test_review_in_chunks_is_answered(nginx: Nginx, authority: Authority, workshop: Path) -> None:
    review = body(pod())

    with webhook_endpoint(nginx, authority, workshop) as endpoint:
        connection = HTTPSConnection("127.0.0.1", endpoint.edge.port, timeout=20)
        with endpoint.edge.connect() as connection.sock:
            chunks = iter([review[:100], review[100:]])
            connection.request("POST", MUTATE, chunks, {"Content-Type": "application/json"}, encode_chunked=True)
            status = connection.getresponse().status

    assert status == 200


def test_review_of_9_mib_is_answered_and_one_of_11_mib_is_too_large(
    nginx: Nginx, authority: Authority, workshop: Path
) -> None:
    with webhook_endpoint(nginx, authority, workshop) as endpoint:
        large = endpoint.review(large_pod(9 * _MIB))
        # As kube-apiserver would see it: the answer comes before the body was sent.
        too_large = endpoint.edge.ask(headers={"Content-Length": str(11 * _MIB)}, body=b"")
        records = endpoint.records()

    assert large.status == 200
    assert_is_status(too_large, 413, "larger than the 10485760 bytes that are allowed")
    assert len(records) == 1


@pytest.mark.parametrize(
    ("content_type", "sent", "code", "message"),
    [
        pytest.param("text/plain", body(pod()), 415, "Content-Type: got 'text/plain'", id="content type"),
        pytest.param("application/yaml", body(pod()), 415, "expected application/json", id="yaml"),
        pytest.param("application/json", b"hello", 400, "not an AdmissionReview of a Pod", id="no JSON"),
        pytest.param("application/json", body(pod(), uid=""), 400, "request.uid", id="no uid"),
        pytest.param("application/json", body(None, operation="DELETE"), 400, "got 'DELETE'", id="DELETE"),
        pytest.param("application/json", b"[" * 100_000, 400, "not an AdmissionReview of a Pod", id="deep nesting"),
        pytest.param(
            "application/json", body(pod(), userInfo={"x": "x" * 200_000}), 413, "allowed 131072", id="userInfo"
        ),
    ],
)
def test_what_the_webhook_refuses_arrives_as_its_own_status(
    lasting: WebhookEndpoint, content_type: str, sent: bytes, code: int, message: str
) -> None:
    reply = lasting.review(sent, headers={"Content-Type": content_type})

    assert_is_status(reply, code, message)
    assert lasting.records() == []


@pytest.mark.parametrize("path", ["/", "/mutate/mtls/port/", "/mutate/MTLS/port", "/mutate/mtls/%70ort%0a", "/mutate"])
def test_path_that_is_none_is_a_status(lasting: WebhookEndpoint, path: str) -> None:
    reply = lasting.edge.ask("POST", path, body=body(pod()), headers={"Content-Type": "application/json"})

    assert_is_status(reply, 404, "podtls: ")
    assert lasting.records() == []


def test_four_slow_bodies_delay_nobody_and_reach_no_log(nginx: Nginx, authority: Authority, workshop: Path) -> None:
    head = f"POST {MUTATE} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n"

    with webhook_endpoint(nginx, authority, workshop) as endpoint:
        slow = [endpoint.edge.connect("127.0.0.2") for _ in range(4)]
        sockets = [each.__enter__() for each in slow]
        for each in sockets:
            each.sendall(head.encode() + b"{")
        reply = endpoint.review()
        rests = [until_closed(each) for each in sockets]
        for connection in slow:
            connection.__exit__(None, None, None)
        records = endpoint.records()

    assert reply.status == 200
    # The edge proxy cuts them after its own timeout; the app has never seen them.
    assert rests == [b""] * 4
    assert [record["source"] for record in records] == ["127.0.0.1"]


def test_flood_from_one_address_stops_no_other_and_only_the_answered_are_recorded(
    nginx: Nginx, authority: Authority, workshop: Path
) -> None:
    limits = {"PODTLS_EDGE_RATE": "1", "PODTLS_EDGE_BURST": "5"}

    with webhook_endpoint(nginx, authority, workshop, edge_proxy_environ=limits) as endpoint:
        flood = [endpoint.review(source="127.0.0.2") for _ in range(40)]
        others = [endpoint.review(source="127.0.0.3") for _ in range(3)]
        records = endpoint.records()

    refused = [reply for reply in flood if reply.status != 200]
    assert len(refused) > 20
    assert_is_status(refused[0], 429, "too many requests from this address")
    assert [reply.status for reply in others] == [200] * 3
    assert len(records) == 40 - len(refused) + 3


def under_load(endpoint: WebhookEndpoint, fault: threading.Event, clients: int = 4, count: int = 60) -> Caller:
    """All that clients on kept connections are told; `fault` is set once some of them were served."""
    caller = Caller(endpoint.edge, [])
    with ThreadPoolExecutor(clients) as pool:
        running = [pool.submit(caller.admit, count) for _ in range(clients)]
        eventually(lambda: len(caller.replies) > 20, endpoint.edge.log)
        fault.set()
        for each in running:
            each.result(timeout=60)
    return caller


def assert_told_what_to_do(caller: Caller) -> None:
    assert {reply.headers["Connection"] for reply in caller.replies if reply.status == 200} == {"keep-alive"}
    for reply in caller.replies:
        if reply.status != 200:
            assert reply.status in RETRYABLE, reply
            assert reply.headers["Retry-After"] == "1"
            assert_is_status(reply, reply.status, "ask again")


def test_kill_9_of_every_worker_under_load_ends_in_answers_that_may_be_tried_again(
    nginx: Nginx, authority: Authority, workshop: Path
) -> None:
    fault = threading.Event()

    def kill(endpoint: WebhookEndpoint) -> None:
        assert fault.wait(60)
        for worker in endpoint.webhook.workers():
            os.kill(worker, signal.SIGKILL)

    with webhook_endpoint(nginx, authority, workshop) as endpoint:
        killer = threading.Thread(target=kill, args=(endpoint,))
        killer.start()
        caller = under_load(endpoint, fault)
        killer.join(60)
        eventually(lambda: endpoint.review().status == 200, endpoint.webhook.output)
        recorded = {record["id"] for record in endpoint.records()}

    # Nobody's connection was cut: each request has an answer, and each patch that left has its record.
    assert len(caller.replies) == 240
    assert_told_what_to_do(caller)
    assert set(caller.admitted()) <= recorded


def test_sigterm_under_load_loses_no_answer(nginx: Nginx, authority: Authority, workshop: Path) -> None:
    fault = threading.Event()

    def terminate(endpoint: WebhookEndpoint) -> None:
        assert fault.wait(60)
        assert endpoint.webhook.terminate() == 0

    with webhook_endpoint(nginx, authority, workshop) as endpoint:
        terminator = threading.Thread(target=terminate, args=(endpoint,))
        terminator.start()
        caller = under_load(endpoint, fault)
        terminator.join(60)
        recorded = sorted(record["id"] for record in endpoint.records())

    assert len(caller.replies) == 240
    assert_told_what_to_do(caller)
    assert {reply.status for reply in caller.replies} == {200, 502}
    assert sorted(caller.admitted()) == recorded
