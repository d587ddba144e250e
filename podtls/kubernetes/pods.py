"""What podtls added to a pod, read from its raw JSON. Predicates and parts, no judgement."""

from typing import Final

from contract.names import INIT_CONTAINER, INJECTED, SIDECAR_CONTAINER, STATUS
from contract.status_annotation import read_record_id
from podtls.kubernetes.objects import Object, annotations_of, labels_of

MANAGED_CONTAINERS: Final = (INIT_CONTAINER, SIDECAR_CONTAINER)
_FINISHED: Final = ("Succeeded", "Failed")


def is_finished(pod: Object) -> bool:
    """Whether it has ended, so that it serves nobody and gets no certificate."""
    return (pod.get("status") or {}).get("phase") in _FINISHED


def is_injected(pod: Object) -> bool:
    """Whether it has both managed containers and the label; without any of them the CA refuses it."""
    return labels_of(pod).get(INJECTED) == "true" and all(find_container(pod, name) for name in MANAGED_CONTAINERS)


def read_tls_ports(pod: Object) -> dict[str, int]:
    """The ports on which the sidecar speaks TLS, by their names."""
    ports = find_container(pod, SIDECAR_CONTAINER).get("ports") or []
    return {port.get("name", ""): port["containerPort"] for port in ports}


def read_environment(pod: Object) -> dict[str, str]:
    """The environment of podtls-init, where it is written as values."""
    variables = find_container(pod, INIT_CONTAINER).get("env") or []
    return {variable["name"]: variable.get("value", "") for variable in variables}


def record_id_of(pod: Object) -> str:
    """The id of the record that podtls.io/status names; empty where it names none."""
    return read_record_id(annotations_of(pod).get(STATUS))


def find_container(pod: Object, name: str) -> Object:
    """The init container of this name; empty where there is none."""
    return next((each for each in pod["spec"].get("initContainers") or [] if each["name"] == name), {})
