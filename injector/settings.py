"""The environment of our containers, parsed once into values that cannot be wrong. The only reader of variables.

Every error names the variable, its value and what is allowed. Nothing here touches disk or network.
"""

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self, TypeVar

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
    FRONT_PORT,
    FRONTS,
    RUN_DIRECTORY,
    TOKEN_FILE,
)
from injector.enroll.certificate import Bundle, Identity
from injector.errors import SettingsError
from injector.nginx.endpoints import Door, Inbound, Upstream, parse_door, parse_inbound, parse_port, parse_upstreams

# Tests and the demo put these elsewhere; in a pod none of them is set.
ENV_RUN: Final = "PODTLS_RUN"
ENV_TOKEN_FILE: Final = "PODTLS_TOKEN_FILE"  # noqa: S105 - the name of a variable
ENV_TERMINATION_MESSAGE: Final = "PODTLS_TERMINATION_MESSAGE"
ENV_RESOLV_CONF: Final = "PODTLS_RESOLV_CONF"
ENV_SOCKET: Final = "PODTLS_SOCKET"
ENV_LISTEN: Final = "PODTLS_LISTEN"  # addresses of the TLS ports, comma between; unset: all that the kernel has
# Fronts: the port, and what one address may do.
ENV_FRONT_PORT: Final = "PODTLS_FRONT_PORT"
ENV_FRONT_RATE: Final = "PODTLS_FRONT_RATE"
ENV_FRONT_BURST: Final = "PODTLS_FRONT_BURST"
ENV_FRONT_CONNECTIONS: Final = "PODTLS_FRONT_CONNECTIONS"

_MODES: Final = ("mtls", "tls")  # of contract.MODES, those that are built
_BUDGET: Final = 60
# kind -> requests per second, burst, requests under way: of one source address that is not verified.
_LIMITS: Final = {"webhook": ("200", "1000", "256"), "ca": ("20", "100", "64")}
# What may stand in nginx.conf between quotes without any escaping.
_PATH: Final = re.compile(r"/[A-Za-z0-9 ._/@+~=\[\]-]{0,200}")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Paths:
    """Where things are."""

    run: Path
    token: Path
    resolv_conf: Path

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Self:
        """Read the paths; raises SettingsError."""
        return cls(
            run=run_directory(environ),
            token=_path(environ, ENV_TOKEN_FILE, TOKEN_FILE),
            resolv_conf=_path(environ, ENV_RESOLV_CONF, "/etc/resolv.conf"),
        )


@dataclass(frozen=True, slots=True)
class FrontSettings:
    """What a front needs to know besides the generation it serves with."""

    kind: str
    port: int
    app_socket: Path
    client_ca: Path | None
    rate: int
    burst: int
    connections: int

    @classmethod
    def from_env(cls, environ: Mapping[str, str], kind: str) -> Self:
        """Read a front of this kind (contract.FRONTS); raises SettingsError."""
        rate, burst, connections = _LIMITS[kind]
        client_ca = environ.get(ENV_FRONT_CLIENT_CA, "")
        return cls(
            kind=kind,
            port=_parsed(environ, ENV_FRONT_PORT, parse_port, "1 to 65535", default=str(FRONT_PORT)),
            app_socket=_path(environ, ENV_SOCKET, APP_SOCKET),
            client_ca=_path(environ, ENV_FRONT_CLIENT_CA, "") if client_ca else None,
            rate=_count(environ, ENV_FRONT_RATE, rate),
            burst=_count(environ, ENV_FRONT_BURST, burst),
            connections=_count(environ, ENV_FRONT_CONNECTIONS, connections),
        )


@dataclass(frozen=True, slots=True)
class Settings:
    """All that `init` and `renew` are told."""

    door: Door
    bundle: Bundle
    identity: Identity
    mode: str
    ports: tuple[Inbound, ...]
    upstreams: tuple[Upstream, ...]
    budget: int  # seconds
    listen: tuple[str, ...]  # addresses as Nginx spells them; empty: all
    front: FrontSettings | None
    paths: Paths

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Self:
        """Read all settings; raises SettingsError."""
        kind = front_kind(environ)
        return cls(
            door=_parsed(environ, ENV_CA_URL, parse_door, "https://host[:port]"),
            bundle=_bundle(environ),
            identity=_identity(environ),
            mode=_parsed(environ, ENV_MODE, _parse_mode, " or ".join(_MODES), default=_MODES[0]),
            ports=_parsed(environ, ENV_PORTS, parse_inbound, "8443=8080,8444=9090", default=""),
            upstreams=_parsed(
                environ,
                ENV_UPSTREAMS,
                parse_upstreams,
                "127.0.1.1:80=payments.shop.svc.cluster.local:443,...",
                default="",
            ),
            budget=_count(environ, ENV_BUDGET, str(_BUDGET)),
            listen=listen_addresses(environ),
            front=FrontSettings.from_env(environ, kind) if kind else None,
            paths=Paths.from_env(environ),
        )


