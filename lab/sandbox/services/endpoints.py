"""Which pods and ports are behind a Service, as the EndpointSlice controller decides it. Pure.

Source: Kubernetes "Service", "EndpointSlices"; named ports of native sidecars count since 1.33 (KEP-753).
"""

from collections.abc import Iterable, Sequence

from lab.sandbox.pods import lasting_containers
from lab.sandbox.state import Manifest
from podtls.kubernetes.selectors import matches


def is_headless(service: Manifest) -> bool:
    """Whether its name resolves to the pods themselves."""
    return bool(service["spec"].get("clusterIP") == "None")


def ready_pods(service: Manifest, pods: Iterable[Manifest]) -> list[Manifest]:
    """The pods that a Service sends to: chosen, with an address, not being deleted, and ready unless it wants all."""
    selector = service["spec"].get("selector") or {}
    wants_all = bool(service["spec"].get("publishNotReadyAddresses"))
    if not selector:
        return []
    return [
        pod
        for pod in pods
        if pod["metadata"]["namespace"] == service["metadata"]["namespace"]
        and matches({"matchLabels": selector}, pod["metadata"].get("labels") or {})
        and "deletionTimestamp" not in pod["metadata"]
        and (pod.get("status") or {}).get("podIP")
        and (wants_all or _is_ready(pod))
    ]


def backends(service: Manifest, port: Manifest, pods: Iterable[Manifest]) -> Sequence[tuple[str, int]]:
    """Address and port of each ready pod that has the Service port's targetPort; a name is looked up in each pod."""
    target = port.get("targetPort") or port["port"]
    found = ((pod["status"]["podIP"], _number(target, pod)) for pod in ready_pods(service, pods))
    return [(address, number) for address, number in found if number]


def _is_ready(pod: Manifest) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or []
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)


def _number(target: int | str, pod: Manifest) -> int:
    """The number of a targetPort in a pod, 0 when it has no port of that name."""
    if isinstance(target, int) or target.isdecimal():
        return int(target)
    for container in lasting_containers(pod["spec"]):
        for port in container.get("ports") or []:
            if port.get("name") == target:
                return int(port["containerPort"])
    return 0
