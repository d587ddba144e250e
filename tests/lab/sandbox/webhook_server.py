"""A small real TLS server that answers like a webhook: scripted, keep-alive, remembers what it got."""

import http.server
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab.sandbox.certificates import Pair


@dataclass(frozen=True, slots=True)
class Reply:
    """What the server says next."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


Script = Callable[[dict[str, Any]], Reply]


@dataclass(slots=True)
class WebhookServer:
    """What was seen so far, and what to say next."""

    say: Script
    address: tuple[str, int] = ("", 0)
    reviews: list[dict[str, Any]] = field(default_factory=list)
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    peers: set[tuple[str, int]] = field(default_factory=set)
    server_names: list[str | None] = field(default_factory=list)


@contextmanager
def webhook_server(certificate: Pair, folder: Path, say: Script) -> Iterator[WebhookServer]:
    """Serve on loopback until the block ends."""
    state = WebhookServer(say)

    class Handler(_Handler):
        webhook = state

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.socket = _context(certificate, folder, state).wrap_socket(server.socket, server_side=True)
    state.address = ("127.0.0.1", server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def allow(review: dict[str, Any], **response: Any) -> Reply:
    """An answer that admits the pod."""
    return answer({"uid": review["request"]["uid"], "allowed": True} | response)


def answer(response: dict[str, Any], version: str = "admission.k8s.io/v1") -> Reply:
    """A 200 with this response."""
    review = {"kind": "AdmissionReview", "apiVersion": version, "response": response}
    return Reply(200, json.dumps(review).encode())


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 10
    webhook: WebhookServer

    def do_POST(self) -> None:
        review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.webhook.reviews.append(review)
        self.webhook.requests.append((self.path, dict(self.headers)))
        self.webhook.peers.add(self.client_address)
        reply = self.webhook.say(review)
        self.send_response(reply.status)
        self.send_header("Content-Length", str(len(reply.body)))
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(reply.body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is the base class's.
        """Say nothing."""


def _context(certificate: Pair, folder: Path, state: WebhookServer) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    chain, key = folder / "webhook.crt", folder / "webhook.key"
    chain.write_text(certificate.certificate)
    key.write_text(certificate.key)
    context.load_cert_chain(chain, key)
    context.sni_callback = lambda _socket, name, _context: state.server_names.append(name)
    return context
