"""The controllers of the stand-in: the pods that a Deployment or StatefulSet becomes, and who creates them.

Source: pkg/controller/deployment and statefulset of Kubernetes, seen on a cluster.
Pure; admission and storage are elsewhere.
"""

import copy
import hashlib
import json
import uuid
from dataclasses import dataclass
from typing import Any, Final

from lab.sandbox.apiserver.store import NAME_LETTERS, Object
from lab.sandbox.apiserver.tokens import EXTRA, service_account_user
from lab.sandbox.errors import ManifestError

CONTROLLER_NAMESPACE: Final = "kube-system"
ADMIN: Final[dict[str, Any]] = {
    "username": "kubernetes-admin",
    "groups": ["kubeadm:cluster-admins", "system:authenticated"],
}


@dataclass(frozen=True, slots=True)
class PodRequest:
    """A request to create a pod: the pod as sent, and the userInfo of the caller."""

    pod: Object
    user_info: dict[str, Any]


def expand(workload: Object) -> tuple[PodRequest, ...]:
    """The pods that the controllers make of a stored Pod, Deployment or StatefulSet (with its uid).

    Raises ManifestError for any other kind.
    """
    match workload["kind"]:
        case "Pod":
            return (PodRequest(workload, ADMIN),)
        case "Deployment":
            return _deployment_pods(workload)
        case "StatefulSet":
            return _stateful_set_pods(workload)
        case kind:
            raise ManifestError(f"kind {kind}: the demo runs Pod, Deployment and StatefulSet")


def _deployment_pods(deployment: Object) -> tuple[PodRequest, ...]:
    template = deployment["spec"]["template"]
    template_hash = _hash(template)
    replica_set = f"{deployment['metadata']['name']}-{template_hash}"
    owner = _owner("ReplicaSet", replica_set, str(uuid.uuid4()))
    labels = {"pod-template-hash": template_hash}
    return tuple(
        PodRequest(
            _pod(deployment, owner, {"generateName": f"{replica_set}-"}, labels),
            controller_user("replicaset-controller"),
        )
        for _ in range(_replicas(deployment))
    )


def _stateful_set_pods(stateful_set: Object) -> tuple[PodRequest, ...]:
    name = stateful_set["metadata"]["name"]
    owner = _owner("StatefulSet", name, stateful_set["metadata"]["uid"])
    revision = f"{name}-{_hash(stateful_set['spec']['template'])}"
    return tuple(
        PodRequest(_stateful_pod(stateful_set, owner, revision, index), controller_user("statefulset-controller"))
        for index in range(_replicas(stateful_set))
    )


def _stateful_pod(stateful_set: Object, owner: Object, revision: str, index: int) -> Object:
    name = f"{stateful_set['metadata']['name']}-{index}"
    labels = {
        "apps.kubernetes.io/pod-index": str(index),
        "controller-revision-hash": revision,
        "statefulset.kubernetes.io/pod-name": name,
    }
    pod = _pod(stateful_set, owner, {"generateName": f"{stateful_set['metadata']['name']}-", "name": name}, labels)
    pod["spec"]["hostname"] = name
    if stateful_set["spec"].get("serviceName"):
        pod["spec"]["subdomain"] = stateful_set["spec"]["serviceName"]
    claims = [
        {
            "name": template["metadata"]["name"],
            "persistentVolumeClaim": {"claimName": f"{template['metadata']['name']}-{name}"},
        }
        for template in stateful_set["spec"].get("volumeClaimTemplates", [])
    ]
    pod["spec"]["volumes"] = claims + pod["spec"].get("volumes", [])
    return pod


def _pod(workload: Object, owner: Object, name: dict[str, str], labels: dict[str, str]) -> Object:
    template = copy.deepcopy(workload["spec"]["template"])
    metadata = template.get("metadata") or {}
    return {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {
            **name,
            "namespace": workload["metadata"]["namespace"],
            "labels": metadata.get("labels", {}) | labels,
            **({"annotations": metadata["annotations"]} if metadata.get("annotations") else {}),
            "ownerReferences": [owner],
        },
        "spec": template["spec"],
    }


def _owner(kind: str, name: str, uid: str) -> Object:
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "name": name,
        "uid": uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }


def controller_user(name: str) -> dict[str, Any]:
    """UserInfo of one of kube-controller-manager's controllers, each with its own service account's token."""
    user = service_account_user(CONTROLLER_NAMESPACE, name, str(uuid.uuid5(uuid.NAMESPACE_DNS, name)))
    return user | {"extra": {f"{EXTRA}credential-id": [f"JTI={uuid.uuid4()}"]}}


def _replicas(workload: Object) -> int:
    return int(workload["spec"].get("replicas", 1))


def _hash(template: Object) -> str:
    # The real one is FNV of Go's memory layout; that it is short, stable and made of these letters is all that shows.
    digest = hashlib.sha256(json.dumps(template, sort_keys=True).encode()).digest()
    return "".join(NAME_LETTERS[byte % len(NAME_LETTERS)] for byte in digest[:10])
