"""Which names a pod's certificate carries, decided from the live cluster alone. Pure: no clock, no API, no proof.

Nothing of a request comes in here: the names of a CSR are ignored (csr.py), and hostnameOverride is never read.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from ca.api.objects import Service
from ca.authority.leaf import LeafNames
from contract.dns import is_dns_name
from contract.identity import WorkloadIdentity

# One or two labels (`payments`, `payments.shop`) may be the name of another party in the outside world, so our
# certificates do not carry them.
_FEWEST_LABELS: Final = 3

_HEADLESS: Final = "None"  # spec.clusterIP of a Service without a virtual address
_EXTERNAL_NAME: Final = "ExternalName"


@dataclass(frozen=True, slots=True)
class PodFacts:
    """What a pod's names follow from, as the API server shows it. Says nothing about who asks: that is attest.py's."""

    identity: WorkloadIdentity
    labels: dict[str, str]
    hostname: str
    subdomain: str
    addresses: tuple[IPv4Address | IPv6Address, ...]


def decide_names(pod: PodFacts, services: Iterable[Service], zone: str) -> LeafNames:
    """The names of `pod`: its Services' names, its own name in a headless one, its address names. Raises nothing.

    A name that is not a DNS name of three labels or more is left out, never repaired.
    """
    found = {*_iterate_service_names(pod, services, zone), *_iterate_address_names(pod, zone)}
    return LeafNames(pod.identity, tuple(sorted(name for name in found if _is_allowed(name))))


def _iterate_service_names(pod: PodFacts, services: Iterable[Service], zone: str) -> Iterator[str]:
    for service in services:
        if not _selects(service, pod):
            continue
        name = f"{service.metadata.name}.{pod.identity.namespace}.svc"
        yield from (name, f"{name}.{zone}")
        # https://kubernetes.io/docs/concepts/services-networking/dns-pod-service/#pod-s-hostname-and-subdomain-fields
        if service.spec.cluster_ip == _HEADLESS and pod.hostname and pod.subdomain == service.metadata.name:
            yield from (f"{pod.hostname}.{name}", f"{pod.hostname}.{name}.{zone}")


def _selects(service: Service, pod: PodFacts) -> bool:
    # An ExternalName's selector is ignored by Kubernetes; an empty selector selects no pod (its endpoints are made
    # by hand), whatever the empty set of conditions would say.
    if service.spec.type == _EXTERNAL_NAME or not service.spec.selector:
        return False
    return service.spec.selector.items() <= pod.labels.items()


def _iterate_address_names(pod: PodFacts, zone: str) -> Iterator[str]:
    for address in pod.addresses:
        yield f"{_format_address(address)}.{pod.identity.namespace}.pod.{zone}"


def _format_address(address: IPv4Address | IPv6Address) -> str:
    # Kubernetes' DNS specification has 1-2-3-4 for IPv4. CoreDNS takes the compressed IPv6 form with dashes; a label
    # may not begin or end with one, so `::1` and `fd00::` get the zero that they left out.
    label = re.sub("[.:]", "-", str(address))
    return f"{'0' * label.startswith('-')}{label}{'0' * label.endswith('-')}"


def _is_allowed(name: str) -> bool:
    return name.count(".") >= _FEWEST_LABELS - 1 and is_dns_name(name)
