"""The environment of our containers: what is read, and which words refuse the rest."""

from pathlib import Path

import pytest

from contract.names import (
    APP_SOCKET,
    ENV_BUDGET,
    ENV_CA_URL,
    ENV_FRONT,
    ENV_FRONT_CLIENT_CA,
    ENV_MODE,
    ENV_NAMESPACE,
    ENV_PORTS,
    ENV_SERVICE_ACCOUNT,
    ENV_TRUST_BUNDLE,
    ENV_TRUST_DOMAIN,
    ENV_UPSTREAMS,
    FRONTS,
    RUN_DIRECTORY,
    TOKEN_FILE,
)
from injector.errors import SettingsError
from injector.nginx.endpoints import Door, Inbound, Upstream
from injector.settings import FrontSettings, Settings, listen_addresses
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

    assert settings.door == Door("podtls-ca.podtls-system.svc", 443)
    assert str(settings.identity) == "spiffe://cluster.local/ns/shop/sa/checkout.v2"
    assert (settings.mode, settings.ports, settings.upstreams, settings.budget) == ("mtls", (), (), 60)
    assert (settings.front, settings.listen) == (None, ())
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
            ENV_FRONT: "webhook",
            ENV_FRONT_CLIENT_CA: "/etc/podtls/client-ca.crt",
            "PODTLS_LISTEN": "127.0.0.1,::1",
        }
    )

    assert str(settings.door) == "https://[fd00::1]:8443"
    assert settings.ports == (Inbound(8443, 8080), Inbound(8444, 9090))
    assert settings.upstreams[0] == Upstream("127.0.1.1", 80, "payments.shop.svc.cluster.local", 443)
    assert settings.upstreams[1].host == "db-0.db.shop.svc"
    assert settings.budget == 600
    assert settings.listen == ("127.0.0.1", "[::1]")
    assert settings.front
    assert settings.front.client_ca == Path("/etc/podtls/client-ca.crt")


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

    with pytest.raises(SettingsError, match=variable):
        Settings.from_env(plain)


