from typing import Any

import pytest

from tests.webhook.world import annotated, injected, refusal_of

HOSTS_255 = ",".join(f"s{number:x}:80" for number in range(255))


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        pytest.param("payments", "but not 'payments'", id="no-port"),
        pytest.param("payments:0", "but not 'payments:0'", id="port-0"),
        pytest.param("payments:65536", "but not 'payments:65536'", id="port-65536"),
        pytest.param("payments:80=", "but not 'payments:80='", id="remote-empty"),
        pytest.param("payments:80=https", "but not 'payments:80=https'", id="remote-named"),
        pytest.param("payments:80=0", "but not 'payments:80=0'", id="remote-0"),
        pytest.param("Payments:80", "but not 'Payments:80'", id="upper-case"),
        pytest.param("pay_ments:80", "but not 'pay_ments:80'", id="underscore"),
        pytest.param("-a:80", "but not '-a:80'", id="leading-hyphen"),
        pytest.param("a..b:80", "but not 'a..b:80'", id="empty-label"),
        pytest.param("payments.shop.:80", "but not 'payments.shop.:80'", id="trailing-dot"),
        pytest.param("payments.shop.svc.example.org:80", "but not 'payments.shop.svc.example.org:80'", id="other-zone"),
        pytest.param("a.b.c.d:80", "but not 'a.b.c.d:80'", id="four-labels"),
        pytest.param("a.svc.cluster.local:80", "but not 'a.svc.cluster.local:80'", id="no-namespace"),
        pytest.param("*.shop:80", "but not '*.shop:80'", id="wildcard"),
        pytest.param("localhost:80", "but not 'localhost:80'", id="localhost"),
        pytest.param("localhost.shop:80", "but not 'localhost.shop:80'", id="a-Service-named-localhost"),
        pytest.param("web.localhost.shop.svc:80", "but not 'web.localhost", id="a-pod-of-a-Service-named-localhost"),
        pytest.param("10.0.0.1:80", "but not '10.0.0.1:80'", id="address"),
        pytest.param("[::1]:80", "but not '[::1]:80'", id="address-v6"),
        pytest.param(f"{'a' * 64}.shop:80", "but not 'aaa", id="long-label"),
        pytest.param("a;}:80", "but not 'a;}:80'", id="nginx-syntax"),
        pytest.param(
            "a:80,a:80", "each host and port once, but a.shop.svc.cluster.local:80 is written twice", id="doubled"
        ),
        pytest.param(
            "a:80,a.shop.svc:80=8443", "a.shop.svc.cluster.local:80 is written twice", id="doubled-by-another-name"
        ),
        pytest.param("x.y:80,x.y.svc.svc:81", "x.y.svc would mean both", id="a-name-of-two-meanings"),
        pytest.param(HOSTS_255, "at most 254 hosts", id="255-hosts"),
        pytest.param("payments:8080", "ports that no container listens on, but 8080 is the pod's own", id="own-port"),
        pytest.param(
            "podtls-ca.podtls-system:443", "podtls-ca.podtls-system.svc is the CA of podtls itself", id="the-CA"
        ),
    ],
)
def test_bad_upstreams_are_denied(value: str, reason: str) -> None:
    message = refusal_of(annotated(upstreams=value))

    assert message.startswith("annotation podtls.io/upstreams: ")
    assert reason in message


def test_upstream_with_a_host_alias_of_the_user_would_lead_past_nginx_and_is_denied() -> None:
    raw = annotated(upstreams="payments:80")
    raw["spec"]["hostAliases"] = [{"ip": "10.0.0.7", "hostnames": ["payments.shop"]}, {"ip": "10.0.0.8"}]

    assert refusal_of(raw) == "annotation podtls.io/upstreams: payments.shop has an entry in hostAliases already"


