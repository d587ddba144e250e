"""Who Nginx talks to in tests, all on loopback: an app, a TLS app that tells who called, TLS clients, a DNS server."""

import contextlib
import socket
import socketserver
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from dnslib import QTYPE, RCODE, RR, A, DNSRecord

from tests.injector.authority import Authority, Leaf
from tests.injector.est_server import running, server_context, write_leaf

GREETING = b"the app answers: "


@dataclass
class App:
    """An app: answers each line with a greeting, and counts who reached it."""

    port: int
    lines: list[bytes] = field(default_factory=list)
    connections: int = 0
    peers: list[str] = field(default_factory=list)  # common facts of TLS peers, for a TLS app


class _AppHandler(socketserver.StreamRequestHandler):
    timeout = 20

    def handle(self) -> None:
        app = cast("_AppServer", self.server).app
        app.connections += 1
        if isinstance(self.connection, ssl.SSLSocket):
            self.connection.do_handshake()
            subject = cast("dict[str, tuple[tuple[tuple[str, str], ...], ...]]", self.connection.getpeercert() or {})
            app.peers.append(str(subject.get("subject", "")))
        for line in self.rfile:
            app.lines.append(line)
            self.wfile.write(GREETING + line)


class _AppServer(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    request_queue_size = 128
    app: App

    def handle_error(self, *_: object) -> None:
        """A refused handshake is what some tests want."""


@contextlib.contextmanager
def plain_app(address: str = "127.0.0.1") -> Iterator[App]:
    """An app behind Nginx."""
    with _AppServer((address, 0), _AppHandler) as server:
        server.app = App(server.server_address[1])
        with running(server):
            yield server.app


@contextlib.contextmanager
def tls_app(leaf: Leaf, authority: Authority, directory: Path, *, address: str, port: int = 0) -> Iterator[App]:
    """A Service that asks for a client certificate, as the other pod's Nginx does."""
    context = server_context(leaf, directory)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=authority.bundle.decode())
    with _AppServer((address, port), _AppHandler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        server.app = App(server.server_address[1])
        with running(server):
            yield server.app


def client_context(bundle: bytes, leaf: Leaf | None, directory: Path) -> ssl.SSLContext:
    """A client's context, with a certificate or without."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=bundle.decode())
    if leaf is not None:
        context.load_cert_chain(*write_leaf(leaf, directory))
    return context


def talk(
    port: int, context: ssl.SSLContext | None, *, name: str = "checkout.shop.svc", address: str = "127.0.0.1"
) -> bytes:
    """Say a line and answer what came back; empty when the other side refused."""
    with contextlib.suppress(ConnectionError, ssl.SSLError), connect(port, context, name=name, address=address) as peer:
        peer.sendall(b"hello\n")
        return peer.recv(1024)
    return b""


@contextlib.contextmanager
def connect(
    port: int, context: ssl.SSLContext | None, *, name: str = "checkout.shop.svc", address: str = "127.0.0.1"
) -> Iterator[socket.socket]:
    """A connection, TLS where there is a context."""
    with socket.create_connection((address, port), timeout=20) as plain:
        if context is None:
            yield plain
            return
        with context.wrap_socket(plain, server_hostname=name) as connection:
            yield connection


@dataclass
class Dns:
    """A DNS server's zone: name -> IPv4 address; what was asked, and how many answers get lost from now on."""

    port: int
    zone: dict[str, str]
    asked: list[str] = field(default_factory=list)
    lost: int = 0


class _DnsHandler(socketserver.DatagramRequestHandler):
    def handle(self) -> None:
        dns = cast("_DnsServer", self.server).dns
        query = DNSRecord.parse(self.rfile.read())
        name = str(query.q.qname).removesuffix(".")
        dns.asked.append(name)
        if dns.lost:
            dns.lost -= 1
            return
        reply, address = query.reply(), dns.zone.get(name)
        if address is None:
            reply.header.rcode = RCODE.NXDOMAIN
        elif query.q.qtype == QTYPE.A:
            reply.add_answer(RR(name, QTYPE.A, rdata=A(address), ttl=1))
        self.wfile.write(reply.pack())


class _DnsServer(socketserver.UDPServer):
    dns: Dns


@contextlib.contextmanager
def dns_server(zone: dict[str, str]) -> Iterator[Dns]:
    """A DNS server on UDP that knows this zone; the test may change it while it runs."""
    with _DnsServer(("127.0.0.1", 0), _DnsHandler) as server:
        server.dns = Dns(server.server_address[1], zone)
        with running(server):
            yield server.dns
