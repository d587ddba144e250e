"""What breaks while pods are being created, and what the cluster says of it: nothing is lost or goes unrecorded."""

import json
import subprocess
from collections import Counter
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from tests.cluster.binaries import binary
from tests.cluster.cluster import Cluster
from tests.cluster.errors import KubectlError
from tests.cluster.node import Node
from tests.cluster.podtls import NAMESPACE
from tests.cluster.processes import wait_until
from tests.cluster.stream import admissions
from tests.cluster.workloads import (
    container,
    drop,
    enrolled_namespace,
    is_enrolled,
    is_ready,
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
WEBHOOKS = ("podtls-webhook-0", "podtls-webhook-1")
# Many requests at once, each with an admission that is none; bounded in count and time.
FLOOD = """
import http.client, ssl, sys, threading, time
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
end, answers = time.monotonic() + 8, []
def flood():
    connection = http.client.HTTPSConnection("podtls-webhook.podtls-system.svc", timeout=3, context=context)
    for _ in range(1000):
        if time.monotonic() > end:
            return
        try:
            connection.request("POST", "/mutate/mtls/port", b"{" * 500, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            answer.read()
            answers.append(answer.status)
        except (OSError, http.client.HTTPException):
            answers.append(0)
            connection.close()
threads = [threading.Thread(target=flood) for _ in range(8)]
print("flooding", flush=True)
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(len(answers), sorted(set(answers)))
"""


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


def assert_admitted_but_for_closed_connections(failures: list[str]) -> None:
    """Nginx before 1.27.4 closes idle kept connections when it reloads or stops, whatever is on its way to them.

    A request that kube-apiserver writes in that moment is lost, and it does not try again (docs/operations.md). It is
    one at most for each replica; anything else is a failure of ours.
    """
    closed = ("broken pipe", "connection reset by peer", "EOF")
    assert [failure for failure in failures if not failure.endswith(closed)] == []
    assert len(failures) <= len(WEBHOOKS), failures


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

    with admissions(cluster, drill) as stream:
        deploy(cluster, drill, *APPS[2:4])
        enrolled_node.run("kill", "-KILL", *children(enrolled_node, sidecar, "nginx"))
        wait_until("its Nginx runs again", lambda: has_restarted(cluster, WEBHOOKS[0], "podtls-nginx"))
        before = len(stream.failures)
        stream.wait_more(60)

    assert [failure for failure in stream.failures if "failed calling webhook" not in failure] == []
    assert len(stream.failures) == before, "refused after the replica was back"


def test_serving_certificates_of_the_webhook_are_renewed_under_load(enrolled_node: Node, drill: str) -> None:
    cluster = enrolled_node.cluster
    labels = {"app.kubernetes.io/name": "podtls", "app.kubernetes.io/component": "webhook"}
    also = service(NAMESPACE, "also", "", selector=labels)
    # What is under test is the renewal, not a machine with two processors on which twenty pods start.
    settle(cluster, drill, *APPS[:4])

    with admissions(cluster, drill) as stream:
        cluster.apply(also)
        for replica in WEBHOOKS:
            look_now(enrolled_node, replica)
            wait_names(cluster, NAMESPACE, replica, present=frozenset({f"also.{NAMESPACE}.svc"}))
            wait_until("Nginx serves it", partial(has_reloaded, cluster, replica))
        stream.wait_more(20)
    cluster.kubectl("delete", "service", "also", "-n", NAMESPACE)

    assert_admitted_but_for_closed_connections(stream.failures)


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

    assert_admitted_but_for_closed_connections(stream.failures)


def test_after_all_this_every_deployment_has_its_pods(cluster: Cluster, drill: str) -> None:
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


def test_flood_from_a_pod_does_not_stop_admissions(cluster: Cluster, drill: str) -> None:
    attacker = pods(cluster, drill, APPS[0])[0]["metadata"]["name"]
    before = len(evidence(cluster, drill))
    command = [binary("kubectl"), "--kubeconfig", str(cluster.kubeconfig), "exec", "-n", drill, attacker]

    with (
        admissions(cluster, drill, clients=1) as stream,
        subprocess.Popen([*command, "-c", "app", "--", "python3", "-c", FLOOD], stdout=subprocess.PIPE) as flood,
    ):
        assert flood.stdout is not None
        assert flood.stdout.readline() == b"flooding\n"
        admitted = stream.admitted
        count, answers = flood.communicate(timeout=60)[0].decode().split(maxsplit=1)
        during = stream.admitted - admitted

    assert stream.failures == []
    assert during > 5
    assert int(count) > 50
    assert set(json.loads(answers)) <= {0, 400, 429}
    assert len(evidence(cluster, drill)) - before <= stream.admitted + 1


def children(node: Node, parent: int, *name: str) -> list[str]:
    return node.run("pgrep", "--parent", str(parent), *name).split()


def look_now(node: Node, replica: str) -> None:
    """Wake the sidecar, which sleeps for minutes between two looks at the names."""
    sidecar = node.container_pid(NAMESPACE, replica, container="podtls-nginx")
    (renewals,) = children(node, sidecar, "podtls-sidecar")
    node.run("kill", "-TERM", *children(node, int(renewals), "sleep"))


def has_reloaded(cluster: Cluster, replica: str) -> bool:
    served = cluster.kubectl("logs", "-n", NAMESPACE, replica, "-c", "podtls-nginx").rpartition("serves ")[2]
    current = ("exec", "-n", NAMESPACE, replica, "-c", "podtls-nginx", "--", "readlink", "/var/run/podtls/current")
    return served.split()[:1] == cluster.kubectl(*current).split()


def uid(cluster: Cluster, pod: str) -> str:
    return str(cluster.get("pod", pod, "-n", NAMESPACE)["metadata"]["uid"])


def has_restarted(cluster: Cluster, pod: str, name: str) -> bool:
    found = cluster.get("pod", pod, "-n", NAMESPACE)
    return is_ready(found) and restarts(found, name) >= 1


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
