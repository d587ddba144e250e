"""An edge proxy for tests: Nginx before a small app on a unix socket, and an HTTPS client with a chosen source."""

import contextlib
import http.client
import json
import socket
import socketserver
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path

from contract.names import ENV_EDGE_PORT, ENV_SOCKET
from injector import generation
from injector.edge.render import render_edge
from injector.edge.settings import EdgeSettings
from injector.enroll.certificate import encode_chain, encode_key
from injector.generation import Generation
from lab.nginx import Nginx
from tests.injector.authority import Authority, Leaf
from tests.injector.est_server import running
from tests.injector.peers import client_context
from tests.injector.processes import free_port, serving
from tests.injector.unprivileged import own

NAME = "podtls-webhook.podtls-system.svc"


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, object]:
        parsed = json.loads(self.body)
        assert isinstance(parsed, dict)
        return parsed


@dataclass
class EdgeProxy:
    """A running edge proxy and how to reach it."""

    port: int
    context: ssl.SSLContext
    log: Path
    run: Path
    stop_app: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    @contextlib.contextmanager
    def connect(self, source: str = "127.0.0.1", context: ssl.SSLContext | None = None) -> Iterator[ssl.SSLSocket]:
        """A TLS connection from this address."""
        with _named(self.port, source, context or self.context) as connection:
            yield connection

    def ask(
        self,
        method: str = "POST",
        path: str = "/mutate/mtls/port",
        *,
        body: bytes = b"{}",
        headers: dict[str, str] | None = None,
        source: str = "127.0.0.1",
        context: ssl.SSLContext | None = None,
    ) -> Reply:
        """Do one request on a connection of its own."""
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=20)
        with self.connect(source, context) as connection.sock:
            connection.request(method, path, body=body, headers=headers or {})
            response = connection.getresponse()
            return Reply(response.status, dict(response.getheaders()), response.read())


@contextlib.contextmanager
def edge_proxy(
    nginx: Nginx, authority: Authority, workshop: Path, kind: str = "webhook", **environ: str
) -> Iterator[EdgeProxy]:
    """Run a small app and the edge proxy before it; the certificate is for NAME."""
    app_socket = workshop / "app.sock"
    with contextlib.ExitStack() as app:
        app.enter_context(small_app(app_socket))
        with before(app_socket, nginx, authority, workshop, kind, **environ) as proxy:
            proxy.stop_app = app
            yield proxy


@contextlib.contextmanager
def small_app(app_socket: Path) -> Iterator[None]:
    """An app on a unix socket that the unprivileged user may reach; at the end its connections are cut."""
    with contextlib.ExitStack() as app:
        server = app.enter_context(_App(str(app_socket)))
        app.callback(app_socket.unlink)
        app.callback(server.cut)
        app.enter_context(running(server))
        own(app_socket.parent)
        yield


@contextlib.contextmanager
def before(
    app_socket: Path, nginx: Nginx, authority: Authority, workshop: Path, kind: str = "webhook", **environ: str
) -> Iterator[EdgeProxy]:
    """Run the edge proxy before an app that somebody else runs; the certificate is for NAME."""
    run, log, port = workshop / "run", workshop / "log", free_port()
    run.mkdir()
    leaf = authority.leaf(dns=(NAME,))
    settings = EdgeSettings.of_kind(kind, {ENV_EDGE_PORT: str(port), ENV_SOCKET: str(app_socket), **environ})
    publish(run, leaf, authority, render_edge(settings, run=run, listen=("127.0.0.1",)))
    with serving(nginx, run, log):
        yield EdgeProxy(port, client_context(authority.bundle, None, workshop), log, run)


def publish(run: Path, leaf: Leaf, authority: Authority, nginx: str) -> None:
    """Write a generation, as init and `renew` do."""
    files = Generation(encode_key(leaf.key), encode_chain(leaf.chain), authority.bundle, nginx.encode())
    generation.write(run, files, accept=own)


@contextlib.contextmanager
def _named(port: int, source: str, context: ssl.SSLContext) -> Iterator[ssl.SSLSocket]:
    with (
        socket.create_connection(("127.0.0.1", port), timeout=20, source_address=(source, 0)) as plain,
        context.wrap_socket(plain, server_hostname=NAME) as connection,
    ):
        yield connection


class _Echo(BaseHTTPRequestHandler):
    """Answers what it was asked, as JSON; /status/NNN answers with that status and an empty body of its own type."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.do_POST()

    def do_POST(self) -> None:
        length = len(self.rfile.read(int(self.headers.get("Content-Length", "0"))))
        status = int(self.path.rpartition("/")[2]) if self.path.startswith("/status/") else 200
        seen = {"version": self.request_version, "headers": self.headers.items(), "length": length, "app": True}
        body = json.dumps(seen).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/x-app")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def address_string(self) -> str:
        return "unix"

    def log_message(self, *_: object) -> None:
        """Quiet."""


class _App(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, path: str) -> None:
        super().__init__(path, _Echo)
        self.accepted: list[socket.socket] = []

    def process_request(self, request: socket.socket | tuple[bytes, socket.socket], client_address: object) -> None:
        assert isinstance(request, socket.socket)
        self.accepted.append(request)
        super().process_request(request, client_address)

    def cut(self) -> None:
        """Cut what is open, as a killed process does."""
        for connection in self.accepted:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, *_: object) -> None:
        """Nginx may leave at the end of a test."""
