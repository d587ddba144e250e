"""An EST server for tests: real HTTPS, real certificates, and every way to misbehave, as a table of behaviours."""

import base64
import contextlib
import json
import socketserver
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import cast

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from contract.names import PATH_NAMES, TYPE_PEM_CHAIN
from injector.enroll.certificate import encode_chain, encode_key
from tests.injector.authority import SPIFFE_ID, Authority, Leaf


@dataclass(frozen=True, slots=True)
class Seen:
    """A request that reached the server."""

    path: str
    token: str
    headers: dict[str, str]
    body: bytes


@dataclass
class EstServer:
    """What the server has seen and how it answers: each behaviour serves one request, the last one all others."""

    authority: Authority
    url: str = ""
    behaviours: list["Behaviour"] = field(default_factory=lambda: [issue()])
    dns: list[str] = field(default_factory=lambda: ["checkout.shop.svc", "checkout.shop.svc.cluster.local"])
    uri: str = SPIFFE_ID
    seen: list[Seen] = field(default_factory=list)

    def next_behaviour(self) -> "Behaviour":
        return self.behaviours[0] if len(self.behaviours) == 1 else self.behaviours.pop(0)


class Handler(BaseHTTPRequestHandler):
    """Reads a request, lets the behaviour answer."""

    protocol_version = "HTTP/1.1"
    timeout = 10

    @property
    def est(self) -> EstServer:
        return cast("_Server", self.server).est

    def do_GET(self) -> None:
        self._note(b"")
        if self.path == PATH_NAMES:
            body = json.dumps({"dns": self.est.dns, "uri": self.est.uri}).encode()
            self.reply(200, "application/json", body)
        else:
            self.reply(404, "text/plain", b"")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self._note(body)
        self.est.next_behaviour()(self, body)

    def reply(self, status: int, content_type: str, body: bytes, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Tests read `seen` instead."""

    def _note(self, body: bytes) -> None:
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        self.est.seen.append(Seen(self.path, token, dict(self.headers.items()), body))


Behaviour = Callable[[Handler, bytes], None]


def issue(
    *,
    authority: Authority | None = None,
    uri: str = SPIFFE_ID,
    start_ago: timedelta = timedelta(seconds=60),
    valid: timedelta = timedelta(hours=24),
    foreign_key: bool = False,
) -> Behaviour:
    """Issue a certificate; every argument is one way to issue a wrong one."""

    def behave(handler: Handler, body: bytes) -> None:
        request = x509.load_der_x509_csr(base64.b64decode(body))
        assert request.is_signature_valid
        assert not list(request.subject)
        key = ec.generate_private_key(ec.SECP256R1()).public_key() if foreign_key else request.public_key()
        chain = (authority or handler.est.authority).sign(
            key, uri=uri, dns=handler.est.dns, start=datetime.now(UTC) - start_ago, valid=valid
        )
        handler.reply(200, TYPE_PEM_CHAIN, encode_chain(chain))

    return behave


def answer(status: int, body: bytes = b"", content_type: str = "text/plain", **headers: str) -> Behaviour:
    """Answer just that."""
    return lambda handler, _: handler.reply(status, content_type, body, **headers)


def drip(handler: Handler, _: bytes) -> None:
    """Promise a chain and send a byte of it now and then, until the client has enough of it."""
    handler.send_response(200)
    handler.send_header("Content-Type", TYPE_PEM_CHAIN)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    for _byte in range(1000):
        handler.wfile.write(b"-")
        time.sleep(0.05)


def cut(handler: Handler, _: bytes) -> None:
    """Promise more than comes, then close."""
    handler.send_response(200)
    handler.send_header("Content-Type", TYPE_PEM_CHAIN)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b"-----BEGIN CERTIFICATE-----\n")
    handler.close_connection = True


def cut_politely(handler: Handler, _: bytes) -> None:
    """The same, with a close_notify: TLS is satisfied, HTTP is not."""
    cut(handler, b"")
    with contextlib.suppress(OSError):
        cast("ssl.SSLSocket", handler.connection).unwrap()


def no_http(handler: Handler, _: bytes) -> None:
    """Speak something else."""
    handler.wfile.write(b"220 mail.example.com ESMTP\r\n")
    handler.close_connection = True


class _Server(ThreadingHTTPServer):
    """Handshakes happen in the handler's thread; clients that leave are no error."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64
    est: EstServer

    def handle_error(self, *_: object) -> None:
        """Refused handshakes and cut connections are what the tests are about."""


@contextlib.contextmanager
def serve(authority: Authority, tls_leaf: Leaf, directory: Path) -> Iterator[EstServer]:
    """Run an EST server on loopback; `tls_leaf` is its own certificate."""
    context = server_context(tls_leaf, directory)
    with _Server(("127.0.0.1", 0), Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        server.est = EstServer(authority, url=f"https://localhost:{server.server_address[1]}")
        with running(server):
            yield server.est


@contextlib.contextmanager
def running(server: socketserver.BaseServer) -> Iterator[None]:
    """Serve in a thread until the block ends."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()


def server_context(leaf: Leaf, directory: Path) -> ssl.SSLContext:
    """A server's context; OpenSSL reads keys from files only."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*write_leaf(leaf, directory))
    return context


def write_leaf(leaf: Leaf, directory: Path) -> tuple[Path, Path]:
    """The paths of a leaf's chain and key."""
    name = f"{leaf.chain[0].serial_number:x}"
    certificate, key = directory / f"{name}.crt", directory / f"{name}.key"
    certificate.write_bytes(encode_chain(leaf.chain))
    key.write_bytes(encode_key(leaf.key))
    return certificate, key
