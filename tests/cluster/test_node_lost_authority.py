"""Root and issuing CA are gone, and nobody lends a hand: a new trust domain begins, and pods are admitted again."""

import base64

import pytest

from contract.names import ISSUING_SECRET, ROOT_SECRET
from lab.cluster.cluster import Cluster
from lab.cluster.errors import KubectlError
from lab.cluster.node import Node
from lab.cluster.podtls import NAMESPACE
from lab.cluster.processes import wait_until
from tests.cluster.workloads import container, drop, enrolled_namespace, is_enrolled, pod_spec, rolled_out

pytestmark = [pytest.mark.node, pytest.mark.timeout(600)]

AUTHORITY = (f"secret/{ROOT_SECRET}", f"secret/{ISSUING_SECRET}")


def test_a_lost_authority_is_replaced_and_pods_are_admitted_and_enrolled_again(enrolled_node: Node) -> None:
    cluster = enrolled_node.cluster
    namespace = enrolled_namespace(cluster, "lost")
    before = root(cluster)

    cluster.kubectl("delete", *AUTHORITY, "-n", NAMESPACE)
    wait_until("there is a new root", lambda: root(cluster) not in {b"", before}, seconds=60)
    refused = wait_for_refusal(cluster, namespace)
    # kubelet takes over a changed ConfigMap within a minute, or when it looks at the pod anyway.
    cluster.kubectl("annotate", "pods", "--all", "-n", NAMESPACE, "looked-at=now")
    wait_until("a pod is admitted", lambda: creation(cluster, namespace, "again") == "", seconds=240)

    assert "certificate signed by unknown authority" in refused
    cluster.kubectl("wait", "pod/again", "-n", namespace, "--for=condition=Ready", "--timeout=120s")
    assert is_enrolled(cluster.get("pod", "again", "-n", namespace))
    for workload in ("statefulset/podtls-webhook", "statefulset/podtls-ca"):
        rolled_out(cluster, NAMESPACE, workload)
    drop(cluster, namespace)


def root(cluster: Cluster) -> bytes:
    """The root's certificate as the pods are told; empty while there is none."""
    found = cluster.kubectl(
        "get", f"secret/{ROOT_SECRET}", "-n", NAMESPACE, "--ignore-not-found", "-o", "jsonpath={.data.tls\\.crt}"
    )
    return base64.b64decode(found)


def wait_for_refusal(cluster: Cluster, namespace: str) -> str:
    """What the first pod is refused with; until kube-apiserver sees the new caBundle, pods are admitted."""
    said: list[str] = []

    def is_refused() -> bool:
        said.append(creation(cluster, namespace, f"early-{len(said)}"))
        return bool(said[-1])

    wait_until("a pod is refused", is_refused, seconds=60)
    return said[-1]


def creation(cluster: Cluster, namespace: str, name: str) -> str:
    """Why a pod is not created; empty when it is."""
    meta = {"name": name, "namespace": namespace}
    spec = pod_spec(container("sleep", "3600", ports=(8080,)))
    try:
        cluster.apply({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec})
    except KubectlError as error:
        return str(error)
    return ""
