"""Authorities that end: the CA for a while, the issuing CA for good, podtls as a whole with its root."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from lab.cluster.cluster import Cluster
from lab.cluster.errors import KubectlError
from lab.cluster.node import Node
from lab.cluster.podtls import NAMESPACE, TEST_OVERLAY, provide_evidence, wait_ready
from lab.cluster.processes import wait_until
from tests.cluster.operator_command import says
from tests.cluster.workloads import (
    ask,
    certificate,
    container,
    drop,
    enrolled_namespace,
    is_ready,
    job,
    pod_spec,
    pods,
    restarts,
    rolled_out,
    server,
    service,
    template,
    workload,
)

pytestmark = [pytest.mark.node, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def cluster(enrolled_node: Node) -> Cluster:
    return enrolled_node.cluster


@pytest.fixture(scope="module")
def pair(cluster: Cluster) -> Iterator[str]:
    """A server whose certificate lives for a minute, and a client that dials it by plain HTTP."""
    namespace = enrolled_namespace(cluster, "renewal")
    short, upstream = {"podtls.io/lifetime": "60s"}, {"podtls.io/upstreams": f"web.{namespace}:80=443"}
    cluster.apply(
        service(namespace, "web", "web"),
        workload("Deployment", namespace, "web", template("web", pod_spec(server()), short)),
        workload("Deployment", namespace, "client", template("client", pod_spec(container("sleep", "3600")), upstream)),
    )
    rolled_out(cluster, namespace, "deployment/web")
    rolled_out(cluster, namespace, "deployment/client")
    yield namespace
    drop(cluster, namespace)


@pytest.fixture(scope="module")
def kept_waiting(enrolled_node: Node, pair: str) -> dict[str, dict[str, Any]]:
    """The pods of a Deployment and of a Job, by app, as they were while no CA ran; now there is one again.

    Both had asked for it. The Deployment's init container was killed meanwhile; a Job's pod has no second one.
    """
    cluster = enrolled_node.cluster
    cluster.kubectl("scale", "statefulset/podtls-ca", "-n", NAMESPACE, "--replicas=0")
    wait_until("no CA is left", lambda: not ca_pods(cluster))
    cluster.apply(
        workload("Deployment", pair, "early", template("early", pod_spec(server()))),
        job(pair, "once", template("once", pod_spec(container("python3", "-c", "print('done')")))),
    )
    for app in ("early", "once"):
        wait_until(f"{app} asks the CA", partial(is_asking, cluster, pair, app))
    ((early,), (once,)) = (pods(cluster, pair, app) for app in ("early", "once"))

    killed = enrolled_node.container_pid(pair, early["metadata"]["name"], container="podtls-init")
    enrolled_node.run("kill", "-KILL", str(killed))
    wait_until("init runs again", lambda: restarts(pods(cluster, pair, "early")[0], "podtls-init") >= 1)
    cluster.kubectl("scale", "statefulset/podtls-ca", "-n", NAMESPACE, "--replicas=2")
    return {"early": early, "once": once}


def test_pod_starts_when_the_ca_comes_up_again_although_its_init_was_killed_meanwhile(
    cluster: Cluster, pair: str, kept_waiting: dict[str, dict[str, Any]]
) -> None:
    rolled_out(cluster, pair, "deployment/early", seconds=150)

    (same,) = pods(cluster, pair, "early")
    assert same["metadata"]["uid"] == kept_waiting["early"]["metadata"]["uid"]
    assert certificate(cluster, pair, same["metadata"]["name"]).dns


def test_job_that_was_created_while_the_ca_was_down_completes_with_its_one_pod(
    cluster: Cluster, pair: str, kept_waiting: dict[str, dict[str, Any]]
) -> None:
    cluster.kubectl("wait", "job/once", "-n", pair, "--for=condition=Complete", "--timeout=120s")

    (same,) = pods(cluster, pair, "once")
    assert same["metadata"]["uid"] == kept_waiting["once"]["metadata"]["uid"]
    assert (same["spec"]["restartPolicy"], same["status"]["phase"]) == ("Never", "Succeeded")
    assert (restarts(same, "podtls-init"), restarts(same, "podtls-nginx")) == (0, 0)
    assert cluster.kubectl("logs", "-n", pair, same["metadata"]["name"], "-c", "app") == "done\n"


def test_a_new_issuing_ca_is_taken_over_without_a_restart(cluster: Cluster, pair: str) -> None:
    wait_ready(cluster)
    before = {pod["metadata"]["uid"]: restarts(pod, "ca") for pod in ca_pods(cluster)}
    (web,), (client,) = pods(cluster, pair, "web"), pods(cluster, pair, "client")
    old = certificate(cluster, pair, client["metadata"]["name"]).issuer

    cluster.kubectl("delete", "secret", "podtls-issuing", "-n", NAMESPACE)
    wait_until("there is a new issuing CA", lambda: has_secret(cluster, "podtls-issuing"))
    # kubelet looks at a Secret about once a minute, and at once when its pod changes.
    cluster.kubectl("annotate", "pods", "-n", NAMESPACE, "--all", "tests/looked-at=now", "--overwrite")

    name = web["metadata"]["name"]
    wait_until("certificates come from it", lambda: certificate(cluster, pair, name).issuer != old, seconds=120)
    assert {pod["metadata"]["uid"]: restarts(pod, "ca") for pod in ca_pods(cluster)} == before
    # Both are of one root, so pods of the old and the new one go on trusting each other.
    assert ask(cluster, pair, client["metadata"]["name"], f"http://web.{pair}/") == f"hello from {name}"


def test_system_deleted_whole_and_applied_again_enrolls_new_pods_without_hands(enrolled_node: Node, pair: str) -> None:
    cluster = enrolled_node.cluster
    (client,) = pods(cluster, pair, "client")
    old = certificate(cluster, pair, client["metadata"]["name"]).issuer

    delete_system(cluster)
    with pytest.raises(KubectlError, match=r'failed calling webhook "mtls-port\.podtls\.io"'):
        cluster.kubectl("run", "refused", "-n", pair, "--image=localhost/none:1", "--dry-run=server")
    provide_evidence(enrolled_node, limit="32m")
    cluster.kubectl("apply", "--server-side", "-k", str(TEST_OVERLAY))
    wait_ready(cluster, seconds=180)
    cluster.apply(workload("Deployment", pair, "new", template("new", pod_spec(server()))))

    rolled_out(cluster, pair, "deployment/new")
    (new,) = pods(cluster, pair, "new")
    found = certificate(cluster, pair, new["metadata"]["name"])
    assert found.issuer != old
    (still,) = pods(cluster, pair, "client")
    assert (still["metadata"]["uid"], is_ready(still)) == (client["metadata"]["uid"], True)
    told = {each["name"]: (each["trust"], each["do"]) for each in says(cluster, "status", "-n", pair)["enrolled"]}
    running = [pod["metadata"]["name"] for app in ("web", "client", "early") for pod in pods(cluster, pair, app)]
    assert {name: told[name] for name in running} == dict.fromkeys(
        running, ("lost root", "to be recreated (lost root)")
    )
    assert told[new["metadata"]["name"]] == ("current", "")


def ca_pods(cluster: Cluster) -> list[dict[str, Any]]:
    found = cluster.get("pods", "-n", NAMESPACE, "-l", "app.kubernetes.io/component=ca")["items"]
    assert isinstance(found, list)
    return found


def delete_system(cluster: Cluster) -> None:
    """Delete the namespace of podtls with all that is in it; returns when it is gone."""
    # At once, as `kubectl delete -k` does; a namespace's own controller goes from kind to kind, seconds apart.
    kinds = "statefulsets,deployments,persistentvolumeclaims"
    cluster.kubectl("delete", kinds, "--all", "-n", NAMESPACE, "--wait=false")
    cluster.kubectl("delete", "namespace", NAMESPACE, "--wait=false")
    wait_until("its pods are gone", lambda: not cluster.get("pods", "-n", NAMESPACE)["items"])
    # That controller looks again after half of the longest grace period, and soon when the namespace changes.
    cluster.kubectl("annotate", "namespace", NAMESPACE, "tests/looked-at=now")
    cluster.kubectl("wait", f"namespace/{NAMESPACE}", "--for=delete", "--timeout=120s")


def is_asking(cluster: Cluster, namespace: str, app: str) -> bool:
    """Whether the init container of the app's pod runs, so that it asks the CA."""
    entries = [
        entry for pod in pods(cluster, namespace, app) for entry in pod["status"].get("initContainerStatuses", [])
    ]
    return any(entry["name"] == "podtls-init" and "running" in entry["state"] for entry in entries)


def has_secret(cluster: Cluster, name: str) -> bool:
    return bool(cluster.kubectl("get", "secret", name, "-n", NAMESPACE, "--ignore-not-found"))
