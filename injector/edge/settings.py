"""What an edge proxy is told: which app is behind it, where, and how much one address may ask."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from contract.errors import quote
from contract.grammar import parse_port
from contract.names import (
    APP_SOCKET,
    EDGE_PORT,
    EDGES,
    ENV_EDGE,
    ENV_EDGE_BURST,
    ENV_EDGE_CLIENT_CA,
    ENV_EDGE_CONNECTIONS,
    ENV_EDGE_PORT,
    ENV_EDGE_RATE,
    ENV_SOCKET,
)
from injector.environment import read_count, read_path, read_variable

# kind -> requests per second, burst, requests under way: of one source address that is not verified.
_LIMITS: Final = {"webhook": (200, 1000, 256), "ca": (20, 100, 64)}


@dataclass(frozen=True, slots=True)
class EdgeSettings:
    """What an edge proxy needs to know besides the generation it serves with."""

    kind: str  # of contract.names.EDGES
    port: int
    app_socket: Path
    client_ca: Path | None
    rate: int
    burst: int
    connections: int

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Self | None:
        """Read an edge proxy's settings, None in an app's pod; raises SettingsError."""
        kind = read_edge_kind(environ)
        return cls.of_kind(kind, environ) if kind else None

    @classmethod
    def of_kind(cls, kind: str, environ: Mapping[str, str]) -> Self:
        """Read the settings of an edge proxy of this kind; raises SettingsError."""
        rate, burst, connections = _LIMITS[kind]
        return cls(
            kind=kind,
            port=read_variable(environ, ENV_EDGE_PORT, parse_port, default=str(EDGE_PORT)),
            app_socket=read_path(environ, ENV_SOCKET, APP_SOCKET),
            client_ca=read_path(environ, ENV_EDGE_CLIENT_CA, "") if environ.get(ENV_EDGE_CLIENT_CA) else None,
            rate=read_count(environ, ENV_EDGE_RATE, rate),
            burst=read_count(environ, ENV_EDGE_BURST, burst),
            connections=read_count(environ, ENV_EDGE_CONNECTIONS, connections),
        )


def read_edge_kind(environ: Mapping[str, str]) -> str:
    """Whose edge proxy this is, empty in an app's pod; raises SettingsError."""
    return read_variable(environ, ENV_EDGE, _parse_kind)


def _parse_kind(text: str) -> str:
    if text and text not in EDGES:
        raise ValueError(f"{quote(text)} is not an app of ours: expected {' or '.join(EDGES)}")
    return text
