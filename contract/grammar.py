"""Ports, upstreams, the CA's URL and lifetimes: what is written as text, parsed into values that cannot be wrong.

Users write some of it in annotations, the webhook writes some of it for the injector, an administrator the rest. Each
type parses its text and its str() is that text again. Nothing is trimmed, guessed or defaulted, digits are ASCII
digits, and no control character gets past. What a value means for a pod is decided by those who use it.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Final, Self

from contract.dns import LONGEST_NAME, is_dns_name
from contract.errors import GrammarError, quote
from contract.names import LIFETIME_MAX_SECONDS, LIFETIME_MIN_SECONDS, UPSTREAM_NETWORK

LARGEST_PORT: Final = 65535
HTTPS_PORT: Final = 443
_PORT: Final = re.compile(r"[1-9][0-9]{0,4}")
_CA_ENDPOINT: Final = re.compile(r"https://(\[[^\]]*\]|[^:/\[\]]*)(?::([^/]*))?/?")
_IPV6: Final = re.compile(r"[0-9a-f:.]{2,45}")
_LIFETIME: Final = re.compile(r"([1-9][0-9]{0,8})([smhd])")
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_RECORD_ID: Final = re.compile(r"[0-9a-f]{32}")
_NETWORK: Final = ip_network(UPSTREAM_NETWORK)
# The address of the network and its broadcast address are left out.
_ADDRESSES: Final = frozenset(str(address) for address in _NETWORK.hosts())


def parse_port(text: str) -> int:
    """A port from 1 to 65535 in plain digits. Raises GrammarError."""
    if not _PORT.fullmatch(text) or int(text) > LARGEST_PORT:
        raise GrammarError(f"{quote(text)} is not a port: expected 1 to {LARGEST_PORT} in plain digits")
    return int(text)


@dataclass(frozen=True, slots=True)
class PortPair:
    """`8443=8080`: TLS arrives at port `tls` of the sidecar and goes on in plaintext to port `app` of the app."""

    tls: int
    app: int

    def __post_init__(self) -> None:
        _check_ports(self.tls, self.app)

    def __str__(self) -> str:
        return f"{self.tls}={self.app}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises GrammarError."""
        tls, separator, app = text.partition("=")
        if not separator:
            raise GrammarError(f"{quote(text)} is not a TLS=app pair of ports such as 8443=8080")
        return cls(parse_port(tls), parse_port(app))


def parse_port_pairs(text: str) -> tuple[PortPair, ...]:
    """The pairs of `8443=8080,8444=9090`, at least one. Raises GrammarError, also for a TLS port that is not free."""
    pairs = tuple(PortPair.parse(item) for item in text.split(","))
    _refuse_doubled(f"port {pair.tls}" for pair in pairs)
    listening = {pair.tls for pair in pairs}
    for pair in pairs:
        if pair.app in listening:
            raise GrammarError(f"port {pair.app} cannot be both a TLS port and a port of the app")
    return pairs


@dataclass(frozen=True, slots=True)
class WantedUpstream:
    """`payments.shop:80=443`, as a user writes it: the app dials `host`:`port`, and it travels to `remote_port`.

    `host` is a Service's name as short as the user likes; which Service that is depends on the pod's namespace.
    """

    host: str
    port: int
    remote_port: int = HTTPS_PORT

    def __post_init__(self) -> None:
        _check_host(self.host)
        _check_ports(self.port, self.remote_port)

    def __str__(self) -> str:
        dialled = f"{self.host}:{self.port}"
        return dialled if self.remote_port == HTTPS_PORT else f"{dialled}={self.remote_port}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises GrammarError."""
        dialled, separator, remote = text.partition("=")
        host, port = _split_host(dialled, "host:port or host:port=remote port", whole=text)
        return cls(host, port, parse_port(remote) if separator else HTTPS_PORT)


@dataclass(frozen=True, slots=True)
class Upstream:
    """`127.0.1.1:80=payments.shop.svc.cluster.local:443`, as the webhook writes it for the injector.

    Nginx listens on `address`:`port` for the app's plaintext and goes on by mTLS to `host`:`remote_port`.
    """

    address: str
    port: int
    host: str
    remote_port: int

    def __post_init__(self) -> None:
        if self.address not in _ADDRESSES:
            raise GrammarError(f"{quote(self.address)} is not an address of a host in {UPSTREAM_NETWORK}")
        _check_host(self.host)
        # One or two labels may be somebody else's name in the outside world.
        if self.host.count(".") < 2:
            raise GrammarError(f"{quote(self.host)} is not the full name of a Service, such as payments.shop.svc")
        _check_ports(self.port, self.remote_port)

    def __str__(self) -> str:
        return f"{self.address}:{self.port}={self.host}:{self.remote_port}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises GrammarError."""
        form = "127.0.1.N:port=host:port"
        local, _, remote = text.partition("=")
        return cls(*_split_host(local, form, whole=text), *_split_host(remote, form, whole=text))


