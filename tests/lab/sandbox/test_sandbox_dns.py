import asyncio
import socket
import struct
from collections.abc import Sequence

import pytest

from lab.sandbox.services import dns
from lab.sandbox.state import Manifest
from tests.fakes import FakeClusterState

A, AAAA, IN = 1, 28, 1


def query(name: str, kind: int = A, *, flags: int = 0x0100, questions: int = 1) -> bytes:
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return struct.pack("!6H", 0xBEEF, flags, questions, 0, 0, 0) + labels + b"\0" + struct.pack("!2H", kind, IN)


def read(response: bytes | None) -> tuple[int, list[str], int]:
    """Response code, addresses, flags."""
    assert response is not None
    number, flags, _, records, _, _ = struct.unpack_from("!6H", response)
    assert number == 0xBEEF
    tail = response[len(response) - 16 * records :]
    return flags & 0xF, [socket.inet_ntoa(tail[16 * i + 12 : 16 * i + 16]) for i in range(records)], flags


def a_pod(name: str, address: str, *, ready: str = "True", **spec: str) -> Manifest:
    status = {
        "podIP": address,
        "conditions": [{"type": "Initialized"} | {"status": "True"}, {"type": "Ready", "status": ready}],
    }
    metadata = {"name": name, "namespace": "shop", "labels": {"app": "web"}}
    return {"metadata": metadata, "spec": {"containers": [], **spec}, "status": status}


def a_service(name: str, **spec: object) -> Manifest:
    return {"metadata": {"name": name, "namespace": "shop"}, "spec": {"selector": {"app": "web"}, **spec}}


@pytest.fixture(name="state")
def fixture_state() -> FakeClusterState:
    state = FakeClusterState(
        service_objects=[
            a_service("web", clusterIP="10.96.0.9"),
            a_service("peers", clusterIP="None"),
            a_service("all", clusterIP="None", publishNotReadyAddresses=True),
            a_service("outside", type="ExternalName", externalName="example.com"),
        ]
    )
    state.add_pod(a_pod("web-0", "10.244.0.2", hostname="web-0", subdomain="peers"))
    state.add_pod(a_pod("web-1", "10.244.0.3", ready="False", hostname="web-1", subdomain="peers"))
    state.add_pod(a_pod("web-2", "10.244.0.4"))
    return state


@pytest.mark.parametrize(
    ("name", "code", "addresses"),
    [
        pytest.param("web.shop.svc.cluster.local", dns.NO_ERROR, ["10.96.0.9"], id="cluster IP"),
        pytest.param("WEB.Shop.svc.cluster.local", dns.NO_ERROR, ["10.96.0.9"], id="case does not matter"),
        pytest.param("peers.shop.svc.cluster.local", dns.NO_ERROR, ["10.244.0.2", "10.244.0.4"], id="headless: ready"),
        pytest.param(
            "all.shop.svc.cluster.local", dns.NO_ERROR, ["10.244.0.2", "10.244.0.3", "10.244.0.4"], id="headless: all"
        ),
        pytest.param("web-0.peers.shop.svc.cluster.local", dns.NO_ERROR, ["10.244.0.2"], id="hostname.subdomain"),
        pytest.param("web-1.peers.shop.svc.cluster.local", dns.NO_SUCH_NAME, [], id="hostname of one not ready"),
        pytest.param("web-0.web.shop.svc.cluster.local", dns.NO_SUCH_NAME, [], id="hostname below no headless one"),
        pytest.param("web-0.nope.shop.svc.cluster.local", dns.NO_SUCH_NAME, [], id="hostname below no Service"),
        pytest.param("10-244-0-2.shop.pod.cluster.local", dns.NO_ERROR, ["10.244.0.2"], id="address name"),
        pytest.param("ten-2-0-2.shop.pod.cluster.local", dns.NO_SUCH_NAME, [], id="no address name"),
        pytest.param("web.other.svc.cluster.local", dns.NO_SUCH_NAME, [], id="other namespace"),
        pytest.param("outside.shop.svc.cluster.local", dns.NO_SUCH_NAME, [], id="ExternalName is not had"),
        pytest.param("shop.svc.cluster.local", dns.NO_SUCH_NAME, [], id="a namespace"),
        pytest.param("web.shop.svc.cluster.local.shop.svc.cluster.local", dns.NO_SUCH_NAME, [], id="search path"),
        pytest.param("example.com", dns.NO_SUCH_NAME, [], id="the world"),
    ],
)
def test_names_are_answered_as_cluster_dns_does(
    state: FakeClusterState, name: str, code: int, addresses: list[str]
) -> None:
    names = dns.Names(state, "cluster.local")

    got_code, got, _ = read(dns.answer(query(name), names.addresses, limit=512))

    assert (got_code, got) == (code, addresses)


