"""Services of enrolled pods that still lead to a plaintext port, and pods that nobody could create. Pure."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from injector import contract
from podtls.cluster.raw_pods import environment, is_finished, labels, tls_ports
from podtls.cluster.reader import Object
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
class FailedCreate:
    """What a controller was told when it tried to create a pod, the last time."""

    namespace: str
    owner: str
    times: int
    last: str
    message: str


def plaintext_ports(service: Object, enrolled: Iterable[Object]) -> Iterator[PlaintextPort]:
    """The TCP ports of a Service that lead to a port of its enrolled pods on which podtls does not listen."""
    spec = service["spec"]
    selector = spec.get("selector") or {}
    pods = [pod for pod in enrolled if selector and not is_finished(pod) and _selects(selector, pod)]
    if not pods or spec.get("type") == "ExternalName":
        return
    for port in spec.get("ports") or []:
        target = port.get("targetPort", port["port"])
        behind = [pod for pod in pods if not _is_tls(target, pod)]
        # A name of ours leads nowhere in a pod that has no such port; only where no pod has it somebody erred.
        if _is_reserved(target) and len(behind) < len(pods):
            continue
        if port.get("protocol", "TCP") == "TCP" and behind:
            yield PlaintextPort(
                namespace=service["metadata"]["namespace"],
                service=service["metadata"]["name"],
                port=port["port"],
                target=str(target),
                do=_advice(target, behind[0]),
            )


def failed_creates(events: Iterable[Object]) -> list[FailedCreate]:
    """The last event of each owner, in the order of time."""
    latest: dict[str, FailedCreate] = {}
    for event in sorted(events, key=_last):
        involved = event["involvedObject"]
        if event.get("reason") == "FailedCreate" and involved.get("kind") in _KINDS:
            owner = f"{involved['kind']}/{involved['name']}"
            times = (event.get("series") or {}).get("count") or event.get("count") or 1
            # A Job's or ReplicaSet's message has the drawn name of the pod in it, so its tries are events of their own.
            before = latest.pop(owner, None)
            total = times + (before.times if before else 0)
            message = event.get("message", "")
            latest[owner] = FailedCreate(event["metadata"]["namespace"], owner, total, _last(event), message)
    return list(latest.values())


def _last(event: Object) -> str:
    series = (event.get("series") or {}).get("lastObservedTime")
    return series or event.get("lastTimestamp") or event.get("eventTime") or ""


def _selects(selector: dict[str, str], pod: Object) -> bool:
    return selector.items() <= labels(pod).items()


def _is_tls(target: int | str, pod: Object) -> bool:
    ports = tls_ports(pod)
    return target in ports if isinstance(target, str) else target in ports.values()


def _is_reserved(target: int | str) -> bool:
    return isinstance(target, str) and RESERVED_NAME.fullmatch(target) is not None


def _advice(target: int | str, pod: Object) -> str:
    """The port name that stands for the app's port; a Service may name a port of any container."""
    if _is_reserved(target):
        return f"no pod has a port of this name; they have {', '.join(tls_ports(pod)) or 'none'}"
    containers = [*(pod["spec"].get("initContainers") or []), *pod["spec"]["containers"]]
    named = {port.get("name"): port["containerPort"] for each in containers for port in each.get("ports") or []}
    app_port = target if isinstance(target, int) else named.get(target)
    by_number = {number: name for name, number in tls_ports(pod).items()}
    for pair in filter(None, environment(pod).get(contract.ENV_PORTS, "").split(",")):
        tls, _, app = pair.partition("=")
        if app == str(app_port) and int(tls) in by_number:
            return f"set targetPort: {by_number[int(tls)]}"
    return f"no TLS port stands for it; list it in the pod's annotation {contract.PORTS}"
