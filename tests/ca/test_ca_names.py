"""The table of which names a pod gets."""

from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import msgspec
import pytest

from ca.api.names import decide_names
from ca.api.objects import Service
from tests.ca.world import IDENTITY, pod_facts, service_object

ZONE = "cluster.local"


def dns(services: list[dict[str, Any]], **changes: Any) -> tuple[str, ...]:
    found = decide_names(pod_facts(**changes), msgspec.convert(services, list[Service]), ZONE)
    assert found.uri == "spiffe://cluster.local/ns/shop/sa/payments"
    return found.dns


@pytest.mark.parametrize(
    ("services", "expected"),
    [
        pytest.param([], (), id="no Service"),
        pytest.param(
            [service_object("payments", {"app": "payments"})],
            ("payments.shop.svc", "payments.shop.svc.cluster.local"),
            id="selector matches",
        ),
        pytest.param([service_object("payments", {"app": "orders"})], (), id="another value"),
        pytest.param([service_object("payments", {"app": "payments", "tier": "db"})], (), id="one label too many"),
        pytest.param([{"metadata": {"name": "payments"}, "spec": {}}], (), id="no selector"),
        pytest.param([service_object("payments", {})], (), id="empty selector selects nothing"),
        pytest.param([service_object("payments", None)], (), id="null selector"),
        pytest.param(
            [service_object("payments", {"app": "payments"}, type="ExternalName", externalName="x.example")],
            (),
            id="ExternalName",
        ),
        pytest.param(
            [service_object("b", {"app": "payments"}), service_object("a", {"app": "payments"})],
            ("a.shop.svc", "a.shop.svc.cluster.local", "b.shop.svc", "b.shop.svc.cluster.local"),
            id="sorted, whatever the API server's order",
        ),
        pytest.param(
            [service_object("payments", {"app": "payments"}, type="LoadBalancer", clusterIP="")],
            ("payments.shop.svc", "payments.shop.svc.cluster.local"),
            id="LoadBalancer",
        ),
    ],
)
def test_services_give_names(services: list[dict[str, Any]], expected: tuple[str, ...]) -> None:
    assert dns(services) == expected


@pytest.mark.parametrize(
    ("hostname", "subdomain", "spec", "own"),
    [
        pytest.param("db-0", "db", {"clusterIP": "None"}, True, id="StatefulSet pod"),
        pytest.param("db-0", "", {"clusterIP": "None"}, False, id="no subdomain"),
        pytest.param("", "db", {"clusterIP": "None"}, False, id="no hostname"),
        pytest.param("db-0", "other", {"clusterIP": "None"}, False, id="subdomain of another Service"),
        pytest.param("db-0", "db", {}, False, id="not headless"),
    ],
)
def test_own_name_needs_hostname_and_the_headless_service_of_its_subdomain(
    hostname: str, subdomain: str, spec: dict[str, Any], own: bool
) -> None:
    services = [service_object("db", {"app": "payments"}, **spec)]

    found = dns(services, hostname=hostname, subdomain=subdomain)

    expected = {"db.shop.svc", "db.shop.svc.cluster.local"}
    assert set(found) == expected | ({f"db-0.{name}" for name in expected} if own else set())


@pytest.mark.parametrize(
    ("address", "label"),
    [
        pytest.param("10.1.2.3", "10-1-2-3", id="IPv4"),
        pytest.param("fd00:10:244::a", "fd00-10-244--a", id="IPv6 in its compressed form"),
        pytest.param("fd00:0:0:0:0:0:0:0", "fd00--0", id="IPv6 that ends in zeros"),
        pytest.param("::1", "0--1", id="IPv6 that begins with zeros"),
        pytest.param("::", "0--0", id="nothing but zeros"),
    ],
)
def test_address_gives_a_name(address: str, label: str) -> None:
    assert dns([], addresses=(ip_address(address),)) == (f"{label}.shop.pod.cluster.local",)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("*", id="wildcard"),
        pytest.param("a_b", id="underscore"),
        pytest.param("Payments", id="upper case"),
        pytest.param("-a", id="leading dash"),
        pytest.param("a-", id="trailing dash"),
        pytest.param("x" * 64, id="64 characters"),
        pytest.param("evil.example", id="a dot makes it another name, but under our own namespace"),
        pytest.param("", id="empty"),
    ],
)
def test_name_that_is_no_dns_label_is_left_out(name: str) -> None:
    found = dns([service_object(name, {"app": "payments"})])

    assert found == () or all(each.endswith((".shop.svc", ".shop.svc.cluster.local")) for each in found)
    assert not any("*" in each or "_" in each for each in found)


def test_name_longer_than_dns_allows_is_left_out() -> None:
    zone = ".".join(["z" * 60] * 4)
    pod = pod_facts()
    services = msgspec.convert([service_object("payments", {"app": "payments"})], list[Service])

    assert decide_names(pod, services, zone).dns == ("payments.shop.svc",)


def test_hostname_of_two_services_appears_under_its_own_only() -> None:
    services = [
        service_object("db", {"app": "payments"}, clusterIP="None"),
        service_object("db-all", {"app": "payments"}, clusterIP="None"),
    ]

    found = dns(services, hostname="db-0", subdomain="db")

    assert "db-0.db.shop.svc" in found
    assert "db-0.db-all.shop.svc" not in found


def test_no_name_has_fewer_than_three_labels() -> None:
    pod = replace(pod_facts(addresses=(ip_address("10.0.0.1"),)), identity=IDENTITY)
    services = msgspec.convert([service_object("payments", {"app": "payments"})], list[Service])

    found = decide_names(pod, services, "zone").dns

    assert all(len(name.split(".")) >= 3 for name in found)
    assert "payments.shop" not in found
    assert "payments" not in found
