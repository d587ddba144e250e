"""The names of Services and pods as a cluster's DNS answers them; the wire format is dnslib's."""

import asyncio
import socket
from collections.abc import Sequence

import pytest
from dnslib import QTYPE, RCODE, DNSRecord

from lab.sandbox.services import dns
from lab.sandbox.state import Manifest
from tests.fakes import FakeClusterState


def ask(name: str, lookup: dns.Lookup, kind: str = "A", limit: int = 512) -> DNSRecord:
    response = dns.respond(DNSRecord.question(name, kind).pack(), lookup, limit=limit)
    assert response is not None
    return DNSRecord.parse(response)


def addresses(response: DNSRecord) -> list[str]:
    return [str(record.rdata) for record in response.rr if record.rtype == QTYPE.A]


def a_pod(name: str, address: str, *, ready: str = "True", **spec: str) -> Manifest:
    status = {"podIP": address, "conditions": [{"type": "Ready", "status": ready}]}
    metadata = {"name": name, "namespace": "shop", "labels": {"app": "web"}}
    return {"metadata": metadata, "spec": {"containers": [], **spec}, "status": status}


def a_service(name: str, **spec: object) -> Manifest:
    return {"metadata": {"name": name, "namespace": "shop"}, "spec": {"selector": {"app": "web"}, **spec}}


@pytest.fixture(name="names")
def fixture_names() -> dns.Names:
    services = [
        a_service("web", clusterIP="10.96.0.9"),
        a_service("peers", clusterIP="None"),
        a_service("outside", type="ExternalName", externalName="example.com"),
    ]
    state = FakeClusterState(service_objects=services)
    state.add_pod(a_pod("web-0", "10.244.0.2", hostname="web-0", subdomain="peers"))
    state.add_pod(a_pod("web-1", "10.244.0.3", ready="False", hostname="web-1", subdomain="peers"))
    state.add_pod(a_pod("web-2", "10.244.0.4"))
    return dns.Names(state, "cluster.local")


@pytest.mark.parametrize(
    ("name", "code", "found"),
    [
        pytest.param("web.shop.svc.cluster.local", "NOERROR", ["10.96.0.9"], id="cluster IP"),
        pytest.param("WEB.Shop.svc.cluster.local", "NOERROR", ["10.96.0.9"], id="case does not matter"),
        pytest.param("peers.shop.svc.cluster.local", "NOERROR", ["10.244.0.2", "10.244.0.4"], id="headless: ready"),
        pytest.param("web-0.peers.shop.svc.cluster.local", "NOERROR", ["10.244.0.2"], id="hostname.subdomain"),
        pytest.param("web-1.peers.shop.svc.cluster.local", "NXDOMAIN", [], id="hostname of one not ready"),
        pytest.param("web-0.web.shop.svc.cluster.local", "NXDOMAIN", [], id="hostname below a Service with an address"),
        pytest.param("10-244-0-2.shop.pod.cluster.local", "NOERROR", ["10.244.0.2"], id="address name"),
        pytest.param("web.other.svc.cluster.local", "NXDOMAIN", [], id="other namespace"),
        pytest.param("outside.shop.svc.cluster.local", "NXDOMAIN", [], id="ExternalName is not supported"),
        pytest.param("web.shop.svc.cluster.local.shop.svc.cluster.local", "NXDOMAIN", [], id="search path"),
        pytest.param("example.com", "NXDOMAIN", [], id="the world"),
    ],
)
def test_names_are_answered_as_cluster_dns_does(names: dns.Names, name: str, code: str, found: list[str]) -> None:
    response = ask(name, names.addresses)

    assert (RCODE[response.header.rcode], addresses(response)) == (code, found)


def test_a_name_that_exists_has_no_ipv6_address_and_no_error() -> None:
    response = ask("web", lambda _: ["10.96.0.9"], "AAAA")

    assert (response.header.rcode, response.rr) == (0, [])


def test_an_answer_that_is_too_long_is_truncated_so_that_the_client_asks_over_tcp() -> None:
    many = [f"10.244.0.{number}" for number in range(100)]

    short, whole = ask("web", lambda _: many), ask("web", lambda _: many, limit=65535)

    assert (short.header.tc, short.rr) == (1, [])
    assert addresses(whole) == many


def test_it_answers_over_udp_and_tcp_and_survives_garbage() -> None:
    query = DNSRecord.question("web").pack()

    def lookup(_: str) -> Sequence[str]:
        return ["10.96.0.9"]

    def ask_both(port: int) -> list[bytes]:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.settimeout(5)
            udp.sendto(b"abc", ("127.0.0.1", port))
            udp.sendto(query, ("127.0.0.1", port))
            first = udp.recv(512)
        with socket.create_connection(("127.0.0.1", port), timeout=5) as cut:
            cut.sendall(b"\0\x30abc")
        with socket.create_connection(("127.0.0.1", port), timeout=5) as tcp:
            tcp.sendall(len(query).to_bytes(2) + query)
            return [first, tcp.recv(512)[2:]]

    async def scenario() -> list[bytes]:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        close = await dns.serve(lookup, "127.0.0.1", port)
        answers = await asyncio.to_thread(ask_both, port)
        close()
        await asyncio.sleep(0)
        return answers

    for answer in asyncio.run(scenario()):
        assert addresses(DNSRecord.parse(answer)) == ["10.96.0.9"]
