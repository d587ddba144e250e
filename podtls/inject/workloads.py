"""Finds the pods in Kubernetes objects: workloads with templates, Lists. Knows nothing of TLS.

https://kubernetes.io/docs/concepts/workloads/controllers/
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from podtls.errors import InputError

_TEMPLATE: Final = ("spec", "template")
# (API group, kind) -> where its pod is. A kind of the same name in another group (Volcano's Job) is passed over.
_PODS: Final[dict[tuple[str, str], tuple[str, ...]]] = {
    ("", "Pod"): (),
    ("", "ReplicationController"): _TEMPLATE,
    ("apps", "Deployment"): _TEMPLATE,
    ("apps", "StatefulSet"): _TEMPLATE,
    ("apps", "DaemonSet"): _TEMPLATE,
    ("apps", "ReplicaSet"): _TEMPLATE,
    ("batch", "Job"): _TEMPLATE,
    ("batch", "CronJob"): ("spec", "jobTemplate", "spec", "template"),
}


@dataclass(frozen=True, slots=True)
class DocumentWorkload:
    """A pod, or a template of pods, in a document: `path` leads to the object, `pod_path` from there to its pod."""

    kind: str
    name: str
    namespace: str
    path: tuple[str | int, ...]
    pod_path: tuple[str, ...]
    pod: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"


def find_workloads(value: Any, *, source: str, namespace: str) -> Iterator[DocumentWorkload]:
    """The workloads of a document; `namespace` is for those that name none.

    Raises InputError for a workload without a pod. Anything else is passed over.
    """
    for path, item in _iterate_objects(value, ()):
        pod_path = _PODS.get((_group(item), str(item.get("kind"))))
        if pod_path is None:
            continue
        metadata = item.get("metadata")
        named = metadata if isinstance(metadata, dict) else {}
        name = str(named.get("name") or named.get("generateName") or "(no name)")
        pod = _get_at(item, pod_path)
        if not isinstance(pod, dict) or not isinstance(pod.get("spec"), dict):
            missing = ".".join((*pod_path, "spec"))
            raise InputError(f"{source}: {item['kind']} {name}: {missing}: missing, expected the spec of a pod")
        yield DocumentWorkload(str(item["kind"]), name, str(named.get("namespace") or namespace), path, pod_path, pod)


def _iterate_objects(value: Any, path: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], dict[str, Any]]]:
    if not isinstance(value, dict):
        return
    kind, items = str(value.get("kind")), value.get("items")
    if not kind.endswith("List") or not isinstance(items, list):
        yield path, value
        return
    for index, item in enumerate(items):
        # In a list of one kind (DeploymentList) the items may leave out theirs.
        implied = {"apiVersion": value.get("apiVersion"), "kind": kind.removesuffix("List")}
        yield from _iterate_objects({**implied, **item} if isinstance(item, dict) else item, (*path, "items", index))


def _group(item: dict[str, Any]) -> str:
    return str(item.get("apiVersion")).rpartition("/")[0]


def _get_at(value: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value
