"""The edge proxy of our own pods: who called, limits, slow clients, and answers that kube-apiserver understands."""

import contextlib
import http.client
from datetime import timedelta
from pathlib import Path

import pytest

from contract.names import DRAINING_FILE, ENV_EDGE_CLIENT_CA, HEADER_CALLER, HEADER_SOURCE
from lab.nginx import Nginx
from tests.injector.authority import Authority
from tests.injector.edge_proxies import Reply, edge_proxy
from tests.injector.peers import client_context
from tests.injector.processes import eventually

pytestmark = pytest.mark.integration


def seen(reply: Reply, header: str) -> list[str]:
    """What the app saw of a header."""
    headers = reply.json["headers"]
    assert isinstance(headers, list)
    return [value for name, value in headers if name.lower().replace("_", "-") == header.lower()]


def assert_is_status(reply: Reply, code: int, reason: str, message: str) -> None:
    assert reply.status == code
    assert reply.headers["Content-Type"] == "application/json"
    status = reply.json
    assert (status["kind"], status["apiVersion"], status["status"]) == ("Status", "v1", "Failure")
    assert (status["code"], status["reason"]) == (code, reason)
    assert message in str(status["message"])


def test_the_app_hears_who_called_and_nothing_that_the_client_made_up(
    nginx: Nginx, authority: Authority, workshop: Path
) -> None:
    lies = {
        HEADER_SOURCE: "10.0.0.1",
        HEADER_CALLER: "verified",
        HEADER_CALLER.replace("-", "_"): "verified",
        "X-Forwarded-For": "10.0.0.1",
        "X-Forwarded-Proto": "http",
    }

    with edge_proxy(nginx, authority, workshop) as proxy:
        reply = proxy.ask(headers=lies, source="127.0.0.9")

    assert seen(reply, HEADER_SOURCE) == ["127.0.0.9"]
    assert seen(reply, HEADER_CALLER) == ["unverified"]
    assert seen(reply, "X-Forwarded-For") == []
    assert seen(reply, "X-Forwarded-Proto") == ["https"]
    assert reply.json["version"] == "HTTP/1.1"


def test_what_the_app_answers_passes_unchanged(nginx: Nginx, authority: Authority, workshop: Path) -> None:
    with edge_proxy(nginx, authority, workshop) as proxy:
        replies = {status: proxy.ask(path=f"/status/{status}") for status in (400, 401, 413, 429, 500, 502, 503)}

    for status, reply in replies.items():
        assert reply.status == status
        assert reply.headers["Content-Type"] == "application/x-app"
        assert reply.json["app"] is True
        assert "Retry-After" not in reply.headers


@pytest.mark.parametrize("kind", ["webhook", "ca"])
def test_an_app_that_is_gone_is_a_502_to_be_tried_again(
    nginx: Nginx, authority: Authority, workshop: Path, kind: str
) -> None:
    with edge_proxy(nginx, authority, workshop, kind) as proxy:
        assert proxy.ask().status == 200
        proxy.stop_app.close()
        reply = proxy.ask()

    assert (reply.status, reply.headers["Retry-After"]) == (502, "1")
    if kind == "ca":
        assert reply.body == b""
    else:
        assert_is_status(reply, 502, "ServiceUnavailable", "does not answer; ask again")


def test_a_body_over_the_limit_is_refused_with_the_limit(nginx: Nginx, authority: Authority, workshop: Path) -> None:
    with edge_proxy(nginx, authority, workshop) as proxy:
        large = proxy.ask(body=b"x" * (9 * 1024 * 1024))
        too_large = proxy.ask(headers={"Content-Length": str(11 * 1024 * 1024)}, body=b"")

    assert (large.status, large.json["length"]) == (200, 9 * 1024 * 1024)
    assert_is_status(too_large, 413, "RequestEntityTooLarge", "larger than the 10485760 bytes that are allowed")


def test_the_ca_takes_small_bodies_only_and_refuses_without_a_body(
    nginx: Nginx, authority: Authority, workshop: Path
) -> None:
    with edge_proxy(nginx, authority, workshop, "ca") as proxy:
        small = proxy.ask(body=b"x" * 60_000)
        large = proxy.ask(headers={"Content-Length": "66000"}, body=b"")

    assert small.status == 200
    assert (large.status, large.body) == (413, b"")


