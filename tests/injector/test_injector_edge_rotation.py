"""The webhook's edge proxy and a new certificate: no reload, no closed connection, never another certificate's key."""

import ssl
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography import x509

from injector.edge.render import render_edge
from injector.edge.settings import EdgeSettings
from lab.nginx import Nginx
from tests.injector.authority import Authority
from tests.injector.edge_proxies import NAME, EdgeProxy, edge_proxy, publish
from tests.injector.processes import eventually

pytestmark = pytest.mark.integration

REQUEST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"
ROTATIONS = 80
CLIENTS = 3


def rotate(proxy: EdgeProxy, authority: Authority) -> int:
    """A new generation, as `podtls-injector renew` writes it; the serial number of its certificate."""
    leaf = authority.leaf(dns=(NAME,))
    settings = EdgeSettings.of_kind("webhook", {"PODTLS_EDGE_PORT": str(proxy.port)})
    publish(proxy.run, leaf, authority, render_edge(settings, run=proxy.run, listen=("127.0.0.1",)))
    return leaf.chain[0].serial_number


def served(proxy: EdgeProxy) -> int:
    """The serial number that a new handshake sees."""
    with proxy.connect() as connection:
        return serial(connection)


def serial(connection: ssl.SSLSocket) -> int:
    der = connection.getpeercert(binary_form=True)
    assert der is not None
    return x509.load_der_x509_certificate(der).serial_number


def test_a_new_certificate_is_served_at_once_and_kept_connections_go_on(
    nginx: Nginx, authority: Authority, workshop: Path
) -> None:
    with edge_proxy(nginx, authority, workshop) as proxy, proxy.connect() as kept:
        kept.sendall(REQUEST)
        assert kept.recv(4096).startswith(b"HTTP/1.1 200 OK\r\n")

        new = rotate(proxy, authority)
        assert served(proxy) == new

        kept.sendall(REQUEST)
        assert kept.recv(4096).startswith(b"HTTP/1.1 200 OK\r\n")
        assert serial(kept) != new


def test_no_handshake_meets_a_key_of_another_certificate_while_generations_change(
    nginx: Nginx, authority: Authority, workshop: Path
) -> None:
    stop = threading.Event()
    seen: list[list[int]] = [[] for _ in range(CLIENTS)]

    def shake_hands(serials: list[int]) -> None:
        while not stop.is_set():
            serials.append(served(proxy))

    with edge_proxy(nginx, authority, workshop) as proxy, ThreadPoolExecutor(CLIENTS) as pool:
        clients = [pool.submit(shake_hands, serials) for serials in seen]
        try:
            made = {rotate_when_all_are_past_the_last(proxy, authority, clients, seen) for _ in range(ROTATIONS)}
        finally:
            stop.set()
        for client in clients:
            client.result(timeout=20)

    assert "SSL_use_PrivateKey" not in proxy.log.read_text()
    assert len(made.intersection(*seen)) > ROTATIONS / 2


def rotate_when_all_are_past_the_last(
    proxy: EdgeProxy, authority: Authority, clients: list[Future[None]], seen: list[list[int]]
) -> int:
    """As in life, where minutes lie between two generations: no handshake is older than the one before."""
    before = [len(serials) for serials in seen]

    def are_past() -> bool:
        return all(len(serials) > count for serials, count in zip(seen, before, strict=True))

    eventually(lambda: are_past() or any(client.done() for client in clients), proxy.log)
    return rotate(proxy, authority)
