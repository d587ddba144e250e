"""The Services that the app dials in plaintext and Nginx reaches by mTLS: which ones, at which addresses. Pure.

Each Service gets an address in 127.0.1.0/24 of its own, and every name by which the app may dial it leads there.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any, Final

from contract.dns import LONGEST_NAME
from contract.grammar import Upstream, WantedUpstream
from contract.names import UPSTREAM_NETWORK, UPSTREAMS
from webhook.errors import RefusedError, quote
from webhook.wishes import Wish

_ADDRESSES: Final = tuple(str(address) for address in ip_network(UPSTREAM_NETWORK).hosts())
# kubelet accepts leading zeros and the IPv4-mapped form as well (net.ParseIPSloppy).
_UPSTREAM_ADDRESS: Final = re.compile(r"(::ffff:)?0*127\.0+\.0*1\.[0-9]+", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class DialledUpstream:
    """An upstream, and all names by which the app may dial its address."""

    upstream: Upstream
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Target:
    """A Service, or one pod of a headless Service: then `hostname` is the pod's, else it is empty."""

    hostname: str
    service: str
    namespace: str

    def list_names(self, own_namespace: str, zone: str) -> tuple[str, ...]:
        """Returns every name that a pod of `own_namespace` may dial, the full one last."""
        prefix = f"{self.hostname}." if self.hostname else ""
        short = f"{prefix}{self.service}.{self.namespace}"
        bare = (self.service,) if self.namespace == own_namespace and not self.hostname else ()
        return (*bare, short, f"{short}.svc", f"{short}.svc.{zone}")


def plan_upstreams(
    wish: Wish[tuple[WantedUpstream, ...]] | None, namespace: str, zone: str
) -> tuple[DialledUpstream, ...]:
    """Returns the upstreams of a Pod in `namespace`, in the order of the wish.

    Raises RefusedError for a host that is not a Service's name, for too many of them, for what is written twice, and
    for a name of two meanings.
    """
    if wish is None:
        return ()
    addresses: dict[_Target, str] = {}
    planned = []
    for wanted in wish.value:
        target = _find_target(wanted.host, namespace, zone)
        if target is None:
            forms = f"svc, svc.ns, svc.ns.svc or svc.ns.svc.{zone}, with a pod's hostname before it where there is a ns"
            raise wish.build_refusal(f"hosts of the form {forms}; but not {quote(str(wanted))}")
        if target not in addresses:
            if len(addresses) == len(_ADDRESSES):
                raise wish.build_refusal(f"at most {len(_ADDRESSES)} hosts")
            addresses[target] = _ADDRESSES[len(addresses)]
        names = target.list_names(namespace, zone)
        upstream = Upstream(addresses[target], wanted.port, names[-1], wanted.remote_port)
        planned.append(DialledUpstream(upstream, names))
    _check_doubled(wish, planned)
    return tuple(planned)


def build_host_aliases(planned: Iterable[DialledUpstream]) -> list[dict[str, Any]]:
    """Returns the entries of spec.hostAliases, one for each address."""
    names = {dialled.upstream.address: dialled.names for dialled in planned}
    return [{"ip": address, "hostnames": list(hostnames)} for address, hostnames in names.items()]


def is_upstream_address(text: object) -> bool:
    """Whether `text` is an address in 127.0.1.0/24, in any spelling that kubelet would accept."""
    return isinstance(text, str) and _UPSTREAM_ADDRESS.fullmatch(text) is not None


def _find_target(host: str, namespace: str, zone: str) -> _Target | None:
    stem = host.removesuffix(f".svc.{zone}")
    if stem == host:
        # With the search list of a pod, `payments.svc` alone is the Service payments of a namespace named svc.
        stem = host.removesuffix(".svc") if host.count(".") > 1 else host
    labels = stem.split(".")
    # The hosts file has a meaning for `localhost` already, and a Service of this name could be dialled by it alone.
    if host == "localhost" or labels[-2:-1] == ["localhost"]:
        return None
    if len(f"{stem}.svc.{zone}") > LONGEST_NAME:
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


def _check_doubled(wish: Wish[tuple[WantedUpstream, ...]], planned: Iterable[DialledUpstream]) -> None:
    seen: set[tuple[str, int]] = set()
    owners: dict[str, str] = {}
    for dialled in planned:
        host, port = dialled.upstream.host, dialled.upstream.port
        if (host, port) in seen:
            raise wish.build_refusal(f"each host and port once, but {host}:{port} is written twice")
        seen.add((host, port))
        for name in dialled.names:
            if owners.setdefault(name, host) != host:
                raise RefusedError(f"annotation {UPSTREAMS}: {name} would mean both {owners[name]} and {host}")
