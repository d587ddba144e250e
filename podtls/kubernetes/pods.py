"""Reading a pod as raw JSON: what ours are in it. Predicates and parts, no judgement."""

from typing import Final

from contract.names import INIT_CONTAINER, INJECTED, SIDECAR_CONTAINER, STATUS
from contract.status_annotation import read_record_id
from podtls.kubernetes.reader import Object

OURS: Final = (INIT_CONTAINER, SIDECAR_CONTAINER)
_FINISHED: Final = ("Succeeded", "Failed")


def is_finished(pod: Object) -> bool:
    """Whether it has ended: it serves nobody, and the CA gives it nothing."""
    return (pod.get("status") or {}).get("phase") in _FINISHED


def is_injected(pod: Object) -> bool:
    """Whether it has both of our containers and our label; without one of them the CA refuses it."""
    return labels(pod).get(INJECTED) == "true" and all(container(pod, name) for name in OURS)


def tls_ports(pod: Object) -> dict[str, int]:
    """The ports on which our sidecar speaks TLS, by their names."""
    ports = container(pod, SIDECAR_CONTAINER).get("ports") or []
    return {port.get("name", ""): port["containerPort"] for port in ports}


def environment(pod: Object) -> dict[str, str]:
    """The environment of podtls-init, where it is written as values."""
    variables = container(pod, INIT_CONTAINER).get("env") or []
    return {variable["name"]: variable.get("value", "") for variable in variables}


def record(pod: Object) -> str:
    """The id of the record that it names; empty where podtls.io/status names none."""
    return read_record_id(annotations(pod).get(STATUS))


def container(pod: Object, name: str) -> Object:
    """The init container of this name; empty where there is none."""
    return next((each for each in pod["spec"].get("initContainers") or [] if each["name"] == name), {})


def labels(pod: Object) -> dict[str, str]:
    """Its labels."""
    return pod["metadata"].get("labels") or {}


def annotations(pod: Object) -> dict[str, str]:
    """Its annotations."""
    return pod["metadata"].get("annotations") or {}
