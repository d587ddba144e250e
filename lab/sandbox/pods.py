"""Which containers a Pod's manifest has: the few questions that API server, kubelet and proofs all ask. Pure."""

from collections.abc import Iterator

from lab.sandbox.state import Manifest


def containers(spec: Manifest) -> Iterator[Manifest]:
    """All containers of a pod's spec in the order of their start: init containers first."""
    yield from spec.get("initContainers") or []
    yield from spec.get("containers") or []


def is_sidecar(container: Manifest) -> bool:
    """Whether an init container is a native sidecar (KEP-753)."""
    return container.get("restartPolicy") == "Always"


def lasting_containers(spec: Manifest) -> list[Manifest]:
    """The containers that run as long as the pod does: sidecars and apps."""
    return [*filter(is_sidecar, spec.get("initContainers") or []), *spec["containers"]]
