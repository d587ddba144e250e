"""What breaks while pods are being created, and what the cluster says of it: nothing is lost or goes unrecorded."""

import json
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from lab.cluster.binaries import binary
from lab.cluster.cluster import Cluster
from lab.cluster.errors import KubectlError
from lab.cluster.node import Node
from lab.cluster.podtls import NAMESPACE
from lab.cluster.processes import wait_until
from tests.cluster.stream import admissions
from tests.cluster.workloads import (
    container,
    drop,
    enrolled_namespace,
    is_enrolled,
    is_ready,
    look_now,
    pod_spec,
    pods,
    restarts,
    rolled_out,
    service,
    status_record,
    template,
    wait_names,
    workload,
)

pytestmark = [pytest.mark.node, pytest.mark.timeout(600)]

APPS = tuple(f"app-{number}" for number in range(6))
REPLICAS = 5
FLOOD = Path(__file__).parent / "flood.py"
WEBHOOKS = ("podtls-webhook-0", "podtls-webhook-1")
# What an edge proxy lets through of one source address, injector/settings.py: requests per second, and at once.
RATE, BURST = 200, 1000
# How a connection says that nobody is at its other end any more.
BROKEN = ("EOF", "broken pipe", "connection reset by peer", "connection refused", "use of closed network connection")


@pytest.fixture(scope="module")
def cluster(enrolled_node: Node) -> Cluster:
    return enrolled_node.cluster


@pytest.fixture(scope="module")
def drill(cluster: Cluster) -> Iterator[str]:
    """The namespace whose thirty pods are created while things break."""
    namespace = enrolled_namespace(cluster, "drill")
    yield namespace
    drop(cluster, namespace)


def deploy(cluster: Cluster, namespace: str, *apps: str) -> None:
    idle = container("sleep", "3600", ports=(8080,))
    cluster.apply(
        *[workload("Deployment", namespace, app, template(app, pod_spec(idle)), replicas=REPLICAS) for app in apps]
    )


def settle(cluster: Cluster, namespace: str, *apps: str) -> None:
    """Return when the pods of these Deployments have started."""
    for app in apps:
        rolled_out(cluster, namespace, f"deployment/{app}", seconds=180)


def test_killed_worker_of_the_webhook_fails_no_admission(enrolled_node: Node, drill: str) -> None:
    cluster = enrolled_node.cluster

    with admissions(cluster, drill) as stream:
        deploy(cluster, drill, *APPS[:2])
        for replica in WEBHOOKS:
            master = enrolled_node.container_pid(NAMESPACE, replica, container="webhook")
            enrolled_node.run("kill", "-KILL", children(enrolled_node, master)[0])
        stream.wait_more(60)

    assert stream.failures == []


def test_killed_nginx_of_the_webhook_fails_only_what_is_in_flight(enrolled_node: Node, drill: str) -> None:
    cluster = enrolled_node.cluster
    sidecar = enrolled_node.container_pid(NAMESPACE, WEBHOOKS[0], container="podtls-nginx")
    before = restarts(cluster.get("pod", WEBHOOKS[0], "-n", NAMESPACE), "podtls-nginx")

    with admissions(cluster, drill) as stream:
        deploy(cluster, drill, *APPS[2:4])
        killed = datetime.now(UTC)
        enrolled_node.run("kill", "-KILL", *children(enrolled_node, sidecar, "nginx"))
        wait_until("its Nginx runs again", lambda: has_restarted(cluster, WEBHOOKS[0], "podtls-nginx", before))
        stream.wait_more(60)

    assert exit_code_before(cluster, WEBHOOKS[0], "podtls-nginx") == 128 + signal.SIGKILL
    back = listening_since(cluster, WEBHOOKS[0])
    # Whatever failed met the replica while it had no Nginx: it was under way then, and its connection broke.
    assert [failure for failure in stream.failed if failure.end < killed or failure.begin > back] == []
    assert [failure for failure in stream.failures if "failed calling webhook" not in failure] == []
    assert [failure for failure in stream.failures if not failure.endswith(BROKEN)] == []


def test_serving_certificates_of_the_webhook_are_renewed_under_load(enrolled_node: Node, drill: str) -> None:
    cluster = enrolled_node.cluster
    labels = {"app.kubernetes.io/name": "podtls", "app.kubernetes.io/component": "webhook"}
    also = service(NAMESPACE, "also", "", selector=labels)
    # What is under test is the renewal, not a machine with two processors on which twenty pods start.
    deploy(cluster, drill, *APPS[:4])
    settle(cluster, drill, *APPS[:4])

    with admissions(cluster, drill) as stream:
        cluster.apply(also)
        for replica in WEBHOOKS:
            look_now(enrolled_node, NAMESPACE, replica)
            wait_names(cluster, NAMESPACE, replica, present=frozenset({f"also.{NAMESPACE}.svc"}))
            wait_until("Nginx serves it", partial(has_reloaded, cluster, replica))
        stream.wait_more(20)
    cluster.kubectl("delete", "service", "also", "-n", NAMESPACE)

    assert stream.failures == []


