"""The environment of our containers: what is read, and which words refuse the rest."""

from pathlib import Path

import pytest

from contract.grammar import CAEndpoint, PortPair, Upstream
from contract.names import (
    APP_SOCKET,
    EDGES,
    ENV_BUDGET,
    ENV_CA_URL,
    ENV_EDGE,
    ENV_EDGE_BURST,
    ENV_EDGE_CLIENT_CA,
    ENV_EDGE_CONNECTIONS,
    ENV_EDGE_PORT,
    ENV_EDGE_RATE,
    ENV_LISTEN,
    ENV_MODE,
    ENV_NAMESPACE,
    ENV_PORTS,
    ENV_RUN,
    ENV_SERVICE_ACCOUNT,
    ENV_SOCKET,
    ENV_TRUST_BUNDLE,
    ENV_TRUST_DOMAIN,
    ENV_UPSTREAMS,
    RUN_DIRECTORY,
    TOKEN_FILE,
)
from injector.edge.settings import EdgeSettings
from injector.environment import read_listen_addresses
from injector.errors import SettingsError
from injector.settings import Settings
from tests.injector.authority import Authority

TWO_UPSTREAMS = "127.0.1.1:80=payments.shop.svc.cluster.local:443,127.0.1.2:5432=db-0.db.shop.svc:5432"


@pytest.fixture
def plain(authority: Authority) -> dict[str, str]:
    """All that must be set."""
    return {
        ENV_CA_URL: "https://podtls-ca.podtls-system.svc",
        ENV_TRUST_BUNDLE: authority.bundle.decode(),
        ENV_TRUST_DOMAIN: "cluster.local",
        ENV_NAMESPACE: "shop",
        ENV_SERVICE_ACCOUNT: "checkout.v2",
    }


def test_what_is_not_set_has_the_defaults_of_a_pod(plain: dict[str, str]) -> None:
    settings = Settings.from_env(plain)

    assert settings.ca_endpoint == CAEndpoint("podtls-ca.podtls-system.svc", 443)
    assert str(settings.identity) == "spiffe://cluster.local/ns/shop/sa/checkout.v2"
    assert (settings.mode, settings.ports, settings.upstreams, settings.budget) == ("mtls", (), (), 60)
    assert (settings.edge, settings.listen) == (None, ())
    assert settings.paths.run == Path(RUN_DIRECTORY)
    assert settings.paths.token == Path(TOKEN_FILE)


def test_what_is_set_is_read(plain: dict[str, str]) -> None:
    settings = Settings.from_env(
        {
            **plain,
            ENV_CA_URL: "https://[fd00::1]:8443/",
            ENV_PORTS: "8443=8080,8444=9090",
            ENV_UPSTREAMS: TWO_UPSTREAMS,
            ENV_BUDGET: "600",
            ENV_EDGE: "webhook",
            ENV_EDGE_CLIENT_CA: "/etc/podtls/client-ca.crt",
            ENV_LISTEN: "127.0.0.1,::1",
        }
    )

    assert str(settings.ca_endpoint) == "https://[fd00::1]:8443"
    assert settings.ports == (PortPair(8443, 8080), PortPair(8444, 9090))
    assert settings.upstreams[0] == Upstream("127.0.1.1", 80, "payments.shop.svc.cluster.local", 443)
    assert settings.upstreams[1].host == "db-0.db.shop.svc"
    assert settings.budget == 600
    assert settings.listen == ("127.0.0.1", "[::1]")
    assert settings.edge
    assert settings.edge.client_ca == Path("/etc/podtls/client-ca.crt")


@pytest.mark.parametrize(
    "variable",
    [
        ENV_CA_URL,
        ENV_TRUST_BUNDLE,
        ENV_TRUST_DOMAIN,
        ENV_NAMESPACE,
        ENV_SERVICE_ACCOUNT,
    ],
)
def test_a_variable_that_is_missing_is_named(plain: dict[str, str], variable: str) -> None:
    del plain[variable]

    with pytest.raises(SettingsError, match=f"^{variable} is not set: "):
        Settings.from_env(plain)


