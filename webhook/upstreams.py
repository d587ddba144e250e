"""The Services that the app dials in plaintext and Nginx reaches by mTLS: their addresses and names, from values.

Each host gets an address in 127.0.1.0/24 of its own, and every name that the app may dial leads there. Pure.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any, Final

from contract.names import UPSTREAM_NETWORK, UPSTREAMS
from webhook.errors import RefusedError
from webhook.wishes import ServiceHost, UpstreamWish, Wish

_ADDRESSES: Final = tuple(str(address) for address in ip_network(UPSTREAM_NETWORK).hosts())
# kubelet accepts leading zeros and the IPv4-mapped form as well (net.ParseIPSloppy).
_UPSTREAM_ADDRESS: Final = re.compile(r"(::ffff:)?0*127\.0+\.0*1\.[0-9]+", re.IGNORECASE)


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


def plan_upstreams(wish: Wish[tuple[UpstreamWish, ...]] | None, namespace: str, zone: str) -> tuple[Upstream, ...]:
    """Returns the upstreams in the order in which they are written, each host with its own address.

    Raises RefusedError for more hosts than addresses, for what is written twice, and for a name of two meanings.
    """
    if wish is None:
        return ()
    addresses: dict[ServiceHost, str] = {}
    upstreams = []
    for item in wish.value:
        if item.host not in addresses:
            if len(addresses) == len(_ADDRESSES):
                raise wish.build_refusal(f"at most {len(_ADDRESSES)} hosts")
            addresses[item.host] = _ADDRESSES[len(addresses)]
        names = item.host.list_names(namespace, zone)
        upstreams.append(Upstream(addresses[item.host], item.port, names[-1], item.remote_port, names))
    _check_doubled(wish, upstreams)
    return tuple(upstreams)


def build_host_aliases(upstreams: Iterable[Upstream]) -> list[dict[str, Any]]:
    """Returns the entries of spec.hostAliases, one for each address."""
    names = {upstream.address: upstream.names for upstream in upstreams}
    return [{"ip": address, "hostnames": list(hostnames)} for address, hostnames in names.items()]


def is_upstream_address(text: object) -> bool:
    """Whether `text` is an address in 127.0.1.0/24, in any spelling that kubelet would accept."""
    return isinstance(text, str) and _UPSTREAM_ADDRESS.fullmatch(text) is not None


def _check_doubled(wish: Wish[tuple[UpstreamWish, ...]], upstreams: Iterable[Upstream]) -> None:
    seen: set[tuple[str, int]] = set()
    owners: dict[str, str] = {}
    for upstream in upstreams:
        if (upstream.host, upstream.port) in seen:
            doubled = f"{upstream.host}:{upstream.port}"
            raise wish.build_refusal(f"each host and port once, but {doubled} is written twice")
        seen.add((upstream.host, upstream.port))
        for name in upstream.names:
            if owners.setdefault(name, upstream.host) != upstream.host:
                raise RefusedError(f"annotation {UPSTREAMS}: {name} would mean both {owners[name]} and {upstream.host}")
