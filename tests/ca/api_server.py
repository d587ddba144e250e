"""A small API server that is really there: HTTPS on loopback, keep-alive, bearer tokens, the paths that we ask."""

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import msgspec
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.fakes import FakeCluster


def _set() -> threading.Event:
    event = threading.Event()
    event.set()
    return event


@dataclass
class ApiServer:
    """What it serves, how it misbehaves, and what came."""

    cluster: FakeCluster
    folder: Path
    url: str = ""
    accepted: str = "Bearer first"  # the only Authorization that it takes
    status: int | None = None  # answers everything with this
    garbage: bytes | None = None  # answers 200 with this
    drops: int = 0  # so many requests meet a closed connection
    chunked: bool = False  # answers in chunks, as Go does for what is long
    closes: bool = False  # keeps no connection
    hold: threading.Event = field(default_factory=_set)  # answers when it is set
    held: str = ""  # the only method that waits for `hold`; empty: all do
    lease: dict[str, Any] | None = None  # the one Lease of every namespace
    connections: int = 0
    requests: list[tuple[str, str]] = field(default_factory=list)

    @property
    def certificate(self) -> Path:
        """What clients trust."""
        return self.folder / "server.crt"

    def kubeconfig(self, **user: Any) -> Path:
        """A kubeconfig for it; `user` says how to authenticate."""
        path = self.folder / "kubeconfig"
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {"name": "c", "cluster": {"server": self.url, "certificate-authority": str(self.certificate)}}
            ],
            "users": [{"name": "u", "user": user or {"token": "first"}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x",
        }
        path.write_text(yaml.safe_dump(content))
        return path

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        """What the real one would say."""
        if self.status is not None or self.garbage is not None:
            return self.status or 200, self.garbage or b'{"kind":"Status"}'
        return self._lease(body) if "/leases" in path else self._object(method, path, body)

    def _object(self, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        parts = path.strip("/").split("/")
        match parts:
            case ["apis", "authentication.k8s.io", "v1", "tokenreviews"] if method == "POST":
                spec = json.loads(body)["spec"]
                return 201, msgspec.json.encode(self.cluster.review(spec["token"], *spec["audiences"]))
            case ["api", "v1", "namespaces", namespace, "pods", name]:
                pod = self.cluster.pods.get((namespace, name))
                return (404, b'{"kind":"Status"}') if pod is None else (200, json.dumps(pod).encode())
            case ["api", "v1", "namespaces", _, "services"]:
                return 200, json.dumps({"kind": "ServiceList", "items": self.cluster.service_objects}).encode()
            case ["api", "v1", "namespaces", namespace, "events"] if method == "POST":
                return self._keep(namespace, json.loads(body))
        return 404, b'{"kind":"Status"}'

    def _keep(self, namespace: str, event: dict[str, Any]) -> tuple[int, bytes]:
        known = (namespace, event["metadata"]["name"]) in self.cluster.events
        self.cluster.create_event(namespace, event)
        return (409, b'{"kind":"Status"}') if known else (201, json.dumps(event).encode())

    def _lease(self, body: bytes) -> tuple[int, bytes]:
        self.lease = json.loads(body) if body else self.lease
        return (200, json.dumps(self.lease).encode()) if self.lease else (404, b'{"kind":"Status","code":404}')


@contextmanager
def serve(cluster: FakeCluster, folder: Path) -> Iterator[ApiServer]:
    """Run one until the block ends."""
    server = ApiServer(cluster, folder)
    _write_certificate(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.crt", folder / "server.key")

    class Handler(_Handler):
        state = server

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        http.daemon_threads = True
        # Each connection shakes hands in its own thread.
        http.socket = context.wrap_socket(http.socket, server_side=True, do_handshake_on_connect=False)
        server.url = f"https://127.0.0.1:{http.server_port}"
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.hold.set()
            http.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    state: ApiServer
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True
    timeout = 30

    def setup(self) -> None:
        super().setup()
        self.state.connections += 1

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.state.drops:
            self.state.drops -= 1
            self.close_connection = True
            return
        self.state.requests.append((self.command, self.path))
        if self.state.held in {"", self.command}:
            self.state.hold.wait(30)
        authorized = self.headers.get("Authorization") == self.state.accepted
        status, content = self.state.answer(self.command, self.path, body) if authorized else (401, b"{}")
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        if self.state.closes:
            self.send_header("Connection", "close")
        if self.state.chunked:
            self.send_header("Transfer-Encoding", "chunked")
            parts = (content[:10], content[10:], b"")
            content = b"".join(f"{len(part):x}\r\n".encode() + part + b"\r\n" for part in parts)
        else:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_POST = do_PUT = do_GET  # noqa: N815 - the names in the standard library

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name in the standard library
        """Say nothing."""


def _write_certificate(folder: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([])
    now = datetime.now(UTC)
    alternative = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(alternative, critical=True)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "server.crt").write_bytes(certificate.public_bytes(Encoding.PEM))
    (folder / "server.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
