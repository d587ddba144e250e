"""Real Nginx, real TLS: who gets through to the app and who gets no byte of it; reloads that cut nobody."""

import contextlib
import signal
import ssl
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from contract.grammar import PortPair
from contract.identity import TrustDomain
from injector import generation
from injector.enroll.certificate import encode_chain, encode_key
from injector.generation import Generation
from injector.nginx.render import Config, render_pod
from lab.nginx import Nginx
from tests.injector.authority import Authority, Leaf
from tests.injector.peers import GREETING, App, client_context, connect, plain_app, talk
from tests.injector.processes import eventually, free_port, serving
from tests.injector.unprivileged import own

pytestmark = pytest.mark.integration


@dataclass
class Pod:
    """An Nginx before an app, and what a client needs to reach it."""

    app: App
    port: int
    run: Path
    log: Path
    master: subprocess.Popen[bytes]
    nginx: Nginx

    def logged(self, text: str) -> None:
        """Wait for Nginx to say this."""
        eventually(lambda: text in self.log.read_text(), self.log)


@contextlib.contextmanager
def pod(nginx: Nginx, authority: Authority, workshop: Path, *, mode: str = "mtls") -> Iterator[Pod]:
    run, log, port = workshop / "run", workshop / "log", free_port()
    run.mkdir()
    with plain_app() as app:
        write(nginx, authority, run, mode=mode, inbound=PortPair(port, app.port))
        with serving(nginx, run, log) as master:
            yield Pod(app, port, run, log, master, nginx)


def write(nginx: Nginx, authority: Authority, run: Path, *, mode: str, inbound: PortPair) -> Leaf:
    """Write a generation with a new certificate."""
    leaf = authority.leaf()
    config = Config(
        run=run,
        listen=("127.0.0.1",),
        mode=mode,
        trust_domain=TrustDomain("cluster.local"),
        ports=(inbound,),
        upstreams=(),
        resolvers=(),
        stream_module=nginx.stream_module,
    )
    generation.write(
        run,
        Generation(
            key=encode_key(leaf.key),
            certificate=encode_chain(leaf.chain),
            bundle=authority.bundle,
            nginx=render_pod(config).encode(),
        ),
    )
    return leaf


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_client_of_the_trust_domain_talks_to_the_app(
    nginx: Nginx, authority: Authority, workshop: Path, tmp_path: Path, version: ssl.TLSVersion
) -> None:
    context = client_context(
        authority.bundle, authority.leaf(uri="spiffe://cluster.local/ns/ops/sa/cron.job"), tmp_path
    )
    context.minimum_version = context.maximum_version = version

    with pod(nginx, authority, workshop) as server:
        answer = talk(server.port, context)

    assert answer == GREETING + b"hello\n"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize(
    ("client", "reason"),
    [
        pytest.param("none", "client sent no required SSL certificate", id="no certificate"),
        pytest.param("foreign", "client SSL certificate verify error: (20:", id="foreign CA"),
        pytest.param("expired", "client SSL certificate verify error: (10:certificate has expired)", id="expired"),
        pytest.param("other", 'upstream: "refused_', id="another trust domain, signed by our CA"),
        pytest.param("path", 'upstream: "refused_', id="not a workload, signed by our CA"),
    ],
)
def test_who_is_refused_gets_no_application_byte_and_the_log_says_why(
    nginx: Nginx,
    authority: Authority,
    foreign: Authority,
    workshop: Path,
    tmp_path: Path,
    client: str,
    reason: str,
    version: ssl.TLSVersion,
) -> None:
    leaf = {
        "none": None,
        "foreign": foreign.leaf(),
        "expired": authority.leaf(valid=timedelta(seconds=-30)),
        "other": authority.leaf(uri="spiffe://example.org/ns/shop/sa/checkout"),
        "path": authority.leaf(uri="spiffe://cluster.local/ns/shop/sa/checkout/more"),
    }[client]
    context = client_context(authority.bundle, leaf, tmp_path)
    context.minimum_version = context.maximum_version = version

    with pod(nginx, authority, workshop) as server:
        answer = talk(server.port, context)
        server.logged(reason)

        assert talk(server.port, client_context(authority.bundle, authority.leaf(), tmp_path)) == GREETING + b"hello\n"

    assert answer == b""
    assert server.app.connections == 1


