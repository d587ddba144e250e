"""Copies by `kubectl debug` of a pod whose namespace has lost its label since: no webhook sees them, the CA does."""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.cluster.cluster import Cluster
from lab.cluster.node import Node
from lab.cluster.podtls import NAMESPACE
from lab.cluster.processes import wait_until
from tests.cluster.operator_command import says
from tests.cluster.workloads import (
    certificate,
    drop,
    enrolled_namespace,
    is_enrolled,
    pod_spec,
    server,
    service,
    status_record,
)

pytestmark = [pytest.mark.node, pytest.mark.timeout(600)]

EVIDENCE = "/var/log/podtls/evidence.jsonl"


@pytest.fixture(scope="module")
def cluster(enrolled_node: Node) -> Cluster:
    return enrolled_node.cluster


@pytest.fixture(scope="module")
def left(cluster: Cluster) -> Iterator[str]:
    """A namespace without the label, with a pod that was enrolled while it had it, and a Service of that pod."""
    namespace = enrolled_namespace(cluster, "left")
    # Nobody's pod: a ReplicaSet would take a copy with its labels for one of its own, and delete one too many.
    meta = {"name": "original", "namespace": namespace, "labels": {"app": "web"}}
    cluster.apply(
        service(namespace, "web", "web"),
        {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": pod_spec(server())},
    )
    wait_ready(cluster, namespace, "original")
    cluster.kubectl("label", "namespace", namespace, "podtls.io/inject-")
    yield namespace
    drop(cluster, namespace)


def test_copy_without_the_labels_is_refused_by_the_ca_and_starts_only_without_our_containers(
    cluster: Cluster, left: str
) -> None:
    copy(cluster, left, "bare")
    copy(cluster, left, "plain", "--keep-init-containers=false")

    wait_ready(cluster, left, "plain")
    wait_until("the CA has refused the other one", lambda: bool(ending(cluster, left, "bare")))
    end = ending(cluster, left, "bare")
    assert end["exitCode"] == 77
    assert f"pod {left}/bare is not injected: no label podtls.io/injected" in end["message"]
    assert [each["decision"] for each in records(cluster, "ca", left) if each["pod"] == "bare"][:1] == ["refuse"]
    why = {each["name"]: each["reason"] for each in says(cluster, "status", "-n", left)["plain"]}
    assert why == {
        "bare": "has only part of what podtls adds: somebody changed it, and the CA refuses it",
        "plain": "its namespace is not enrolled",
    }


def test_copy_with_the_labels_has_a_certificate_of_its_own_which_names_the_record_of_the_original(
    cluster: Cluster, left: str, tmp_path: Path
) -> None:
    original = cluster.get("pod", "original", "-n", left)

    copy(cluster, left, "kept", "--keep-labels", "--keep-annotations")
    wait_ready(cluster, left, "kept")

    kept = cluster.get("pod", "kept", "-n", left)
    assert is_enrolled(kept)
    found = certificate(cluster, left, "kept")
    assert found.serial != certificate(cluster, left, "original").serial
    # It is what it says: under the same account, chosen by the same Service, at an address of its own.
    address = f"{kept['status']['podIP'].replace('.', '-')}.{left}.pod.cluster.local"
    assert found.dns == {f"web.{left}.svc", f"web.{left}.svc.cluster.local", address}
    issued = {each["pod"]: each["patchRecord"] for each in records(cluster, "ca", left) if each["decision"] == "issue"}
    assert issued == dict.fromkeys(("original", "kept"), status_record(original))
    # No webhook was asked, so what is recorded is the original's.
    assert {each["name"] for each in records(cluster, "webhook", left)} == {"original"}
    enrolled = says(cluster, "status", "-n", left)["enrolled"]
    assert {each["name"]: each["record"] for each in enrolled} == issued
    # `podtls status` does not tell the copy from the original; an auditor is told.
    assert findings(cluster, left, tmp_path)["kept"] == {"two pods name one record", "record of another pod"}


def copy(cluster: Cluster, namespace: str, name: str, *options: str) -> None:
    """Copy the pod `original`, with a container to debug it; without options kubectl drops labels and annotations."""
    image = cluster.get("pod", "original", "-n", namespace)["spec"]["containers"][0]["image"]
    added = (f"--image={image}", "--container=debugger", "--profile=restricted", "--attach=false")
    cluster.kubectl("debug", "original", "-n", namespace, f"--copy-to={name}", *options, *added, "--", "sleep", "3600")


def wait_ready(cluster: Cluster, namespace: str, pod: str) -> None:
    cluster.kubectl("wait", f"pod/{pod}", "-n", namespace, "--for=condition=Ready", "--timeout=90s")


def ending(cluster: Cluster, namespace: str, pod: str) -> dict[str, Any]:
    """How the pod's init container ended last, empty while it has not."""
    statuses = cluster.get("pod", pod, "-n", namespace)["status"].get("initContainerStatuses", [])
    for state in [
        entry[kind] for entry in statuses for kind in ("state", "lastState") if entry["name"] == "podtls-init"
    ]:
        if "terminated" in state:
            return dict(state["terminated"])
    return {}


def findings(cluster: Cluster, namespace: str, folder: Path) -> dict[str, set[str]]:
    """What `podtls audit reconcile` finds about each pod of a namespace, as an auditor types it."""
    listing = cluster.kubectl("get", "pods", "-n", namespace, "-o", "json")
    for component, ordinal in itertools.product(("webhook", "ca"), range(2)):
        pod = ("exec", "-n", NAMESPACE, f"podtls-{component}-{ordinal}", "-c", component, "--")
        (folder / f"{component}-{ordinal}.jsonl").write_text(cluster.kubectl(*pod, "cat", EVIDENCE))
    (folder / "pods.json").write_text(listing)
    command = ("audit", "reconcile", "--pods", str(folder / "pods.json"), "-n", namespace)
    found: dict[str, set[str]] = {}
    for each in says(cluster, *command, *map(str, folder.glob("*.jsonl")))["findings"]:
        found.setdefault(each["pod"], set()).add(each["finding"])
    return found


def records(cluster: Cluster, component: str, namespace: str) -> list[dict[str, Any]]:
    """What both replicas of `webhook` or `ca` have recorded of a namespace."""
    found: list[dict[str, Any]] = []
    for ordinal in range(2):
        pod = ("exec", "-n", NAMESPACE, f"podtls-{component}-{ordinal}", "-c", component, "--")
        found += json.loads(cluster.kubectl(*pod, "podtls", "audit", "list", "-n", namespace, "-o", "json"))
    return found