def test_evicted_replicas_of_webhook_and_ca_are_replaced_under_load(enrolled_node: Node, drill: str) -> None:
    cluster = enrolled_node.cluster
    old = {name: uid(cluster, name) for name in (WEBHOOKS[0], "podtls-ca-0")}

    with admissions(cluster, drill) as stream:
        deploy(cluster, drill, *APPS[4:])
        for name in old:
            evict(cluster, name)
        for name, former in old.items():
            wait_until(f"{name} is replaced", partial(is_replaced, cluster, name, former), seconds=120)
        stream.wait_more(30)

    assert stream.failures == []


def test_after_all_this_every_deployment_has_its_pods(cluster: Cluster, drill: str) -> None:
    deploy(cluster, drill, *APPS)
    settle(cluster, drill, *APPS)

    found = [pod for app in APPS for pod in pods(cluster, drill, app)]
    assert len(found) == len(APPS) * REPLICAS
    assert all(map(is_enrolled, found))


def test_every_stored_pod_has_exactly_one_record_and_surplus_records_are_those_never_stored(
    cluster: Cluster, drill: str
) -> None:
    stored = [pod for app in APPS for pod in pods(cluster, drill, app)]
    refused_later(cluster, drill, len(stored))

    records = [record for record in evidence(cluster, drill) if record["decision"] == "inject"]

    count = Counter(record["id"] for record in records)
    assert {pod["metadata"]["name"]: count[status_record(pod)] for pod in stored} == {
        pod["metadata"]["name"]: 1 for pod in stored
    }
    named = {status_record(pod) for pod in stored}
    assert len(named) == len(stored)
    never_stored = [record for record in records if record["id"] not in named and not record["dryRun"]]
    assert "too-many" in {record["name"] for record in never_stored}
    streamed = {record["generateName"] for record in records if record["dryRun"]}
    assert streamed == {"streamed-"}


def test_full_evidence_volume_refuses_with_the_reason_and_heals(cluster: Cluster, drill: str) -> None:
    plain = cluster.create_namespace("plain")
    with admissions(cluster, drill, clients=1) as stream:
        for replica in WEBHOOKS:
            shell(cluster, replica, "dd if=/dev/zero of=/var/log/podtls/filler bs=64k 2>/dev/null; true")
        wait_until("admissions are refused", lambda: len(stream.failures) >= 3)
        reasons = "\n".join(stream.failures)
        create_plain(cluster, plain)
        for replica in WEBHOOKS:
            shell(cluster, replica, "rm /var/log/podtls/filler")
        stream.wait_more(20)

    assert "failed calling webhook" in reasons
    assert "podtls" in reasons
    assert "evidence log /var/log/podtls/evidence.jsonl" in reasons


def test_flood_from_a_pod_meets_the_limit_of_the_edge_proxy_and_does_not_stop_admissions(
    cluster: Cluster, drill: str
) -> None:
    # Without a request of its own it would get what the others leave, and never reach the limit on a busy machine.
    idle = {**container("sleep", "3600"), "resources": {"requests": {"cpu": "100m"}}}
    cluster.apply(workload("Deployment", drill, "attacker", template("attacker", pod_spec(idle))))
    settle(cluster, drill, "attacker")
    (attacker,) = pods(cluster, drill, "attacker")
    nowhere = f"{drill}-flood"

    with (
        admissions(cluster, drill, clients=1) as stream,
        flooding(cluster, drill, attacker["metadata"]["name"], nowhere) as flood,
    ):
        assert flood.stdout is not None
        assert flood.stdout.readline() == "limited\n"
        # These are admitted while the flood goes on.
        stream.wait_more(20)
        seen = json.loads(flood.communicate(timeout=60)[0])

    answers, seconds = {int(status): count for status, count in seen["answers"].items()}, seen["seconds"]
    assert stream.failures == []
    assert answers.keys() <= {0, 200, 429}
    assert answers.get(429, 0) >= 100
    # What is refused leaves no line, what is let through leaves one, in the name of the pod that sent it.
    records = evidence(cluster, nowhere)
    assert answers[200] <= len(records) <= answers[200] + answers.get(0, 0)
    assert len(records) <= len(WEBHOOKS) * (BURST + RATE * seconds + 1)
    assert {(each["source"], each["caller"]) for each in records} == {(attacker["status"]["podIP"], "unverified")}