def front_kind(environ: Mapping[str, str]) -> str:
    """Which front this is, empty for an app's pod; raises SettingsError."""
    kind = environ.get(ENV_FRONT, "")
    if kind and kind not in FRONTS:
        raise _error(ENV_FRONT, kind, "is unknown", " or ".join(FRONTS))
    return kind


def run_directory(environ: Mapping[str, str]) -> Path:
    """Where the generations are; raises SettingsError."""
    return _path(environ, ENV_RUN, RUN_DIRECTORY)


def listen_addresses(environ: Mapping[str, str]) -> tuple[str, ...]:
    """The addresses to listen on as Nginx spells them, empty for all; raises SettingsError."""
    return _parsed(environ, ENV_LISTEN, _parse_addresses, "IP addresses with a comma between", default="")


def _identity(environ: Mapping[str, str]) -> Identity:
    """Each part is checked under its own variable's name."""
    trust_domain = environ.get(ENV_TRUST_DOMAIN, "")
    return Identity(
        trust_domain=_parsed(
            environ,
            ENV_TRUST_DOMAIN,
            lambda text: Identity(text, "x", "x").trust_domain,
            "a trust domain (SPIFFE-ID section 2.1)",
        ),
        namespace=_parsed(
            environ,
            ENV_NAMESPACE,
            lambda text: Identity(trust_domain, text, "x").namespace,
            "a namespace (RFC 1123 label)",
        ),
        service_account=_parsed(
            environ,
            ENV_SERVICE_ACCOUNT,
            lambda text: Identity(trust_domain, "x", text).service_account,
            "a service account (RFC 1123 subdomain)",
        ),
    )


def _bundle(environ: Mapping[str, str]) -> Bundle:
    pem = environ.get(ENV_TRUST_BUNDLE, "")
    try:
        return Bundle.parse(pem.encode())
    except ValueError as error:
        shown = pem if len(pem) <= 40 else f"{pem[:40]}..."
        allowed = "one or more certificates as PEM"
        raise _error(ENV_TRUST_BUNDLE, shown, "holds no trust bundle", allowed) from error


def _path(environ: Mapping[str, str], variable: str, default: str) -> Path:
    return _parsed(environ, variable, _parse_path, f"an absolute path of the form {_PATH.pattern}", default=default)


def _count(environ: Mapping[str, str], variable: str, default: str) -> int:
    return _parsed(environ, variable, _parse_count, "1 to 86400", default=default)


def _parsed(
    environ: Mapping[str, str],
    variable: str,
    parse: Callable[[str], T],
    allowed: str,
    *,
    default: str | None = None,
) -> T:
    """Parse one variable; a ValueError of the parser becomes a SettingsError that names the variable."""
    text = environ.get(variable, default)
    if text is None:
        raise SettingsError(f"{variable} is not set; allowed: {allowed}")
    try:
        return parse(text)
    except ValueError as error:
        raise _error(variable, text, str(error), allowed) from error


def _error(variable: str, value: str, what: str, allowed: str) -> SettingsError:
    return SettingsError(f"{variable}={value[:200]!r}: {what}; allowed: {allowed}")


def _parse_mode(text: str) -> str:
    if text not in _MODES:
        raise ValueError("is no mode of this version")
    return text


def _parse_path(text: str) -> Path:
    if not _PATH.fullmatch(text):
        raise ValueError("cannot be used as a path")
    return Path(text)


def _parse_count(text: str) -> int:
    if not re.fullmatch(r"[1-9][0-9]{0,4}", text) or int(text) > 86400:
        raise ValueError("is no number in the range")
    return int(text)


def _parse_addresses(text: str) -> tuple[str, ...]:
    # Scoped addresses (fe80::1%anything) would let any character through.
    if not re.fullmatch(r"[0-9a-fA-F.:,]*", text):
        raise ValueError("is no list of addresses")
    addresses = [ipaddress.ip_address(item) for item in text.split(",")] if text else []
    return tuple(f"[{address}]" if address.version == 6 else str(address) for address in addresses)
