"""The environment of our containers, parsed once into values that cannot be wrong.

What only an edge proxy is told is parsed in edge/settings.py. Nothing here touches disk or network.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from contract.errors import quote
from contract.grammar import CAEndpoint, PortPair, Upstream, parse_port_pairs, parse_upstreams
from contract.identity import TrustDomain, WorkloadIdentity
from contract.names import (
    ENV_BUDGET,
    ENV_CA_URL,
    ENV_MODE,
    ENV_NAMESPACE,
    ENV_PORTS,
    ENV_RESOLV_CONF,
    ENV_SERVICE_ACCOUNT,
    ENV_TOKEN_FILE,
    ENV_TRUST_BUNDLE,
    ENV_TRUST_DOMAIN,
    ENV_UPSTREAMS,
    SUPPORTED_MODES,
    TOKEN_FILE,
)
from injector.edge.settings import EdgeSettings
from injector.enroll.certificate import Bundle
from injector.environment import read_count, read_listen_addresses, read_path, read_run_directory, read_variable

_BUDGET: Final = 60


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
            run=read_run_directory(environ),
            token=read_path(environ, ENV_TOKEN_FILE, TOKEN_FILE),
            resolv_conf=read_path(environ, ENV_RESOLV_CONF, "/etc/resolv.conf"),
        )


@dataclass(frozen=True, slots=True)
class Settings:
    """All that `init` and `renew` are told."""

    ca_endpoint: CAEndpoint
    bundle: Bundle
    identity: WorkloadIdentity
    mode: str
    ports: tuple[PortPair, ...]
    upstreams: tuple[Upstream, ...]
    budget: int  # seconds
    listen: tuple[str, ...]  # addresses as Nginx spells them; empty: all
    edge: EdgeSettings | None
    paths: Paths

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Self:
        """Read all settings; raises SettingsError naming the variable."""
        return cls(
            ca_endpoint=read_variable(environ, ENV_CA_URL, CAEndpoint.parse),
            bundle=read_variable(environ, ENV_TRUST_BUNDLE, _parse_bundle),
            identity=_read_identity(environ),
            mode=read_variable(environ, ENV_MODE, _parse_mode, default=SUPPORTED_MODES[0]),
            ports=read_variable(environ, ENV_PORTS, lambda text: parse_port_pairs(text) if text else ()),
            upstreams=read_variable(environ, ENV_UPSTREAMS, lambda text: parse_upstreams(text) if text else ()),
            budget=read_count(environ, ENV_BUDGET, _BUDGET),
            listen=read_listen_addresses(environ),
            edge=EdgeSettings.from_env(environ),
            paths=Paths.from_env(environ),
        )


def _read_identity(environ: Mapping[str, str]) -> WorkloadIdentity:
    """Each part is checked under its own variable's name."""
    domain = read_variable(environ, ENV_TRUST_DOMAIN, TrustDomain)
    namespace = read_variable(environ, ENV_NAMESPACE, lambda text: WorkloadIdentity(domain, text, "x")).namespace
    return read_variable(environ, ENV_SERVICE_ACCOUNT, lambda text: WorkloadIdentity(domain, namespace, text))


def _parse_bundle(pem: str) -> Bundle:
    try:
        return Bundle.parse(pem.encode())
    except ValueError as error:
        raise ValueError(f"{quote(pem)} holds no trust bundle: expected one or more certificates as PEM") from error


def _parse_mode(text: str) -> str:
    if text not in SUPPORTED_MODES:
        raise ValueError(f"{quote(text)} is not a mode of this version: expected {' or '.join(SUPPORTED_MODES)}")
    return text