@pytest.mark.parametrize(
    ("value", "environment"),
    [
        pytest.param("payments:80", "127.0.1.1:80=payments.shop.svc.cluster.local:443", id="own-namespace"),
        pytest.param("payments.svc:80", "127.0.1.1:80=payments.svc.svc.cluster.local:443", id="a-namespace-named-svc"),
        pytest.param("a.b:1=2", "127.0.1.1:1=a.b.svc.cluster.local:2", id="namespace"),
        pytest.param("a.b.svc:1", "127.0.1.1:1=a.b.svc.cluster.local:443", id="svc"),
        pytest.param("a.b.svc.cluster.local:1", "127.0.1.1:1=a.b.svc.cluster.local:443", id="zone"),
        pytest.param("h.a.b:1", "127.0.1.1:1=h.a.b.svc.cluster.local:443", id="hostname"),
        pytest.param("h.a.b.svc:1", "127.0.1.1:1=h.a.b.svc.cluster.local:443", id="hostname-svc"),
        pytest.param("h.a.b.svc.cluster.local:1", "127.0.1.1:1=h.a.b.svc.cluster.local:443", id="hostname-zone"),
        pytest.param(
            "a.b:1,a.b.svc:2,c:1",
            "127.0.1.1:1=a.b.svc.cluster.local:443,127.0.1.1:2=a.b.svc.cluster.local:443,"
            "127.0.1.2:1=c.shop.svc.cluster.local:443",
            id="one-address-for-a-host",
        ),
    ],
)
def test_all_forms_of_a_name_lead_to_the_service(value: str, environment: str) -> None:
    result = injected(annotated(upstreams=value))

    for container in result["spec"]["initContainers"]:
        values = {variable["name"]: variable.get("value") for variable in container["env"]}
        assert values["PODTLS_UPSTREAMS"] == environment


def test_254_hosts_are_accepted_and_each_has_its_address() -> None:
    result = injected(annotated(upstreams=HOSTS_255.rpartition(",")[0]))

    addresses = [alias["ip"] for alias in result["spec"]["hostAliases"]]
    assert addresses == [f"127.0.1.{number}" for number in range(1, 255)]


@pytest.mark.parametrize(
    ("context", "expected"),
    [
        pytest.param({}, {"sysctls": [{"name": "net.ipv4.ip_unprivileged_port_start", "value": "0"}]}, id="empty"),
        pytest.param(None, {"sysctls": [{"name": "net.ipv4.ip_unprivileged_port_start", "value": "0"}]}, id="null"),
        pytest.param(
            {"fsGroup": 1, "sysctls": None},
            {"fsGroup": 1, "sysctls": [{"name": "net.ipv4.ip_unprivileged_port_start", "value": "0"}]},
            id="null-list",
        ),
        pytest.param(
            {"sysctls": [{"name": "a.b", "value": "1"}]},
            {"sysctls": [{"name": "a.b", "value": "1"}, {"name": "net.ipv4.ip_unprivileged_port_start", "value": "0"}]},
            id="another-one",
        ),
        pytest.param(
            {"sysctls": [{"name": "net.ipv4.ip_unprivileged_port_start", "value": "80"}]},
            {"sysctls": [{"name": "net.ipv4.ip_unprivileged_port_start", "value": "80"}]},
            id="suffices",
        ),
        pytest.param(
            {"sysctls": [{"name": "net/ipv4/ip_unprivileged_port_start", "value": "0"}]},
            {"sysctls": [{"name": "net/ipv4/ip_unprivileged_port_start", "value": "0"}]},
            id="suffices-with-slashes",
        ),
    ],
)
def test_privileged_port_gets_the_sysctl_and_keeps_the_users(context: Any, expected: dict[str, Any]) -> None:
    raw = annotated(upstreams="payments:80")
    raw["spec"]["securityContext"] = context

    result = injected(raw)

    assert result["spec"]["securityContext"] == expected


@pytest.mark.parametrize("value", ["81", "1024", "", "x", "-1", "\u0660", "1" * 5000, None])
def test_sysctl_of_the_user_that_does_not_suffice_is_denied(value: str | None) -> None:
    raw = annotated(upstreams="payments:80,stock:443")
    raw["spec"]["securityContext"] = {"sysctls": [{"name": "net.ipv4.ip_unprivileged_port_start", "value": value}]}

    message = refusal_of(raw)

    assert message.startswith("sysctl net.ipv4.ip_unprivileged_port_start: ")
    assert message.endswith("keeps Nginx from port 80; allowed: at most 80")


def test_ports_above_1023_need_no_sysctl() -> None:
    result = injected(annotated(upstreams="payments:1024"))

    assert "securityContext" not in result["spec"]