@pytest.mark.parametrize(
    ("variable", "value", "reason"),
    [
        pytest.param(ENV_CA_URL, "http://ca.svc", "is not of the form https://host", id="plain HTTP"),
        pytest.param(ENV_CA_URL, "https://ca.svc\r\n", "is not a DNS name", id="line break"),
        pytest.param(ENV_TRUST_BUNDLE, "", "holds no trust bundle", id="empty bundle"),
        pytest.param(ENV_TRUST_BUNDLE, "x" * 5000, "holds no trust bundle", id="no bundle"),
        pytest.param(ENV_TRUST_DOMAIN, "Cluster.local", "allowed are 1 to 64 of a-z", id="capital letter"),
        pytest.param(ENV_TRUST_DOMAIN, 'a"; }', "allowed are", id="quote"),
        pytest.param(ENV_TRUST_DOMAIN, ".", "allowed are", id="a dot"),
        pytest.param(ENV_TRUST_DOMAIN, "a" * 65, "allowed are", id="long trust domain"),
        pytest.param(ENV_NAMESPACE, "shop/sa/admin", "not an RFC 1123 label", id="slash"),
        pytest.param(ENV_NAMESPACE, "shop\n", "not an RFC 1123 label", id="trailing line break"),
        pytest.param(ENV_SERVICE_ACCOUNT, "", "not an RFC 1123 subdomain", id="empty service account"),
        pytest.param(ENV_SERVICE_ACCOUNT, "a." * 126 + "ab", "not an RFC 1123 subdomain", id="254 characters"),
        pytest.param(ENV_MODE, "permissive", "is not a mode of this version: expected mtls or tls", id="mode to come"),
        pytest.param(ENV_PORTS, "8443=8080,", "'' is not a TLS=app pair of ports such as 8443=8080", id="no pair"),
        pytest.param(ENV_PORTS, "8443=1,8443=2", "port 8443 is listed twice", id="doubled"),
        pytest.param(ENV_UPSTREAMS, "127.0.0.1:80=a.b.svc:443", "is not an address of a host", id="other address"),
        pytest.param(ENV_UPSTREAMS, "127.0.1.1:80=a.b.svc;:443", "is not a DNS name", id="semicolon"),
        pytest.param(ENV_BUDGET, "", "is not a number in the range: expected 1 to 86400", id="empty budget"),
        pytest.param(ENV_BUDGET, "0", "is not a number", id="no budget"),
        pytest.param(ENV_BUDGET, "99999", "is not a number", id="more than a day"),
        pytest.param(ENV_RUN, "run", "cannot be used as a path: expected", id="relative path"),
        pytest.param(ENV_RUN, '/run"; load_module x', "cannot be used as a path", id="quote in a path"),
        pytest.param(ENV_RUN, "/run\n", "cannot be used as a path", id="line break in a path"),
        pytest.param(ENV_LISTEN, "127.0.0.1,", "does not appear to be", id="empty address"),
        pytest.param(ENV_LISTEN, "fe80::1%;", "is not a list of addresses: expected", id="scoped address"),
        pytest.param(ENV_EDGE, "door", "is not an app of ours: expected webhook or ca", id="unknown app"),
    ],
)
def test_a_bad_value_is_refused_with_variable_value_and_what_is_allowed(
    plain: dict[str, str], variable: str, value: str, reason: str
) -> None:
    with pytest.raises(SettingsError) as refusal:
        Settings.from_env({**plain, variable: value})

    message = str(refusal.value)
    assert message.startswith(f"{variable}: ")
    assert reason in message
    assert message.isprintable()
    assert len(message) < 300
    assert refusal.value.exit_code == 64


@pytest.mark.parametrize("kind", EDGES)
def test_an_edge_proxy_has_limits_that_a_person_can_change(kind: str) -> None:
    usual = EdgeSettings.of_kind(kind, {})
    changed = EdgeSettings.of_kind(
        kind,
        {
            ENV_EDGE_PORT: "9443",
            ENV_EDGE_RATE: "7",
            ENV_EDGE_BURST: "8",
            ENV_EDGE_CONNECTIONS: "9",
            ENV_SOCKET: "/tmp/app.sock",
        },
    )

    assert (usual.port, usual.client_ca, usual.app_socket) == (8443, None, Path(APP_SOCKET))
    assert usual.burst > usual.rate
    assert (changed.port, changed.rate, changed.burst, changed.connections) == (9443, 7, 8, 9)
    assert changed.app_socket == Path("/tmp/app.sock")


def test_no_address_means_all() -> None:
    assert read_listen_addresses({}) == ()
