"""podtls.io/upstreams: the Services that the app dials in plaintext and Nginx reaches by mTLS.

Parses the annotation, gives each host its address in 127.0.1.0/24 and lists the names that the app may dial.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any, Final

from contract.names import UPSTREAM_NETWORK, UPSTREAMS
from webhook import annotations
from webhook.errors import RefusedError, shown

_LABEL: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")  # RFC 1123 label, as Kubernetes has it
_HTTPS: Final = 443
_ALLOWED: Final = (
    "host:port or host:port=remote port, separated by commas, such as payments.shop:80=443; host is svc, svc.ns, "
    "svc.ns.svc or svc.ns.svc.{zone}, with a pod's hostname before it where there is a namespace"
)
_ADDRESSES: Final = tuple(str(address) for address in ip_network(UPSTREAM_NETWORK).hosts())
# kubelet accepts leading zeros and the IPv4-mapped form as well (net.ParseIPSloppy).
_OUR_ADDRESS: Final = re.compile(r"(::ffff:)?0*127\.0+\.0*1\.[0-9]+", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Upstream:
    """The app dials `port` at any of `names` (which are `address`); Nginx goes on to `remote_port` of `host`."""

    address: str
    port: int
    host: str
    remote_port: int
    names: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.address}:{self.port}={self.host}:{self.remote_port}"


@dataclass(frozen=True, slots=True)
class _Target:
    hostname: str  # of one pod of a headless Service, or empty
    service: str
    namespace: str

    def names(self, own_namespace: str, zone: str) -> tuple[str, ...]:
        prefix = f"{self.hostname}." if self.hostname else ""
        short = f"{prefix}{self.service}.{self.namespace}"
        bare = (self.service,) if self.namespace == own_namespace and not self.hostname else ()
        return (*bare, short, f"{short}.svc", f"{short}.svc.{zone}")


def parse_upstreams(written: Mapping[str, str | None], namespace: str, zone: str) -> tuple[Upstream, ...]:
    """Returns the upstreams in the order in which they are written, each host with its own address.

    Raises RefusedError for what is not allowed, written twice, or dialled by a name that means two things.
    """
    value = annotations.get(written, UPSTREAMS)
    if value is None:
        return ()
    addresses: dict[_Target, str] = {}
    upstreams = []
    for item in value.split(","):
        target, port, remote_port = _parse_item(value, item, namespace, zone)
        if target not in addresses:
            if len(addresses) == len(_ADDRESSES):
                raise annotations.refuse(UPSTREAMS, value, f"at most {len(_ADDRESSES)} hosts")
            addresses[target] = _ADDRESSES[len(addresses)]
        names = target.names(namespace, zone)
        upstreams.append(Upstream(addresses[target], port, names[-1], remote_port, names))
    _check_doubled(value, upstreams)
    return tuple(upstreams)


def host_aliases(upstreams: Iterable[Upstream]) -> list[dict[str, Any]]:
    """Returns the entries of spec.hostAliases, one for each address."""
    names = {upstream.address: upstream.names for upstream in upstreams}
    return [{"ip": address, "hostnames": list(hostnames)} for address, hostnames in names.items()]


def is_our_address(text: object) -> bool:
    """Asks whether `text` is an address in 127.0.1.0/24, in any spelling that kubelet would accept."""
    return isinstance(text, str) and _OUR_ADDRESS.fullmatch(text) is not None


def _parse_item(value: str, item: str, namespace: str, zone: str) -> tuple[_Target, int, int]:
    dialled, separator, remote = item.partition("=")
    host, _, port_text = dialled.partition(":")
    target = _parse_host(host, namespace, zone)
    port = annotations.parse_port(port_text)
    remote_port = annotations.parse_port(remote) if separator else _HTTPS
    if target is None or port is None or remote_port is None:
        allowed = _ALLOWED.format(zone=zone)
        raise annotations.refuse(UPSTREAMS, value, f"{allowed}; but not {shown(item)}")
    return target, port, remote_port


def _parse_host(host: str, namespace: str, zone: str) -> _Target | None:
    stem = host.removesuffix(f".svc.{zone}")
    if stem == host:
        # `payments.svc` alone is, as the search list has it, the Service payments of a namespace named svc.
        stem = host.removesuffix(".svc") if host.count(".") > 1 else host
    labels = stem.split(".")
    if not all(_LABEL.fullmatch(label) for label in labels) or host == "localhost" or len(stem) > 253 - len(zone) - 5:
        return None
    # The hosts file has a meaning for it already, and an own Service of this name would be dialled by it alone.
    if labels[-2:-1] == ["localhost"]:
        return None
    match labels:
        case [service] if stem == host:
            return _Target("", service, namespace)
        case [service, its_namespace]:
            return _Target("", service, its_namespace)
        case [hostname, service, its_namespace]:
            return _Target(hostname, service, its_namespace)
        case _:
            return None


def _check_doubled(value: str, upstreams: list[Upstream]) -> None:
    seen: set[tuple[str, int]] = set()
    owners: dict[str, str] = {}
    for upstream in upstreams:
        if (upstream.host, upstream.port) in seen:
            doubled = f"{upstream.host}:{upstream.port}"
            raise annotations.refuse(UPSTREAMS, value, f"each host and port once, but {doubled} is twice")
        seen.add((upstream.host, upstream.port))
        for name in upstream.names:
            if owners.setdefault(name, upstream.host) != upstream.host:
                raise RefusedError(f"annotation {UPSTREAMS}: {name} would mean both {owners[name]} and {upstream.host}")