@pytest.mark.parametrize(
    ("variable", "value", "reason"),
    [
        pytest.param(ENV_CA_URL, "http://ca.svc", "is no https://host", id="plain HTTP"),
        pytest.param(ENV_CA_URL, "https://ca.svc/est", "is no https://host", id="a path"),
        pytest.param(ENV_CA_URL, "https://me@ca.svc", "is no https://host", id="a user"),
        pytest.param(ENV_CA_URL, "https://ca.svc:65536", "'65536' is no port", id="port too large"),
        pytest.param(ENV_CA_URL, "https://ca.svc\r\nX: y", "is no https://host", id="line break"),
        pytest.param(ENV_TRUST_BUNDLE, "", "holds no trust bundle", id="empty bundle"),
        pytest.param(ENV_TRUST_BUNDLE, "x" * 5000, "holds no trust bundle", id="no bundle"),
        pytest.param(ENV_TRUST_DOMAIN, "Cluster.local", "cannot be part", id="capital letter"),
        pytest.param(ENV_TRUST_DOMAIN, 'a"; }', "cannot be part", id="quote"),
        pytest.param(ENV_TRUST_DOMAIN, "a" * 256, "cannot be part", id="long trust domain"),
        pytest.param(ENV_NAMESPACE, "shop/sa/admin", "cannot be part", id="slash"),
        pytest.param(ENV_NAMESPACE, "a" * 64, "cannot be part", id="long namespace"),
        pytest.param(ENV_NAMESPACE, "shop\n", "cannot be part", id="trailing line break"),
        pytest.param(ENV_SERVICE_ACCOUNT, "", "cannot be part", id="empty service account"),
        pytest.param(ENV_SERVICE_ACCOUNT, "a." * 128 + "a", "cannot be part", id="long service account"),
        pytest.param(ENV_MODE, "permissive", "allowed: mtls or tls", id="a mode to come"),
        pytest.param(ENV_PORTS, "8443", "'8443' is no TLS=app pair", id="no pair"),
        pytest.param(ENV_PORTS, "8443=8080,", "'' is no TLS=app pair", id="trailing comma"),
        pytest.param(ENV_PORTS, "0=8080", "is no TLS=app pair", id="port 0"),
        pytest.param(ENV_PORTS, "65536=8080", "'65536' is no port", id="port 65536"),
        pytest.param(ENV_PORTS, "08443=8080", "is no TLS=app pair", id="leading zero"),
        pytest.param(ENV_PORTS, "\u0668\u0664\u0664\u0663=8080", "is no TLS=app pair", id="foreign digits"),
        pytest.param(ENV_PORTS, "8443=1,8443=2", "8443 stands there twice", id="doubled"),
        pytest.param(ENV_PORTS, "8443=8443", "port 8443 cannot be the app's and", id="itself"),
        pytest.param(ENV_UPSTREAMS, "127.0.0.1:80=a.b.svc:443", "is no 127.0.1.N", id="other address"),
        pytest.param(ENV_UPSTREAMS, "127.0.1.255:80=a.b.svc:443", "is no 127.0.1.N", id="broadcast"),
        pytest.param(ENV_UPSTREAMS, "127.0.1.1:80=a.svc:443", "is no 127.0.1.N", id="two labels"),
        pytest.param(ENV_UPSTREAMS, "127.0.1.1:80=a.b.svc;:443", "is no 127.0.1.N", id="semicolon"),
        pytest.param(ENV_UPSTREAMS, f"127.0.1.1:80={'a.' * 127}svc:443", "is no 127.0.1.N", id="long name"),
        pytest.param(ENV_UPSTREAMS, "127.0.1.1:80=a.b.svc:70000", "'70000' is no port", id="far port"),
        pytest.param(
            ENV_UPSTREAMS,
            "127.0.1.1:80=a.b.svc:1,127.0.1.1:80=c.d.svc:1",
            "127.0.1.1:80 stands there twice",
            id="doubled upstream",
        ),
        pytest.param(ENV_BUDGET, "", "is no number", id="empty budget"),
        pytest.param(ENV_BUDGET, "0", "is no number", id="no budget"),
        pytest.param(ENV_BUDGET, "99999", "is no number", id="more than a day"),
        pytest.param("PODTLS_RUN", "run", "cannot be used as a path", id="relative path"),
        pytest.param("PODTLS_RUN", '/run"; load_module x', "cannot be used as a path", id="quote in a path"),
        pytest.param("PODTLS_RUN", "/run\n", "cannot be used as a path", id="line break in a path"),
        pytest.param("PODTLS_LISTEN", "127.0.0.1,", "does not appear to be", id="empty address"),
        pytest.param("PODTLS_LISTEN", "fe80::1%;", "is no list of addresses", id="scoped address"),
        pytest.param(ENV_FRONT, "door", "allowed: webhook or ca", id="unknown front"),
    ],
)
def test_a_bad_value_is_refused_with_variable_value_and_what_is_allowed(
    plain: dict[str, str], variable: str, value: str, reason: str
) -> None:
    with pytest.raises(SettingsError) as refusal:
        Settings.from_env({**plain, variable: value})

    message = str(refusal.value)
    assert message.startswith(f"{variable}={value[:30]!r}"[:-1])
    assert reason in message
    assert "; allowed: " in message
    assert message.isprintable()
    assert refusal.value.exit_code == 64


@pytest.mark.parametrize("kind", FRONTS)
def test_a_front_has_limits_that_a_person_can_change(kind: str) -> None:
    usual = FrontSettings.from_env({}, kind)
    changed = FrontSettings.from_env(
        {
            "PODTLS_FRONT_PORT": "9443",
            "PODTLS_FRONT_RATE": "7",
            "PODTLS_FRONT_BURST": "8",
            "PODTLS_FRONT_CONNECTIONS": "9",
            "PODTLS_SOCKET": "/tmp/app.sock",
        },
        kind,
    )

    assert (usual.port, usual.client_ca, usual.app_socket) == (8443, None, Path(APP_SOCKET))
    assert usual.burst > usual.rate
    assert (changed.port, changed.rate, changed.burst, changed.connections) == (9443, 7, 8, 9)
    assert changed.app_socket == Path("/tmp/app.sock")


def test_no_address_means_all() -> None:
    assert listen_addresses({}) == ()
