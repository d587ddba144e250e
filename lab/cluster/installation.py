"""podtls's own manifests, rendered by real `kubectl kustomize`, and what of them the programs on this machine need.

Without a kubelet nobody runs our pods, so their programs run as processes here (`podtls_local.py`). The objects stay as
shipped, with one exception: the API server has to reach a port of loopback instead of a Service's pods.
"""

import copy
import json
import os
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from contract.names import SYSTEM_NAMESPACE, WEBHOOK_CONFIGURATION
from lab.cluster.binaries import binary
from lab.cluster.cluster import Cluster

MANIFESTS = Path(__file__).parents[2] / "manifests"
NAMESPACE = SYSTEM_NAMESPACE
CONFIGURATION = WEBHOOK_CONFIGURATION
CONFIGURATIONS = ("MutatingWebhookConfiguration", "ValidatingWebhookConfiguration")

Object = dict[str, Any]


def render(folder: Path = MANIFESTS / "overlays/default") -> list[Object]:
    """What `kubectl kustomize` makes of a folder; subprocess.CalledProcessError when it refuses."""
    objects: list[Object] = copy.deepcopy(_rendered(folder)) if folder.is_relative_to(MANIFESTS) else _render(folder)
    return objects


@cache
def _rendered(folder: Path) -> list[Object]:
    return _render(folder)


def _render(folder: Path) -> list[Object]:
    # Components outside of their root's folder are read only when that is allowed; ours are all inside.
    answer = subprocess.run(
        [binary("kubectl"), "kustomize", str(folder)], capture_output=True, text=True, check=True, timeout=60
    )
    return [each for each in yaml.safe_load_all(answer.stdout) if each is not None]


def on_local_ports(objects: list[Object], port: int) -> list[Object]:
    """The objects with webhook configurations that name this port: of an ExternalName the API server takes no other."""
    changed = copy.deepcopy(objects)
    for each in changed:
        if each["kind"] in CONFIGURATIONS:
            for entry in each["webhooks"]:
                entry["clientConfig"]["service"]["port"] = port
    return changed


def leading_to_loopback(service: Object) -> Object:
    """A Service of ours as the name of this machine: the API server dials it without kube-proxy."""
    spec = {"type": "ExternalName", "externalName": "localhost", "ports": service["spec"]["ports"]}
    return {**service, "spec": spec}


def find(objects: list[Object], kind: str, name: str) -> Object:
    """The one object of this kind and name."""
    (found,) = [each for each in objects if (each["kind"], each["metadata"]["name"]) == (kind, name)]
    return found


def environment(objects: list[Object], kind: str, name: str, *, container: str, pod: str) -> dict[str, str]:
    """What the kubelet would set in a container of our workload: values, and fields of the pod."""
    spec = find(objects, kind, name)["spec"]["template"]["spec"]
    (found,) = [each for each in (*spec.get("initContainers", ()), *spec["containers"]) if each["name"] == container]
    fields = {
        "metadata.name": pod,
        "metadata.namespace": NAMESPACE,
        "spec.serviceAccountName": spec["serviceAccountName"],
    }
    variables = {}
    for variable in found["env"]:
        reference = variable.get("valueFrom", {}).get("fieldRef")
        if "value" in variable or reference:
            variables[variable["name"]] = variable.get("value") or fields[reference["fieldPath"]]
    return variables


def account_kubeconfig(cluster: Cluster, account: str, path: Path) -> Path:
    """A kubeconfig that holds nothing but a token of one of our ServiceAccounts, as the pod's own would be."""
    token = cluster.kubectl("create", "token", account, "--namespace", NAMESPACE, "--duration=1h").strip()
    config = json.loads(cluster.kubeconfig.read_text())
    config["users"] = [{"name": "user", "user": {"token": token}}]
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(config, file)
    return path