def test_four_clients_that_send_one_byte_and_stop_do_not_delay_a_fifth(
    nginx: Nginx, authority: Authority, workshop: Path
) -> None:
    with edge_proxy(nginx, authority, workshop) as proxy, contextlib.ExitStack() as slow:
        for _ in range(4):
            slow.enter_context(proxy.connect()).sendall(b"P")
        body = slow.enter_context(proxy.connect())
        body.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")

        reply = proxy.ask()
        rest = body.recv(1024)

    assert reply.status == 200
    # Cut by the edge proxy after its timeout; the app never saw it.
    assert rest == b""


def test_a_flood_from_one_address_is_told_to_wait_and_does_not_stop_another(
    nginx: Nginx, authority: Authority, workshop: Path
) -> None:
    limits = {"PODTLS_EDGE_RATE": "1", "PODTLS_EDGE_BURST": "5"}

    with edge_proxy(nginx, authority, workshop, **limits) as proxy:
        flood = [proxy.ask(source="127.0.0.2") for _ in range(30)]
        others = [proxy.ask(source="127.0.0.3") for _ in range(3)]

    refused = [reply for reply in flood if reply.status != 200]
    assert len(refused) > 10
    assert_is_status(refused[0], 429, "TooManyRequests", "too many requests from this address")
    assert refused[0].headers["Retry-After"] == "1"
    assert [reply.status for reply in others] == [200, 200, 200]


def test_too_many_requests_under_way_from_one_address_are_refused(
    nginx: Nginx, authority: Authority, workshop: Path
) -> None:
    with edge_proxy(nginx, authority, workshop, PODTLS_EDGE_CONNECTIONS="2") as proxy, contextlib.ExitStack() as slow:
        for _ in range(2):
            slow.enter_context(proxy.connect("127.0.0.2")).sendall(
                b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n"
            )
        eventually(lambda: proxy.ask(source="127.0.0.2").status == 429, proxy.log)

        assert proxy.ask(source="127.0.0.3").status == 200


def test_a_verified_client_is_said_to_be_one_and_is_not_limited(
    nginx: Nginx, authority: Authority, foreign: Authority, workshop: Path, tmp_path: Path
) -> None:
    client_ca = workshop / "client-ca.crt"
    client_ca.write_bytes(foreign.bundle)
    apiserver = client_context(authority.bundle, foreign.leaf(), tmp_path)
    limits = {ENV_EDGE_CLIENT_CA: str(client_ca), "PODTLS_EDGE_RATE": "1", "PODTLS_EDGE_BURST": "1"}

    with edge_proxy(nginx, authority, workshop, **limits) as proxy:
        replies = [proxy.ask(context=apiserver) for _ in range(10)]
        strangers = [proxy.ask() for _ in range(10)]

    assert [reply.status for reply in replies] == [200] * 10
    assert seen(replies[0], HEADER_CALLER) == ["verified"]
    assert seen(strangers[0], HEADER_CALLER) == ["unverified"]
    assert 429 in {reply.status for reply in strangers}


@pytest.mark.parametrize("expired", [False, True])
def test_a_client_certificate_that_is_not_believed_is_refused_with_a_status(
    nginx: Nginx, authority: Authority, foreign: Authority, workshop: Path, tmp_path: Path, *, expired: bool
) -> None:
    client_ca = workshop / "client-ca.crt"
    client_ca.write_bytes(foreign.bundle)
    leaf = foreign.leaf(valid=timedelta(seconds=-30)) if expired else authority.leaf()

    with edge_proxy(nginx, authority, workshop, **{ENV_EDGE_CLIENT_CA: str(client_ca)}) as proxy:
        reply = proxy.ask(context=client_context(authority.bundle, leaf, tmp_path))

    assert_is_status(reply, 400, "BadRequest", "a client certificate that is refused")


def test_plain_http_is_answered_with_a_status(nginx: Nginx, authority: Authority, workshop: Path) -> None:
    with edge_proxy(nginx, authority, workshop) as proxy:
        connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=20)
        connection.request("POST", "/mutate/mtls/port", body=b"{}")
        response = connection.getresponse()
        reply = Reply(response.status, dict(response.getheaders()), response.read())
        connection.close()

    assert_is_status(reply, 400, "BadRequest", "not a valid HTTPS request")