@contextmanager
def flooding(cluster: Cluster, namespace: str, pod: str, claimed: str) -> Iterator["subprocess.Popen[str]"]:
    """A pod that floods the webhook with reviews of a namespace until its stdin ends (flood.py)."""
    kubectl = [binary("kubectl"), "--kubeconfig", str(cluster.kubeconfig), "exec", "-i", "-n", namespace, pod]
    script = ["-c", "app", "--", "python3", "-c", FLOOD.read_text(), f"podtls-webhook.{NAMESPACE}.svc", claimed]
    with subprocess.Popen([*kubectl, *script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process


def listening_since(cluster: Cluster, replica: str) -> datetime:
    """When the edge proxy's Nginx had bound its port, by the clock of the node's runtime."""
    log = cluster.kubectl("logs", "-n", NAMESPACE, replica, "-c", "podtls-nginx", "--timestamps")
    return datetime.fromisoformat(next(line.split()[0] for line in log.splitlines() if "start worker" in line))


def exit_code_before(cluster: Cluster, pod: str, name: str) -> int:
    """What kubelet says of how a container ended that it has started again."""
    (entry,) = [
        each
        for each in cluster.get("pod", pod, "-n", NAMESPACE)["status"]["initContainerStatuses"]
        if each["name"] == name
    ]
    return int(entry["lastState"]["terminated"]["exitCode"])


def children(node: Node, parent: int, *name: str) -> list[str]:
    return node.run("pgrep", "--parent", str(parent), *name).split()


def has_reloaded(cluster: Cluster, replica: str) -> bool:
    served = cluster.kubectl("logs", "-n", NAMESPACE, replica, "-c", "podtls-nginx").rpartition("serves ")[2]
    current = ("exec", "-n", NAMESPACE, replica, "-c", "podtls-nginx", "--", "readlink", "/var/run/podtls/current")
    return served.split()[:1] == cluster.kubectl(*current).split()


def uid(cluster: Cluster, pod: str) -> str:
    return str(cluster.get("pod", pod, "-n", NAMESPACE)["metadata"]["uid"])


def has_restarted(cluster: Cluster, pod: str, name: str, before: int) -> bool:
    found = cluster.get("pod", pod, "-n", NAMESPACE)
    return is_ready(found) and restarts(found, name) > before


def is_replaced(cluster: Cluster, name: str, old: str) -> bool:
    found = json.loads(cluster.kubectl("get", "pods", "-n", NAMESPACE, "-o", "json"))["items"]
    return any(pod["metadata"]["name"] == name and pod["metadata"]["uid"] != old and is_ready(pod) for pod in found)


def evict(cluster: Cluster, name: str) -> None:
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": NAMESPACE}}
    path = f"/api/v1/namespaces/{NAMESPACE}/pods/{name}/eviction"
    cluster.kubectl("create", "--raw", path, "-f", "-", input=json.dumps(body))


def evidence(cluster: Cluster, namespace: str) -> list[dict[str, Any]]:
    """The admission records of a namespace in the logs of both replicas, read as an auditor does."""
    found = []
    for replica in WEBHOOKS:
        command = f"podtls audit list --kind admission -n {namespace} -o json /var/log/podtls"
        found += json.loads(shell(cluster, replica, command))
    return found


def shell(cluster: Cluster, replica: str, script: str) -> str:
    return cluster.kubectl("exec", "-n", NAMESPACE, replica, "-c", "webhook", "--", "sh", "-c", script)


def refused_later(cluster: Cluster, namespace: str, stored: int) -> None:
    """A pod that the API server refuses after we have patched it: over the namespace's quota."""
    meta = {"name": "enough", "namespace": namespace}
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": meta, "spec": {"hard": {"pods": str(stored)}}}
    cluster.apply(quota)
    status = ("resourcequota", "enough", "-n", namespace)
    wait_until("the quota counts", lambda: bool(cluster.get(*status).get("status", {}).get("used")))
    one_more = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "too-many", "namespace": namespace}}
    with pytest.raises(KubectlError, match="exceeded quota"):
        cluster.apply({**one_more, "spec": pod_spec(container("sleep", "1"))})
    cluster.kubectl("delete", "resourcequota", "enough", "-n", namespace)


def create_plain(cluster: Cluster, namespace: str) -> None:
    meta = {"name": "plain", "namespace": namespace}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": pod_spec(container("sleep", "3600"))}
    cluster.apply(pod)
    cluster.kubectl("wait", "pod/plain", "-n", namespace, "--for=condition=Ready", "--timeout=60s")
