"""Which ports of the Pod get TLS, and whether a port that we listen on is free. Pure; reads no JSON."""

import re
from collections.abc import Iterable
from typing import Final

from contract.names import FIRST_TLS_PORT, INIT_CONTAINER, PORT_NAME, PORTS, SIDECAR_CONTAINER, UPSTREAMS
from webhook.annotations import MAX_PORT, PortPair, parse_ports, refuse
from webhook.errors import RefusedError
from webhook.pods import Container, Pod
from webhook.upstreams import Upstream

UNPRIVILEGED: Final = 1024
# Far above any sensible pod: each costs Nginx two sockets, and the patch and its record some lines.
MAX_PAIRS: Final = 256
_SHOWN: Final = 10
# A port's name ends at 15 characters (IANA_SVC_NAME); what is longer the API server refuses, and we need not repeat.
RESERVED_NAME: Final = re.compile(rf"{PORT_NAME}(-[0-9]{{1,8}})?")
_OURS: Final = (INIT_CONTAINER, SIDECAR_CONTAINER)


def port_pairs(pod: Pod, upstreams: Iterable[Upstream]) -> tuple[PortPair, ...]:
    """Returns what podtls.io/ports says, else a free TLS port for every TCP containerPort of the app containers.

    Raises RefusedError where a port is not the Pod's, or somebody uses it already.
    """
    dialled = {upstream.port for upstream in upstreams}
    written = parse_ports(pod.annotations)
    used = {number for container in foreign_containers(pod) for number in _numbers(container, protocols=None)}
    _check_dialled(pod, dialled)
    if written is None:
        return _default_pairs(pod, used | dialled)
    _check_written(pod, written, used=used, dialled=dialled)
    return written


def privileged_ports(pairs: Iterable[PortPair], upstreams: Iterable[Upstream]) -> list[int]:
    """Returns the ports below 1024 on which Nginx, which is not root, has to listen."""
    listening = [*(pair.tls for pair in pairs), *(upstream.port for upstream in upstreams)]
    return sorted({port for port in listening if port < UNPRIVILEGED})


def foreign_containers(pod: Pod) -> list[Container]:
    """Returns all containers of the Pod that are not ours."""
    return [*pod.containers, *(container for container in pod.init_containers if container.name not in _OURS)]


def _default_pairs(pod: Pod, used: set[int]) -> tuple[PortPair, ...]:
    app_ports = dict.fromkeys(number for container in pod.containers for number in _numbers(container))
    free = (port for port in range(FIRST_TLS_PORT, MAX_PORT + 1) if port not in used)
    pairs = tuple(PortPair(tls, app) for app, tls in zip(app_ports, free, strict=False))
    if len(app_ports) > MAX_PAIRS:
        raise RefusedError(
            f"the pod has {len(app_ports)} TCP ports, and at most {MAX_PAIRS} get TLS; "
            f"choose some with annotation {PORTS}"
        )
    if len(pairs) < len(app_ports):
        raise RefusedError(f"the pod has {len(app_ports)} TCP ports, more than there are free ports for TLS")
    return pairs


def _check_written(pod: Pod, written: tuple[PortPair, ...], *, used: set[int], dialled: set[int]) -> None:
    value = pod.annotations[PORTS] or ""
    own = {number for container in foreign_containers(pod) for number in _numbers(container)}
    for pair in written:
        if pair.app not in own:
            more = ", ..." if len(own) > _SHOWN else ""
            known = ", ".join(str(number) for number in sorted(own)[:_SHOWN]) + more or "none"
            raise refuse(PORTS, value, f"app ports that are TCP containerPorts of the pod ({known})")
        if pair.tls in used:
            raise refuse(PORTS, value, f"TLS ports that no container uses, but {pair.tls} is used")
        if pair.tls in dialled:
            raise refuse(PORTS, value, f"TLS ports that are no port of {UPSTREAMS}, but {pair.tls} is")


def _check_dialled(pod: Pod, dialled: set[int]) -> None:
    # An app listens on all addresses, so Nginx could not listen on the same port of 127.0.1.N.
    own = {number for container in foreign_containers(pod) for number in _numbers(container)}
    if collision := sorted(dialled & own):
        value = pod.annotations[UPSTREAMS] or ""
        raise refuse(UPSTREAMS, value, f"ports that no container listens on, but {collision[0]} is the pod's own")


def _numbers(container: Container, *, protocols: tuple[str, ...] | None = ("TCP",)) -> list[int]:
    return [
        port.container_port
        for port in container.ports or []
        if port.container_port is not None
        and 1 <= port.container_port <= MAX_PORT
        and (protocols is None or (port.protocol or "TCP") in protocols)
    ]


def reserved_port_names(container: Container) -> list[str]:
    """Returns the port names of a container that only ours may have."""
    return [port.name for port in container.ports or [] if port.name and RESERVED_NAME.fullmatch(port.name)]