def test_a_name_that_exists_has_no_ipv6_address_and_no_error() -> None:
    code, addresses, _ = read(dns.answer(query("web", AAAA), lambda _: ["10.96.0.9"], limit=512))

    assert (code, addresses) == (dns.NO_ERROR, [])


def test_an_answer_that_is_too_long_is_truncated_so_that_the_client_asks_over_tcp() -> None:
    many = [f"10.244.0.{number}" for number in range(100)]

    code, addresses, flags = read(dns.answer(query("web"), lambda _: many, limit=512))

    assert (code, addresses, flags & 0x0200) == (dns.NO_ERROR, [], 0x0200)
    assert len(read(dns.answer(query("web"), lambda _: many, limit=65535))[1]) == 100


@pytest.mark.parametrize(
    ("message", "code"),
    [
        pytest.param(query("web", flags=0x2800), dns.NOT_IMPLEMENTED, id="an update"),
        pytest.param(query("web", questions=2), dns.FORMAT_ERROR, id="two questions"),
        pytest.param(query("web")[:-2], dns.FORMAT_ERROR, id="cut short"),
        pytest.param(query("web")[:13], dns.FORMAT_ERROR, id="cut in a label"),
        pytest.param(query("web")[:12] + b"\xc0\x0c\0\x01\0\x01", dns.FORMAT_ERROR, id="compressed"),
    ],
)
def test_a_bad_query_is_told_so(message: bytes, code: int) -> None:
    assert read(dns.answer(message, lambda _: [], limit=512))[0] == code


@pytest.mark.parametrize(
    "message", [pytest.param(b"abc", id="no header"), pytest.param(query("web", flags=0x8000), id="a response")]
)
def test_what_is_no_query_gets_no_answer(message: bytes) -> None:
    assert dns.answer(message, lambda _: [], limit=512) is None


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_it_answers_over_udp_and_tcp_and_survives_who_hangs_up() -> None:
    def lookup(_: str) -> Sequence[str]:
        return ["10.96.0.9"]

    def ask_both(port: int) -> list[bytes]:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.settimeout(5)
            udp.sendto(b"abc", ("127.0.0.1", port))
            udp.sendto(query("web"), ("127.0.0.1", port))
            first = udp.recv(512)
        with socket.create_connection(("127.0.0.1", port), timeout=5) as cut:
            cut.sendall(b"\0\x30abc")
        with socket.create_connection(("127.0.0.1", port), timeout=5) as silent:
            silent.sendall(b"\0\x03abc")
            assert silent.recv(512) == b""
        with socket.create_connection(("127.0.0.1", port), timeout=5) as tcp:
            tcp.sendall(len(query("web")).to_bytes(2) + query("web"))
            return [first, tcp.recv(512)[2:]]

    async def scenario() -> list[bytes]:
        port = free_port()
        close = await dns.serve(lookup, "127.0.0.1", port)
        answers = await asyncio.to_thread(ask_both, port)
        close()
        await asyncio.sleep(0)
        return answers

    for answer in asyncio.run(scenario()):
        assert read(answer)[:2] == (dns.NO_ERROR, ["10.96.0.9"])
