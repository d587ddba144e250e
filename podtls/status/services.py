"""Services of enrolled pods that lead to a plaintext port, and pods that could not be created. Pure."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from contract.errors import GrammarError
from contract.grammar import PortPair, parse_port_pairs
from contract.names import ENV_PORTS, PORTS
from podtls.kubernetes.objects import Object, labels_of, name_of
from podtls.kubernetes.pods import read_environment, read_tls_ports
from webhook.ports import RESERVED_NAME

_KINDS: Final = ("ReplicaSet", "Job", "StatefulSet", "DaemonSet", "ReplicationController")


@dataclass(frozen=True, slots=True)
class PlaintextPort:
    """A TCP port of a Service that leads to enrolled pods, but to no port on which podtls speaks TLS."""

    namespace: str
    service: str
    port: int
    target: str
    do: str


@dataclass(frozen=True, slots=True)
class ServiceBackend:
    """What find_plaintext_ports() needs of an enrolled pod: a cluster has too many pods to keep them whole.

    `tls_ports` and `named_ports` are numbers by name, `pairs` is what the sidecar listens for.
    """

    labels: dict[str, str]
    tls_ports: dict[str, int]
    named_ports: dict[str, int]
    pairs: tuple[PortPair, ...]


@dataclass(frozen=True, slots=True)
class FailedCreate:
    """What the API server told a controller when it last tried to create a pod."""

    namespace: str
    owner: str
    times: int
    last: str
    message: str


def read_backend(pod: Object) -> ServiceBackend:
    """The backend that an enrolled pod is. A Service may name a port of any container."""
    containers = [*(pod["spec"].get("initContainers") or []), *pod["spec"]["containers"]]
    ports = [port for each in containers for port in each.get("ports") or []]
    return ServiceBackend(
        labels=labels_of(pod),
        tls_ports=read_tls_ports(pod),
        named_ports={port["name"]: port["containerPort"] for port in ports if port.get("name")},
        pairs=_parse_port_pairs(read_environment(pod).get(ENV_PORTS, "")),
    )


def find_plaintext_ports(service: Object, enrolled: Iterable[ServiceBackend]) -> Iterator[PlaintextPort]:
    """The TCP ports of a Service that lead to a port of its enrolled, running pods on which podtls does not listen."""
    spec = service["spec"]
    selector = spec.get("selector") or {}
    pods = [pod for pod in enrolled if selector and selector.items() <= pod.labels.items()]
    if not pods or spec.get("type") == "ExternalName":
        return
    for port in spec.get("ports") or []:
        target = port.get("targetPort", port["port"])
        behind = [pod for pod in pods if not _is_tls(target, pod)]
        # In a pod without such a port a reserved name leads nowhere. It is wrong only if no pod has the port.
        if _is_reserved(target) and len(behind) < len(pods):
            continue
        if port.get("protocol", "TCP") == "TCP" and behind:
            yield PlaintextPort(
                namespace=service["metadata"]["namespace"],
                service=name_of(service),
                port=port["port"],
                target=str(target),
                do=_advise(target, behind[0]),
            )


def summarize_failed_creates(events: Iterable[Object]) -> list[FailedCreate]:
    """The last event of each owner, in order of time."""
    latest: dict[str, FailedCreate] = {}
    for event in sorted(events, key=_last_time):
        involved = event["involvedObject"]
        if event.get("reason") == "FailedCreate" and involved.get("kind") in _KINDS:
            owner = f"{involved['kind']}/{involved['name']}"
            times = (event.get("series") or {}).get("count") or event.get("count") or 1
            # A Job's or ReplicaSet's message has the generated name of the pod, so each of its tries is one event.
            before = latest.pop(owner, None)
            total = times + (before.times if before else 0)
            message = event.get("message", "")
            latest[owner] = FailedCreate(event["metadata"]["namespace"], owner, total, _last_time(event), message)
    return list(latest.values())


def _parse_port_pairs(text: str) -> tuple[PortPair, ...]:
    """The pairs in the sidecar's environment; none where it has none, or somebody changed it."""
    try:
        return parse_port_pairs(text)
    except GrammarError:
        return ()


def _last_time(event: Object) -> str:
    series = (event.get("series") or {}).get("lastObservedTime")
    return series or event.get("lastTimestamp") or event.get("eventTime") or ""


def _is_tls(target: int | str, pod: ServiceBackend) -> bool:
    return target in pod.tls_ports if isinstance(target, str) else target in pod.tls_ports.values()


def _is_reserved(target: int | str) -> bool:
    return isinstance(target, str) and RESERVED_NAME.fullmatch(target) is not None


def _advise(target: int | str, pod: ServiceBackend) -> str:
    """The name of the TLS port in front of the app's port."""
    if _is_reserved(target):
        return f"no pod has a port of this name; they have {', '.join(pod.tls_ports) or 'none'}"
    app_port = target if isinstance(target, int) else pod.named_ports.get(target)
    by_number = {number: name for name, number in pod.tls_ports.items()}
    for pair in pod.pairs:
        if pair.app == app_port and pair.tls in by_number:
            return f"set targetPort: {by_number[pair.tls]}"
    return f"it has no TLS port; list it in the pod's annotation {PORTS}"
