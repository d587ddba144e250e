"""Which ports of the Pod get TLS, by wish or by containerPort. Raises where a port is not free. Pure."""

import re
from collections.abc import Iterable
from typing import Final

from contract.grammar import LARGEST_PORT, PortPair
from contract.names import FIRST_TLS_PORT, PORT_NAME, PORTS, UPSTREAMS
from webhook.errors import RefusedError
from webhook.managed import RESERVED_CONTAINERS
from webhook.pods import Container, Pod
from webhook.upstreams import DialledUpstream
from webhook.wishes import Wish, Wishes

UNPRIVILEGED: Final = 1024
# Lets Nginx, which is not root, listen on ports below 1024.
SYSCTL: Final = "net.ipv4.ip_unprivileged_port_start"
# Far above any sensible pod: each costs Nginx two sockets, and the patch and its record some lines.
MAX_PAIRS: Final = 256
_SHOWN: Final = 10
# A port's name has at most 15 characters (IANA_SVC_NAME); the API server refuses a longer one, so we need not.
RESERVED_NAME: Final = re.compile(rf"{PORT_NAME}(-[0-9]{{1,8}})?")


def choose_ports(pod: Pod, wishes: Wishes, upstreams: Iterable[DialledUpstream]) -> tuple[PortPair, ...]:
    """Returns the wished port pairs, else a free TLS port for every TCP containerPort of the app containers.

    Raises RefusedError where a port does not belong to the Pod, or is used already.
    """
    listening = _list_ports(find_foreign_containers(pod))
    dialled = {dialled.upstream.port for dialled in upstreams}
    own = {number for number, protocol in listening if protocol == "TCP"}
    used = {number for number, _ in listening}
    # An app listens on all addresses, so Nginx could not listen on the same port of 127.0.1.N.
    if wishes.upstreams and (collision := sorted(dialled & own)):
        raise wishes.upstreams.build_refusal(f"ports that no container listens on, but {collision[0]} is the pod's own")
    if wishes.ports is None:
        return _choose_default_pairs(pod, used | dialled)
    _check_wish(wishes.ports, own=own, used=used, dialled=dialled)
    return wishes.ports.value


def find_privileged_ports(pairs: Iterable[PortPair], upstreams: Iterable[DialledUpstream]) -> list[int]:
    """Returns the ports below 1024 on which Nginx has to listen, the lowest first."""
    listening = [*(pair.tls for pair in pairs), *(dialled.upstream.port for dialled in upstreams)]
    return sorted({port for port in listening if port < UNPRIVILEGED})


def find_port_sysctl(pod: Pod) -> str | None:
    """Returns the value of the sysctl for privileged ports that the Pod has already, None where it has none."""
    # https://kubernetes.io/docs/tasks/administer-cluster/sysctl-cluster/: slashes mean the same as dots.
    found = (sysctl.value or "" for sysctl in pod.sysctls if (sysctl.name or "").replace("/", ".") == SYSCTL)
    return next(found, None)


def find_foreign_containers(pod: Pod) -> list[Container]:
    """Returns the containers of the Pod that podtls does not manage."""
    inits = (container for container in pod.init_containers if container.name not in RESERVED_CONTAINERS)
    return [*pod.containers, *inits]


def find_reserved_port_names(container: Container) -> list[str]:
    """Returns the port names of a container that only podtls may use."""
    return [port.name for port in container.ports or [] if port.name and RESERVED_NAME.fullmatch(port.name)]


def _choose_default_pairs(pod: Pod, used: set[int]) -> tuple[PortPair, ...]:
    app_ports = dict.fromkeys(number for number, protocol in _list_ports(pod.containers) if protocol == "TCP")
    free = (port for port in range(FIRST_TLS_PORT, LARGEST_PORT + 1) if port not in used)
    pairs = tuple(PortPair(tls, app) for app, tls in zip(app_ports, free, strict=False))
    if len(app_ports) > MAX_PAIRS:
        raise RefusedError(
            f"the pod has {len(app_ports)} TCP ports, and at most {MAX_PAIRS} get TLS; "
            f"choose some with annotation {PORTS}"
        )
    if len(pairs) < len(app_ports):
        raise RefusedError(f"the pod has {len(app_ports)} TCP ports, more than there are free ports for TLS")
    return pairs


def _check_wish(wish: Wish[tuple[PortPair, ...]], *, own: set[int], used: set[int], dialled: set[int]) -> None:
    for pair in wish.value:
        if pair.app not in own:
            more = ", ..." if len(own) > _SHOWN else ""
            known = ", ".join(str(number) for number in sorted(own)[:_SHOWN]) + more or "none"
            raise wish.build_refusal(f"app ports that are TCP containerPorts of the pod ({known})")
        if pair.tls in used:
            raise wish.build_refusal(f"TLS ports that no container uses, but {pair.tls} is used")
        if pair.tls in dialled:
            raise wish.build_refusal(f"TLS ports that are not a port of {UPSTREAMS}, but {pair.tls} is")


def _list_ports(containers: Iterable[Container]) -> list[tuple[int, str]]:
    """Number and protocol of every containerPort that the API server would accept."""
    return [
        (port.container_port, port.protocol or "TCP")
        for container in containers
        for port in container.ports or ()
        if port.container_port is not None and 1 <= port.container_port <= LARGEST_PORT
    ]
