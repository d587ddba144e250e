"""The environment and command line that a Pod gives a container. Pure: where values are looked up is an argument.

Source: Kubernetes "Define Environment Variables", "Downward API"; its third_party/forked/golang/expansion.
"""

import base64
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from lab.sandbox.errors import ContainerError, NotFoundError
from lab.sandbox.state import ClusterState, Manifest

_REFERENCE: Final = re.compile(r"\$(?:\$|\(([^()]*)\))")
_SUBSCRIPT: Final = re.compile(r"metadata\.(labels|annotations)\['([^']*)'\]")
_PATH: Final = "/opt/podtls/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class Place:
    """What the downward API tells a pod of where it runs, beyond what its manifest says."""

    pod_address: str
    node_address: str


def build(container: Manifest, pod: Manifest, place: Place, state: ClusterState) -> dict[str, str]:
    """The environment of a container: image's, Services', envFrom's, then env's, in order.

    Raises ContainerError naming the variable that has no value.
    """
    spec = pod["spec"]
    environment = {"PATH": _PATH, "HOME": "/", "HOSTNAME": hostname(pod)}
    environment |= _service_links(state.services())
    for source in container.get("envFrom") or []:
        environment |= _from_source(source, pod, state)
    for variable in container.get("env") or []:
        name = variable["name"]
        if "valueFrom" not in variable:
            environment[name] = expand(variable.get("value") or "", environment)
            continue
        try:
            value = _value_from(variable["valueFrom"], pod, place, state)
        except (NotFoundError, KeyError) as error:
            container_name = f"{pod['metadata']['name']}/{container['name']} ({spec.get('serviceAccountName', '')})"
            raise ContainerError(f"container {container_name}: env {name}: {error} not found") from error
        if value is not None:
            environment[name] = value
    return environment


def expand(text: str, environment: Mapping[str, str]) -> str:
    """Replace $(NAME) by its value; `$$` is a dollar, and an unknown name stays as it is written."""

    def replace(found: re.Match[str]) -> str:
        if found[1] is None:
            return "$"
        return environment.get(found[1], found[0])

    return _REFERENCE.sub(replace, text)


def command_line(container: Manifest, environment: Mapping[str, str]) -> list[str]:
    """`command`, then `args`. Raises ContainerError without `command`: where no image is, no entrypoint is."""
    command = container.get("command") or []
    if not command:
        raise ContainerError(
            f"container {container['name']}: no `command`. The demo runs this machine's programs, not the image"
            f" {container.get('image', '')!r}, so the manifest must say which"
        )
    return [expand(part, environment) for part in (*command, *(container.get("args") or []))]


def field(pod: Manifest, path: str, place: Place) -> str:
    """A field of the downward API. Raises KeyError for an unknown one."""
    if found := _SUBSCRIPT.fullmatch(path):
        return str((pod["metadata"].get(found[1]) or {}).get(found[2], ""))
    if path in {"metadata.labels", "metadata.annotations"}:
        entries = pod["metadata"].get(path.partition(".")[2]) or {}
        return "\n".join(f'{key}="{_escape(value)}"' for key, value in sorted(entries.items()))
    return str(_FIELDS[path](pod, place))


def hostname(pod: Manifest) -> str:
    """What the pod calls itself: spec.hostname, else its name."""
    return str(pod["spec"].get("hostname") or pod["metadata"]["name"])


_FIELDS: Final[Mapping[str, Callable[[Manifest, Place], Any]]] = {
    "metadata.name": lambda pod, _: pod["metadata"]["name"],
    "metadata.namespace": lambda pod, _: pod["metadata"]["namespace"],
    "metadata.uid": lambda pod, _: pod["metadata"].get("uid", ""),
    "spec.nodeName": lambda pod, _: pod["spec"].get("nodeName", ""),
    "spec.serviceAccountName": lambda pod, _: pod["spec"].get("serviceAccountName") or "default",
    "status.hostIP": lambda _, place: place.node_address,
    "status.hostIPs": lambda _, place: place.node_address,
    "status.podIP": lambda _, place: place.pod_address,
    "status.podIPs": lambda _, place: place.pod_address,
}


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _service_links(services: Iterable[Manifest]) -> dict[str, str]:
    """KUBERNETES_SERVICE_HOST and _PORT, by which clients in the pod find the API server; nobody needs other links."""
    for service in services:
        if (service["metadata"]["namespace"], service["metadata"]["name"]) == ("default", "kubernetes"):
            address, port = service["spec"]["clusterIP"], str(service["spec"]["ports"][0]["port"])
            return {
                "KUBERNETES_SERVICE_HOST": address,
                "KUBERNETES_SERVICE_PORT": port,
                "KUBERNETES_SERVICE_PORT_HTTPS": port,
            }
    return {}


def _from_source(source: Manifest, pod: Manifest, state: ClusterState) -> dict[str, str]:
    namespace, prefix = pod["metadata"]["namespace"], source.get("prefix") or ""
    reference = source.get("configMapRef") or source["secretRef"]
    try:
        if "configMapRef" in source:
            data = state.config_map(namespace, reference["name"]).get("data") or {}
        else:
            data = _decoded(state.secret(namespace, reference["name"]))
    except NotFoundError as error:
        if reference.get("optional"):
            return {}
        raise ContainerError(f"pod {pod['metadata']['name']}: envFrom {reference['name']}: not found") from error
    return {prefix + key: value for key, value in data.items()}


def _value_from(source: Manifest, pod: Manifest, place: Place, state: ClusterState) -> str | None:
    """The value; None where an optional key is missing. Raises KeyError or NotFoundError."""
    if "fieldRef" in source:
        return field(pod, source["fieldRef"]["fieldPath"], place)
    if "configMapKeyRef" not in source and "secretKeyRef" not in source:
        raise ContainerError(f"pod {pod['metadata']['name']}: the demo does not support {next(iter(source))}")
    reference = source.get("configMapKeyRef") or source["secretKeyRef"]
    namespace = pod["metadata"]["namespace"]
    try:
        if "configMapKeyRef" in source:
            return str(state.config_map(namespace, reference["name"])["data"][reference["key"]])
        return _decoded(state.secret(namespace, reference["name"]))[reference["key"]]
    except (NotFoundError, KeyError):
        if reference.get("optional"):
            return None
        raise


def _decoded(secret: Manifest) -> dict[str, str]:
    return {key: base64.b64decode(value).decode() for key, value in (secret.get("data") or {}).items()}
