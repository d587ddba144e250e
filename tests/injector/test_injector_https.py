"""The one HTTPS request: what the deadline covers, and servers that are not even wrong."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from contract.grammar import CAEndpoint
from injector.enroll.est import enroll
from injector.enroll.https import HTTPRequest, HTTPResponse, HTTPSExchange
from injector.errors import UnavailableError
from tests.injector.authority import Authority

REQUEST = HTTPRequest(method="GET", path="/", token="t")


@contextlib.contextmanager
def silent_server() -> Iterator[int]:
    """Accepts, and then says nothing: not even a handshake."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def soon() -> float:
    return time.monotonic() + 0.3


def test_a_server_that_never_shakes_hands_is_left(authority: Authority) -> None:
    with silent_server() as port:
        exchange = HTTPSExchange(CAEndpoint("127.0.0.1", port), authority.bundle)

        with pytest.raises(UnavailableError, match=f"https://127.0.0.1:{port} did not answer in time"):
            exchange(REQUEST, deadline=soon())


def test_a_resolver_that_hangs_is_left(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    hanging = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: hanging.wait(20) and [])

    with pytest.raises(UnavailableError, match="did not answer in time"):
        HTTPSExchange(CAEndpoint("ca.svc", 443), authority.bundle)(REQUEST, deadline=soon())

    hanging.set()


def test_a_name_without_addresses_is_said(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [])

    with pytest.raises(UnavailableError, match="the name has no address"):
        HTTPSExchange(CAEndpoint("ca.svc", 443), authority.bundle)(REQUEST, deadline=soon())


def test_a_deadline_that_is_over_sends_nothing(authority: Authority) -> None:
    with silent_server() as port, pytest.raises(UnavailableError, match="did not answer in time"):
        HTTPSExchange(CAEndpoint("127.0.0.1", port), authority.bundle)(REQUEST, deadline=time.monotonic())


def test_a_request_has_one_header_a_line_and_its_length() -> None:
    request = HTTPRequest(method="POST", path="/x", token="a.b", headers=(("Accept", "text/plain"),), body=b"12345")

    assert request.encode(CAEndpoint("ca.svc", 8443)) == (
        b"POST /x HTTP/1.1\r\nHost: ca.svc:8443\r\nAuthorization: Bearer a.b\r\nConnection: close\r\n"
        b"Content-Length: 5\r\nAccept: text/plain\r\n\r\n12345"
    )


def test_a_chain_that_does_not_end_is_refused(authority: Authority) -> None:
    def exchange(request: HTTPRequest, *, deadline: float) -> HTTPResponse:
        assert (request.method, deadline) == ("POST", 1)
        return HTTPResponse(200, "application/pem-certificate-chain", "", authority.bundle * 9)

    with pytest.raises(UnavailableError, match="has 9 certificates, at most 8 are allowed"):
        enroll(exchange, b"request", token="t", deadline=1)
