"""An app behind TLS, as Nginx of a pod would put it: refuses with Nginx's words in its log, answers HTTP otherwise."""

import http.server
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import trustme

from lab.demo.proofs.clients import Identity, Target

REPLY: Final = b"payments: thank you\n"
# What OpenSSL says to the server, and what Nginx writes into its log then.
_LOG: Final = {
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "client sent no required SSL certificate while SSL handshaking",
    "CERTIFICATE_VERIFY_FAILED": "client SSL certificate verify error: (18:self-signed certificate)",
    "HTTP_REQUEST": "SSL_do_handshake() failed (SSL: error:0A00009C:SSL routines::http request)",
}


@dataclass(slots=True)
class TLSApp:
    """Where it listens, and what its log says. `reply` None: it closes instead of answering."""

    address: tuple[str, int] = ("", 0)
    log: list[str] = field(default_factory=list)
    reply: bytes | None = REPLY
    context: ssl.SSLContext = field(default_factory=lambda: ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))

    def wait_for_log(self) -> list[str]:
        """The log once there is a line in it; the client may be told before."""
        deadline = time.monotonic() + 10
        while not self.log and time.monotonic() < deadline:
            time.sleep(0.01)
        return self.log

    def target(self, server_name: str, bundle: str) -> Target:
        return Target(self.address, server_name, bundle)


@contextmanager
def tls_app(certificate: trustme.LeafCert, clients: str | None) -> Iterator[TLSApp]:
    """Serve on loopback until the block ends; `clients`: the PEM of those who may come, None for anybody."""
    app = TLSApp()
    certificate.configure_cert(app.context)
    if clients is not None:
        app.context.verify_mode = ssl.CERT_REQUIRED
        app.context.load_verify_locations(cadata=clients)

    class Handler(_Handler):
        tls = app

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    app.address = ("127.0.0.1", server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield app
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def save_identity(leaf: trustme.LeafCert, folder: Path) -> Identity:
    """A certificate and its key as files."""
    identity = Identity(folder / "tls.crt", folder / "tls.key")
    leaf.cert_chain_pems[0].write_to_path(identity.chain)
    leaf.private_key_pem.write_to_path(identity.key)
    return identity


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 10
    tls: TLSApp

    def handle(self) -> None:
        # What is left of a connection that was refused or dropped is of no interest to anybody.
        try:
            self.request = self.tls.context.wrap_socket(self.request, server_side=True)
        except ssl.SSLError as error:
            self.tls.log.append(_LOG.get(error.reason or "", f"SSL_do_handshake() failed ({error})"))
            return
        except OSError:
            return
        with self.request:
            self.rfile, self.wfile = self.request.makefile("rb"), self.request.makefile("wb", 0)
            super().handle()

    def do_GET(self) -> None:
        if self.tls.reply is None:
            self.close_connection = True
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.tls.reply)))
        self.end_headers()
        self.wfile.write(self.tls.reply)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is the base class's.
        """Say nothing."""
