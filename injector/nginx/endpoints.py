"""Where Nginx listens and where it sends: ports and upstreams, parsed strictly. No control character gets past here."""

import re
from dataclasses import dataclass
from typing import Final

_PORT: Final = r"([1-9][0-9]{0,4})"
_LABEL: Final = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_PAIR: Final = re.compile(rf"{_PORT}={_PORT}")
_UPSTREAM: Final = re.compile(rf"127\.0\.1\.([1-9][0-9]{{0,2}}):{_PORT}=({_LABEL}(?:\.{_LABEL}){{2,}}):{_PORT}")
_DOOR: Final = re.compile(rf"https://({_LABEL}(?:\.{_LABEL})*|\[[0-9a-f:.]{{2,45}}\])(?::{_PORT})?/?")


@dataclass(frozen=True, slots=True)
class Inbound:
    """TLS port -> the app's port on 127.0.0.1."""

    tls: int
    app: int


@dataclass(frozen=True, slots=True)
class Upstream:
    """What the app dials in plaintext (127.0.1.N:port) -> the Service that it reaches by mTLS."""

    address: str
    port: int
    host: str
    host_port: int


@dataclass(frozen=True, slots=True)
class Door:
    """The CA's HTTPS endpoint."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"https://{host}" if self.port == 443 else f"https://{host}:{self.port}"


def parse_inbound(text: str) -> tuple[Inbound, ...]:
    """Parse `8443=8080,8444=9090`; empty: none. Raises ValueError, saying what is wrong."""
    pairs = tuple(_parse_pair(item) for item in _items(text))
    _refuse_doubles([str(pair.tls) for pair in pairs])
    listening = {pair.tls for pair in pairs}
    for pair in pairs:
        if pair.app in listening:
            raise ValueError(f"port {pair.app} cannot be the app's and a TLS port")
    return pairs


def parse_upstreams(text: str) -> tuple[Upstream, ...]:
    """Parse `127.0.1.1:80=payments.shop.svc.cluster.local:443,...`; empty: none. Raises ValueError."""
    upstreams = tuple(_parse_upstream(item) for item in _items(text))
    _refuse_doubles([f"{upstream.address}:{upstream.port}" for upstream in upstreams])
    return upstreams


def parse_door(text: str) -> Door:
    """Parse `https://host[:port]`. Raises ValueError: a path, a user or plain HTTP has no meaning here."""
    match = _DOOR.fullmatch(text)
    if match is None:
        raise ValueError("is no https://host[:port]")
    return Door(host=match[1].strip("[]"), port=parse_port(match[2] or "443"))


def parse_port(text: str) -> int:
    """Parse 1..65535 in plain digits. Raises ValueError."""
    if not re.fullmatch(_PORT, text) or int(text) > 65535:
        raise ValueError(f"{text[:20]!r} is no port")
    return int(text)


def _items(text: str) -> list[str]:
    return text.split(",") if text else []


def _parse_pair(text: str) -> Inbound:
    match = _PAIR.fullmatch(text)
    if match is None:
        raise ValueError(f"{text[:80]!r} is no TLS=app pair")
    return Inbound(tls=parse_port(match[1]), app=parse_port(match[2]))


def _parse_upstream(text: str) -> Upstream:
    match = _UPSTREAM.fullmatch(text)
    if match is None or int(match[1]) > 254 or len(match[3]) > 253:
        raise ValueError(f"{text[:120]!r} is no 127.0.1.N:port=host:port")
    address = f"127.0.1.{match[1]}"
    return Upstream(address=address, port=parse_port(match[2]), host=match[3], host_port=parse_port(match[4]))


def _refuse_doubles(values: list[str]) -> None:
    for value in values:
        if values.count(value) > 1:
            raise ValueError(f"{value} stands there twice")
