"""Asking kube-apiserver as a test does: objects exactly as written, warnings, refusals, and its audit log."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from typing import Any

from lab.cluster.binaries import binary
from lab.cluster.cluster import Cluster, kubectl_environment
from lab.cluster.errors import KubectlError
from lab.cluster.processes import wait_until

Object = dict[str, Any]

_PATHS = {
    "Pod": "/api/v1/namespaces/{}/pods",
    "Deployment": "/apis/apps/v1/namespaces/{}/deployments",
    "StatefulSet": "/apis/apps/v1/namespaces/{}/statefulsets",
    "DaemonSet": "/apis/apps/v1/namespaces/{}/daemonsets",
    "Job": "/apis/batch/v1/namespaces/{}/jobs",
    "CronJob": "/apis/batch/v1/namespaces/{}/cronjobs",
}
_MESSAGE = re.compile(r"^Error from server(?: \(\w+\))?: (?:admission webhook \"[^\"]+\" denied the request: )?")


def create(cluster: Cluster, namespace: str, raw: Object, *, dry_run: bool = False) -> Object:
    """POST an object as it is written, past kubectl's own ideas of it; returns it as stored. KubectlError."""
    path = _PATHS[raw["kind"]].format(namespace) + ("?dryRun=All" if dry_run else "")
    written = {**raw, "metadata": {**raw.get("metadata", {}), "namespace": namespace}}
    stored = json.loads(cluster.kubectl("create", "--raw", path, "-f", "-", input=json.dumps(written)))
    assert isinstance(stored, dict)
    return stored


def refusal(cluster: Cluster, namespace: str, raw: Object) -> str:
    """Why the API server refuses to create the object, as kubectl prints it; empty where it does not."""
    try:
        create(cluster, namespace, raw, dry_run=True)
    except KubectlError as error:
        return str(error)
    return ""


def message(refused: str) -> str:
    """What a refusal says, without who says it."""
    return _MESSAGE.sub("", refused)


def stderr_of(cluster: Cluster, *arguments: str, input: str) -> str:  # noqa: A002  (the name subprocess uses)
    """What kubectl prints beside its answer, warnings for one. KubectlError."""
    environment = {**os.environ, **kubectl_environment(cluster)}
    answer = subprocess.run(
        [binary("kubectl"), *arguments], input=input, env=environment, capture_output=True, text=True, check=False
    )
    if answer.returncode:
        raise KubectlError(answer.stderr.strip())
    return answer.stderr


def audited(cluster: Cluster, uid: str) -> Object:
    """What the API server's audit log holds of the request that created the object of this uid."""
    wait_until("the audit log has the object", lambda: any(_creations(cluster, uid)), seconds=20)
    (event,) = _creations(cluster, uid)
    return event


def creations(cluster: Cluster, text: str) -> Iterator[Object]:
    """What the API server's audit log holds of creations of pods, where this text (uid, namespace) stands in it."""
    for line in cluster.audit_log.read_text().splitlines():
        # The last line may be half written. Most lines are no creations, and long.
        if text in line and '"verb":"create"' in line and line.endswith("}"):
            event = json.loads(line)
            reference = event.get("objectRef", {})
            if (event["verb"], reference.get("resource"), reference.get("subresource")) == ("create", "pods", None):
                yield event


def _creations(cluster: Cluster, uid: str) -> Iterator[Object]:
    for event in creations(cluster, uid):
        if event.get("responseObject", {}).get("metadata", {}).get("uid") == uid:
            yield event


def pod(name: str = "web", *, metadata: Object | None = None, ports: tuple[int, ...] = (8080,), **spec: Any) -> Object:
    """A small pod; without a node, so that nobody waits for a kubelet to end it."""
    container = {"name": "app", "image": "example.test/app:1", "ports": [{"containerPort": port} for port in ports]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, **(metadata or {})},
        "spec": {"containers": [container], **spec},
    }
