"""Upstreams: plaintext in, mTLS out, to a name that is looked up again and that the other side must prove."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from contract.grammar import Upstream
from contract.identity import TrustDomain
from injector import generation
from injector.enroll.certificate import encode_chain, encode_key
from injector.generation import Generation
from injector.nginx.render import Config, render_pod
from lab.nginx import Nginx
from tests.injector.authority import Authority, Leaf
from tests.injector.peers import GREETING, Dns, dns_server, talk, tls_app
from tests.injector.processes import eventually, free_port, serving

pytestmark = pytest.mark.integration

NAME = "payments.shop.svc.cluster.local"
# Two "pods" of the Service, on the same port of two loopback addresses.
FIRST, SECOND = "127.0.7.1", "127.0.7.2"


@dataclass
class Dialer:
    """A pod that has an upstream."""

    port: int
    log: Path
    dns: Dns

    def dial(self) -> bytes:
        """What the app gets when it dials its upstream in plaintext."""
        return talk(self.port, None, address="127.0.1.1")


@contextlib.contextmanager
def dialer(nginx: Nginx, authority: Authority, workshop: Path, *, far_port: int) -> Iterator[Dialer]:
    run, log, port, leaf = workshop / "run", workshop / "log", free_port("127.0.1.1"), authority.leaf()
    run.mkdir()
    with dns_server({NAME: FIRST}) as dns:
        config = Config(
            run=run,
            listen=("127.0.0.1",),
            mode="mtls",
            trust_domain=TrustDomain("cluster.local"),
            ports=(),
            upstreams=(Upstream("127.0.1.1", port, NAME, far_port),),
            resolvers=(f"127.0.0.1:{dns.port}",),
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
        with serving(nginx, run, log):
            yield Dialer(port, log, dns)


def payments(authority: Authority, name: str = NAME) -> Leaf:
    return authority.leaf(uri="spiffe://cluster.local/ns/shop/sa/payments", dns=(name,))


def test_what_the_app_dials_in_plaintext_travels_as_mtls_and_says_who_calls(
    nginx: Nginx, authority: Authority, workshop: Path, tmp_path: Path
) -> None:
    with (
        tls_app(payments(authority), authority, tmp_path, address=FIRST) as far,
        dialer(nginx, authority, workshop, far_port=far.port) as pod,
    ):
        answer = pod.dial()

    assert answer == GREETING + b"hello\n"
    assert "spiffe://cluster.local/ns/shop/sa/checkout" in far.peers[0]


def test_the_name_is_looked_up_again(nginx: Nginx, authority: Authority, workshop: Path, tmp_path: Path) -> None:
    with (
        tls_app(payments(authority), authority, tmp_path, address=FIRST) as first,
        tls_app(payments(authority), authority, tmp_path, address=SECOND, port=first.port) as second,
        dialer(nginx, authority, workshop, far_port=first.port) as pod,
    ):
        assert pod.dial() == GREETING + b"hello\n"
        pod.dns.zone[NAME] = SECOND
        eventually(lambda: pod.dial() and second.connections, pod.log)

        assert second.lines[0] == b"hello\n"


def test_a_server_that_proves_another_name_gets_no_byte_of_the_app(
    nginx: Nginx, authority: Authority, workshop: Path, tmp_path: Path
) -> None:
    impostor = payments(authority, "carts.shop.svc.cluster.local")

    with (
        tls_app(impostor, authority, tmp_path, address=FIRST) as far,
        dialer(nginx, authority, workshop, far_port=far.port) as pod,
    ):
        answer = pod.dial()
        eventually(lambda: f'does not match "{NAME}"' in pod.log.read_text(), pod.log)

    assert (answer, far.lines) == (b"", [])


def test_a_server_of_a_foreign_authority_gets_no_byte_of_the_app(
    nginx: Nginx, authority: Authority, foreign: Authority, workshop: Path, tmp_path: Path
) -> None:
    with (
        tls_app(payments(foreign), authority, tmp_path, address=FIRST) as far,
        dialer(nginx, authority, workshop, far_port=far.port) as pod,
    ):
        answer = pod.dial()
        eventually(lambda: "upstream SSL certificate verify error: (20:" in pod.log.read_text(), pod.log)

    assert (answer, far.lines) == (b"", [])


def test_a_name_that_nobody_knows_is_said_and_the_next_try_is_a_new_one(
    nginx: Nginx, authority: Authority, workshop: Path, tmp_path: Path
) -> None:
    with (
        tls_app(payments(authority), authority, tmp_path, address=FIRST) as far,
        dialer(nginx, authority, workshop, far_port=far.port) as pod,
    ):
        del pod.dns.zone[NAME]
        answer = pod.dial()
        eventually(lambda: f"{NAME} could not be resolved" in pod.log.read_text(), pod.log)
        pod.dns.zone[NAME] = FIRST
        eventually(pod.dial, pod.log)

    assert answer == b""


def test_an_answer_of_the_name_server_that_gets_lost_delays_the_app_and_cuts_nothing(
    any_nginx: Nginx, authority: Authority, workshop: Path, tmp_path: Path
) -> None:
    with (
        tls_app(payments(authority), authority, tmp_path, address=FIRST) as far,
        dialer(any_nginx, authority, workshop, far_port=far.port) as pod,
    ):
        pod.dns.lost = 1
        answer = pod.dial()

    assert answer == GREETING + b"hello\n"
    assert pod.dns.lost == 0