def test_plaintext_on_the_tls_port_gets_no_application_byte(nginx: Nginx, authority: Authority, workshop: Path) -> None:
    with pod(nginx, authority, workshop) as server:
        answer = talk(server.port, None)
        server.logged("SSL_do_handshake() failed")

    assert GREETING not in answer
    assert server.app.connections == 0


def test_a_client_that_wants_another_name_or_another_root_leaves(
    nginx: Nginx, authority: Authority, foreign: Authority, workshop: Path, tmp_path: Path
) -> None:
    leaf = authority.leaf()

    with pod(nginx, authority, workshop) as server:
        with (
            pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"),
            connect(server.port, client_context(authority.bundle, leaf, tmp_path), name="payments.shop.svc"),
        ):
            pass
        with (
            pytest.raises(ssl.SSLCertVerificationError, match="unable to get local issuer"),
            connect(server.port, client_context(foreign.bundle, leaf, tmp_path)),
        ):
            pass

    assert server.app.connections == 0


def test_mode_tls_serves_clients_without_a_certificate(
    nginx: Nginx, authority: Authority, workshop: Path, tmp_path: Path
) -> None:
    with pod(nginx, authority, workshop, mode="tls") as server:
        answer = talk(server.port, client_context(authority.bundle, None, tmp_path))

    assert answer == GREETING + b"hello\n"


def test_sessions_are_not_resumed(nginx: Nginx, authority: Authority, workshop: Path, tmp_path: Path) -> None:
    context = client_context(authority.bundle, authority.leaf(), tmp_path)
    context.maximum_version = ssl.TLSVersion.TLSv1_2

    with pod(nginx, authority, workshop) as server, connect(server.port, context) as first:
        assert isinstance(first, ssl.SSLSocket)
        session = first.session

    assert session is None or not session.has_ticket


def test_a_reload_under_load_cuts_no_open_connection_and_fails_no_new_one(
    nginx: Nginx, authority: Authority, workshop: Path, tmp_path: Path
) -> None:
    context = client_context(authority.bundle, authority.leaf(), tmp_path)
    stop = threading.Event()
    answers: list[bytes] = []

    def hammer(port: int) -> None:
        while not stop.is_set():
            answers.append(talk(port, context))

    with pod(nginx, authority, workshop) as server, connect(server.port, context) as old:
        old.sendall(b"before\n")
        assert old.recv(1024) == GREETING + b"before\n"
        threads = [threading.Thread(target=hammer, args=(server.port,)) for _ in range(3)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(3):
                _renew(server, authority, context)
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        old.sendall(b"after\n")
        after = old.recv(1024)

    assert after == GREETING + b"after\n"
    assert len(answers) > 10
    assert set(answers) == {GREETING + b"hello\n"}


def _renew(server: Pod, authority: Authority, context: ssl.SSLContext) -> None:
    """Write a new generation, reload, wait until it is served."""
    inbound = PortPair(server.port, server.app.port)
    serial = write(server.nginx, authority, server.run, mode="mtls", inbound=inbound).chain[0].serial_number
    own(server.run)
    server.master.send_signal(signal.SIGHUP)
    eventually(lambda: _serial(server.port, context) == serial, server.log)


def _serial(port: int, context: ssl.SSLContext) -> int:
    """The serial number of the certificate that is served now."""
    with connect(port, context) as peer:
        assert isinstance(peer, ssl.SSLSocket)
        certificate = peer.getpeercert() or {}
        return int(str(certificate["serialNumber"]), 16)
