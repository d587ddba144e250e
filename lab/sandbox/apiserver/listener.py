"""HTTP for the stand-in API server: requests in, responses out, by TLS or plain, with a switch for each fault.

What a response says is not decided here: api.py answers as Kubernetes does, and a test may pass a function of its own.
"""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ssl import PROTOCOL_TLS_SERVER, SSLContext
from typing import Any, Final

import trustme

IDLE_SECONDS: Final = 30.0
LOOPBACK: Final = ("127.0.0.1", 0)
_HOLD_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class APIRequest:
    """A request as it came; `target` is path and query."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class APIResponse:
    """A response; the body is JSON in bytes."""

    status: int
    body: bytes


Respond = Callable[[APIRequest], APIResponse]


def _set_event() -> threading.Event:
    event = threading.Event()
    event.set()
    return event


@dataclass(slots=True)
class Faults:
    """How the server misbehaves. By default it does not; fields may be changed while it runs."""

    status: int | None = None  # every response has this status
    garbage: bytes | None = None  # every response has this body, and status 200
    cuts: int = 0  # so many requests meet a closed connection
    chunked: bool = False  # responses come in chunks, as Go sends what is long
    closes: bool = False  # no connection is kept
    released: threading.Event = field(default_factory=_set_event)  # a response waits until this is set
    held_method: str = ""  # the only method that waits for `released`; empty: all do


@dataclass(slots=True)
class Listener:
    """Where the server listens, how it misbehaves, and what came."""

    scheme: str
    address: tuple[str, int] = ("", 0)
    faults: Faults = field(default_factory=Faults)
    connections: int = 0
    requests: list[APIRequest] = field(default_factory=list)

    @property
    def url(self) -> str:
        """What a kubeconfig calls `server`."""
        host, port = self.address
        return f"{self.scheme}://{host}:{port}"

    def asked(self) -> list[tuple[str, str]]:
        """Method and target of each request that came."""
        return [(request.method, request.target) for request in self.requests]


@contextmanager
def listen(
    respond: Respond, certificate: trustme.LeafCert | None, address: tuple[str, int] = LOOPBACK
) -> Iterator[Listener]:
    """Listen until the block ends: by TLS with a certificate, plain without one."""
    listener = Listener("http" if certificate is None else "https")
    handler = type("_BoundHandler", (_Handler,), {"listener": listener, "respond": staticmethod(respond)})
    with ThreadingHTTPServer(address, handler) as server:
        server.daemon_threads = True
        if certificate is not None:
            context = SSLContext(PROTOCOL_TLS_SERVER)
            certificate.configure_cert(context)
            # Each connection's own thread does the handshake, on its first read: a silent client delays nobody.
            server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        host, port = server.server_address[:2]
        listener.address = (str(host), port)
        thread = threading.Thread(
            target=server.serve_forever, kwargs={"poll_interval": 0.02}, name="apiserver", daemon=True
        )
        thread.start()
        try:
            yield listener
        finally:
            listener.faults.released.set()
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    """One connection; it may ask many times."""

    protocol_version = "HTTP/1.1"
    timeout = IDLE_SECONDS
    disable_nagle_algorithm = True
    wbufsize = -1  # Status line, headers and body are one write.
    listener: Listener
    respond: Respond

    def setup(self) -> None:
        """Count it."""
        super().setup()
        self.listener.connections += 1

    def do_GET(self) -> None:
        """Respond to a request, unless a fault says otherwise."""
        faults = self.listener.faults
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if faults.cuts:
            faults.cuts -= 1
            self.close_connection = True
            return
        request = APIRequest(self.command, self.path, {key.lower(): value for key, value in self.headers.items()}, body)
        self.listener.requests.append(request)
        if faults.held_method in {"", self.command}:
            faults.released.wait(_HOLD_SECONDS)
        self._send(self._response(request), faults)

    do_POST = do_PUT = do_GET  # noqa: N815 - the names in the standard library

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name in the standard library
        """Write nothing: stderr is for the person who runs us."""

    def _response(self, request: APIRequest) -> APIResponse:
        faults = self.listener.faults
        if faults.status is not None:
            return APIResponse(faults.status, b'{"kind":"Status"}')
        if faults.garbage is not None:
            return APIResponse(HTTPStatus.OK, faults.garbage)
        return self.respond(request)

    def _send(self, response: APIResponse, faults: Faults) -> None:
        self.send_response(response.status)
        self.send_header("Content-Type", "application/json")
        if faults.closes:
            self.send_header("Connection", "close")
        body = response.body
        if faults.chunked:
            self.send_header("Transfer-Encoding", "chunked")
            parts = (body[:10], body[10:], b"")
            body = b"".join(f"{len(part):x}\r\n".encode() + part + b"\r\n" for part in parts)
        else:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