def parse_upstreams(text: str) -> tuple[Upstream, ...]:
    """What is written for the injector, with commas between, at least one. Raises GrammarError."""
    upstreams = tuple(Upstream.parse(item) for item in text.split(","))
    _refuse_doubled(f"{upstream.address}:{upstream.port}" for upstream in upstreams)
    return upstreams


@dataclass(frozen=True, slots=True)
class CAEndpoint:
    """`https://podtls-ca.podtls-system.svc`: where the CA API is. `host` is a DNS name or an IP address."""

    host: str
    port: int = HTTPS_PORT

    def __post_init__(self) -> None:
        if not is_dns_name(self.host) and not _is_ipv6(self.host):
            raise GrammarError(f"{quote(self.host)} is not a DNS name in lower case or an IP address")
        _check_ports(self.port)

    def __str__(self) -> str:
        return f"https://{self.authority}"

    @property
    def authority(self) -> str:
        """Host and port as a URL and the Host header have them (RFC 9110 section 7.2)."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == HTTPS_PORT else f"{host}:{self.port}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises GrammarError: a path, a user or plain HTTP has no meaning here."""
        found = _CA_ENDPOINT.fullmatch(text)
        if found is None:
            raise GrammarError(f"{quote(text)} is not of the form https://host[:port]")
        bracketed = found[1].startswith("[")
        if bracketed and not _is_ipv6(found[1][1:-1]):
            raise GrammarError(f"{quote(found[1])} is not an IPv6 address in brackets")
        return cls(found[1].strip("[]"), HTTPS_PORT if found[2] is None else parse_port(found[2]))


@dataclass(frozen=True, slots=True)
class Lifetime:
    """`24h`: how long a certificate lives, within the CA's bounds."""

    seconds: int

    def __post_init__(self) -> None:
        if not LIFETIME_MIN_SECONDS <= self.seconds <= LIFETIME_MAX_SECONDS:
            raise GrammarError(f"{self.seconds}s is not within {LIFETIME_MIN_SECONDS}s to {LIFETIME_MAX_SECONDS}s")

    def __str__(self) -> str:
        unit = next(unit for unit in reversed(_UNITS) if self.seconds % _UNITS[unit] == 0)
        return f"{self.seconds // _UNITS[unit]}{unit}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises GrammarError."""
        found = _LIFETIME.fullmatch(text)
        if found is None:
            raise GrammarError(f"{quote(text)} is not a whole number and s, m, h or d, such as 24h")
        return cls(int(found[1]) * _UNITS[found[2]])


def is_record_id(text: str) -> bool:
    """Whether `text` is the id of a record of the evidence: 128 bits in hexadecimal digits."""
    return _RECORD_ID.fullmatch(text) is not None


def _split_host(text: str, form: str, *, whole: str) -> tuple[str, int]:
    host, separator, port = text.partition(":")
    if not separator:
        raise GrammarError(f"{quote(whole)} is not of the form {form}")
    return host, parse_port(port)


def _check_host(host: str) -> None:
    if not is_dns_name(host):
        raise GrammarError(f"{quote(host)} is not a DNS name in lower case of at most {LONGEST_NAME} characters")


def _check_ports(*ports: int) -> None:
    for port in ports:
        if not 1 <= port <= LARGEST_PORT:
            raise GrammarError(f"{port} is not a port: expected 1 to {LARGEST_PORT}")


def _is_ipv6(text: str) -> bool:
    # Scoped addresses (fe80::1%anything) would let any character through.
    if not _IPV6.fullmatch(text):
        return False
    try:
        return isinstance(ip_address(text), IPv6Address)
    except ValueError:
        return False


def _refuse_doubled(entries: Iterable[str]) -> None:
    seen = set()
    for entry in entries:
        if entry in seen:
            raise GrammarError(f"{entry} is listed twice")
        seen.add(entry)