@pytest.mark.parametrize(
    ("request_line", "code"),
    [
        pytest.param(b"NONSENSE\r\n\r\n", b"400", id="no request"),
        pytest.param(b"GET /" + b"x" * 9_000 + b" HTTP/1.1\r\n", b"414", id="long line"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 9_000 + b"\r\n", b"400", id="long header"),
        pytest.param(b"TRACE / HTTP/1.1\r\nHost: x\r\n\r\n", b"405", id="TRACE"),
        pytest.param(b"GET /.podtls-error/502 HTTP/1.0\r\n\r\n", b"404", id="a page of our own"),
        pytest.param(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", b"501", id="encoding"),
    ],
)
def test_what_nginx_refuses_itself_is_a_status(
    nginx: Nginx, authority: Authority, workshop: Path, request_line: bytes, code: bytes
) -> None:
    with edge_proxy(nginx, authority, workshop) as proxy, proxy.connect() as connection:
        connection.sendall(request_line)
        answer = b"".join(iter(lambda: _receive(connection.recv), b""))

    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.split()[1] == code
    assert b"Content-Type: application/json" in head
    assert b'"code": ' + code in body


REQUEST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"


def test_http_1_0_is_served(nginx: Nginx, authority: Authority, workshop: Path) -> None:
    with edge_proxy(nginx, authority, workshop) as proxy, proxy.connect() as connection:
        connection.sendall(b"POST / HTTP/1.0\r\nContent-Length: 2\r\n\r\n{}")
        answer = b"".join(iter(lambda: _receive(connection.recv), b""))

    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b'"length": 2' in answer


def test_a_connection_is_kept_for_many_requests(nginx: Nginx, authority: Authority, workshop: Path) -> None:
    with edge_proxy(nginx, authority, workshop) as proxy, proxy.connect() as connection:
        for _ in range(5):
            connection.sendall(REQUEST)
            assert connection.recv(4096).startswith(b"HTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize("kind", ["webhook", "ca"])
def test_a_draining_edge_proxy_serves_on_and_ends_each_connection_with_its_answer(
    nginx: Nginx, authority: Authority, workshop: Path, kind: str
) -> None:
    with edge_proxy(nginx, authority, workshop, kind) as proxy, proxy.connect() as kept:
        kept.sendall(REQUEST)
        assert b"\r\nConnection: keep-alive\r\n" in kept.recv(4096)
        (proxy.run / DRAINING_FILE).touch()
        kept.sendall(REQUEST)
        last = b"".join(iter(lambda: _receive(kept.recv), b""))
        fresh = proxy.ask(body=b"12345")

    assert last.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"\r\nConnection: close\r\n" in last
    assert b'"length": 2' in last
    assert (fresh.status, fresh.headers["Connection"], fresh.json["length"]) == (200, "close", 5)


def test_a_draining_edge_proxy_says_its_errors_as_before(nginx: Nginx, authority: Authority, workshop: Path) -> None:
    with edge_proxy(nginx, authority, workshop) as proxy:
        (proxy.run / DRAINING_FILE).touch()
        proxy.stop_app.close()
        reply = proxy.ask()

    assert (reply.status, reply.headers["Retry-After"]) == (502, "1")
    assert_is_status(reply, 502, "ServiceUnavailable", "does not answer; ask again")


def test_an_app_that_is_gone_ends_the_connection_so_that_the_next_try_may_reach_another_replica(
    nginx: Nginx, authority: Authority, workshop: Path
) -> None:
    with edge_proxy(nginx, authority, workshop) as proxy:
        proxy.stop_app.close()

        assert proxy.ask().headers["Connection"] == "close"


def test_what_a_client_did_wrong_costs_it_no_connection(nginx: Nginx, authority: Authority, workshop: Path) -> None:
    with edge_proxy(nginx, authority, workshop, PODTLS_EDGE_RATE="1", PODTLS_EDGE_BURST="1") as proxy:
        replies = [proxy.ask() for _ in range(5)]

    assert {reply.headers["Connection"] for reply in replies if reply.status == 429} == {"keep-alive"}


def _receive(recv: object) -> bytes:
    assert callable(recv)
    try:
        received = recv(65536)
    except ConnectionError:
        return b""
    assert isinstance(received, bytes)
    return received
