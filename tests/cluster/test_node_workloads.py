"""Every kind of workload of a labelled namespace on a real node: enrolled, at work, recovered, and ended cleanly."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from lab.cluster.binaries import binary
from lab.cluster.cluster import Cluster
from lab.cluster.node import Node
from lab.cluster.processes import wait_until
from tests.cluster.workloads import (
    ask,
    certificate,
    container,
    drop,
    enrolled_namespace,
    is_enrolled,
    is_ready,
    job,
    look_now,
    pod_spec,
    pods,
    restarts,
    rolled_out,
    server,
    service,
    status_record,
    template,
    wait_names,
    workload,
)

pytestmark = [pytest.mark.node, pytest.mark.timeout(600)]

DONE = container("python3", "-c", "print('done')")
# One connection for all requests: a line on stdin is a request, the reply is a line on stdout.
HOLD = """
import http.client, sys
connection = http.client.HTTPConnection(sys.argv[1], 80, timeout=10)
connection.connect()
connection.auto_open = 0
for _ in sys.stdin:
    connection.request("GET", "/")
    print(connection.getresponse().read().decode().strip(), flush=True)
"""
# The serial number that a server shows in a new handshake.
SERVED = """
import socket, ssl, sys
from cryptography import x509
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
with socket.create_connection((sys.argv[1], 8443), timeout=5) as plain, context.wrap_socket(plain) as tls:
    print(f"{x509.load_der_x509_certificate(tls.getpeercert(True)).serial_number:x}")
"""


@dataclass(frozen=True, slots=True)
class Held:
    """A connection that the client holds open, and the certificate that the server showed to others when it began."""

    connection: "subprocess.Popen[str]"
    serial: str


@pytest.fixture(scope="module")
def cluster(enrolled_node: Node) -> Cluster:
    return enrolled_node.cluster


@pytest.fixture(scope="module")
def leaving(cluster: Cluster) -> Iterator[str]:
    """A namespace with one server, which starts beside those of `team`."""
    namespace = enrolled_namespace(cluster, "leaving")
    cluster.apply(workload("Deployment", namespace, "web", template("web", pod_spec(server()))))
    yield namespace
    drop(cluster, namespace)


@pytest.fixture(scope="module")
def team(cluster: Cluster, leaving: str) -> Iterator[str]:  # noqa: ARG001  (both start at once)
    """One namespace with a workload of every kind; nobody waits for them here."""
    namespace = enrolled_namespace(cluster, "team")
    every_minute = {"schedule": "* * * * *", "jobTemplate": {"spec": job(namespace, "", template_of("tick"))["spec"]}}
    meta = {"name": "tick", "namespace": namespace}
    short = {"podtls.io/lifetime": "60s"}
    dialling = {"podtls.io/upstreams": f"web.{namespace}:80=443,short.{namespace}:80=443"}
    cluster.apply(
        {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": meta, "spec": every_minute},
        service(namespace, "web", "web"),
        service(namespace, "short", "short"),
        service(namespace, "db", "db", clusterIP="None"),
        workload("Deployment", namespace, "web", template("web", pod_spec(server())), replicas=2),
        workload("Deployment", namespace, "short", template("short", pod_spec(server()), short)),
        workload("StatefulSet", namespace, "db", template("db", pod_spec(server())), serviceName="db"),
        workload("DaemonSet", namespace, "agent", template("agent", pod_spec(container("sleep", "3600")))),
        workload("Deployment", namespace, "client", template("client", pod_spec(container("sleep", "3600")), dialling)),
        job(namespace, "once", template_of("once")),
    )
    yield namespace
    drop(cluster, namespace)


@pytest.fixture(scope="module", autouse=True)
def held(cluster: Cluster, team: str) -> Iterator[Held]:
    """Begun before the first test and looked at by a late one: the renewal takes most of a minute to come."""
    for app in ("short", "client"):
        rolled_out(cluster, team, f"deployment/{app}")
    (short,), (client,) = pods(cluster, team, "short"), pods(cluster, team, "client")
    name, hello = client["metadata"]["name"], f"hello from {short['metadata']['name']}"
    # kube-proxy learns of a ready pod a moment after the Deployment.
    wait_until("the Service leads to it", lambda: ask(cluster, team, name, f"http://short.{team}/") == hello)
    with held_connection(cluster, team, name, f"short.{team}") as connection:
        assert reply(connection) == f"{hello}\n"
        yield Held(connection, served(cluster, team, name, short["status"]["podIP"]))


def template_of(app: str) -> dict[str, Any]:
    return template(app, pod_spec(DONE))


def test_job_completes_and_its_sidecar_ends_with_it(cluster: Cluster, team: str) -> None:
    cluster.kubectl("wait", "job/once", "-n", team, "--for=condition=Complete", "--timeout=90s")

    (pod,) = pods(cluster, team, "once")

    assert is_enrolled(pod)
    assert pod["status"]["phase"] == "Succeeded"
    assert cluster.kubectl("logs", "-n", team, pod["metadata"]["name"], "-c", "app") == "done\n"
    ended = {entry["name"]: entry["state"] for entry in pod["status"]["initContainerStatuses"]}
    assert ended["podtls-nginx"]["terminated"]["exitCode"] == 0


def test_pod_of_a_statefulset_has_its_own_host_name_in_the_certificate(cluster: Cluster, team: str) -> None:
    rolled_out(cluster, team, "statefulset/db")

    found = certificate(cluster, team, "db-0")

    assert {f"db.{team}.svc", f"db-0.db.{team}.svc", f"db-0.db.{team}.svc.cluster.local"} <= found.dns
    assert f"db-1.db.{team}.svc" not in found.dns


def test_pod_of_a_daemonset_is_enrolled(cluster: Cluster, team: str) -> None:
    rolled_out(cluster, team, "daemonset/agent")

    (pod,) = pods(cluster, team, "agent")

    assert is_enrolled(pod)
    assert f"web.{team}.svc" not in certificate(cluster, team, pod["metadata"]["name"]).dns


def test_rolling_update_replaces_every_pod_and_each_has_a_certificate_of_its_own(cluster: Cluster, team: str) -> None:
    rolled_out(cluster, team, "deployment/web")
    before = serials(cluster, team, "web")

    cluster.kubectl("set", "env", "deployment/web", "-n", team, "-c", "app", "VERSION=2")
    rolled_out(cluster, team, "deployment/web")

    after = serials(cluster, team, "web")
    assert len(before) == len(after) == 2
    assert not before & after
    # kube-proxy learns of new pods, and of those that are gone, a moment after the Deployment.
    wait_until("one of them answers", lambda: "hello from web-" in dial(cluster, team))


def test_scaled_up_to_ten_and_down_to_two_each_pod_is_enrolled(cluster: Cluster, team: str) -> None:
    cluster.kubectl("scale", "deployment/web", "-n", team, "--replicas=10")
    rolled_out(cluster, team, "deployment/web", seconds=120)

    ten = pods(cluster, team, "web")
    cluster.kubectl("scale", "deployment/web", "-n", team, "--replicas=2")
    wait_until("two are left", lambda: len(pods(cluster, team, "web")) == 2)

    assert len(ten) == 10
    assert all(map(is_enrolled, ten))
    assert len({status_record(pod) for pod in ten}) == 10
    names = {pod["metadata"]["name"] for pod in pods(cluster, team, "web")}
    # A pod that is going still answers until the Service forgets it.
    wait_until("one of them answers", lambda: dial(cluster, team).removeprefix("hello from ") in names)


def test_killed_sandbox_comes_back_enrolled_with_its_new_address(enrolled_node: Node, team: str) -> None:
    cluster = enrolled_node.cluster
    before = certificate(cluster, team, "db-0")
    (pod,) = pods(cluster, team, "db")

    kill_sandbox(enrolled_node, pod)

    wait_until("db-0 runs again", lambda: has_new_sandbox(cluster, team, pod), seconds=90)
    (again,) = pods(cluster, team, "db")
    assert again["metadata"]["uid"] == pod["metadata"]["uid"]
    assert restarts(again, "podtls-init") == 1
    after = certificate(cluster, team, "db-0")
    assert after.serial != before.serial
    assert f"{again['status']['podIP'].replace('.', '-')}.{team}.pod.cluster.local" in after.dns


def test_names_follow_services_that_come_change_and_go(enrolled_node: Node, team: str) -> None:
    cluster = enrolled_node.cluster
    first = frozenset({f"first.{team}.svc", f"first.{team}.svc.cluster.local"})
    second = frozenset({f"second.{team}.svc"})
    cluster.apply(workload("Deployment", team, "late", template("late", pod_spec(server()))))
    rolled_out(cluster, team, "deployment/late")
    (late,) = pods(cluster, team, "late")
    name = late["metadata"]["name"]
    assert not certificate(cluster, team, name).dns & (first | second)

    # As `kubectl apply` of a Deployment and its Service: the sidecar's first looks, by its own timetable, find them.
    cluster.apply(service(team, "first", "late"), service(team, "second", "late"))
    wait_names(cluster, team, name, present=first | second)

    cluster.apply(service(team, "first", "somebody-else"))
    cluster.kubectl("delete", "service", "second", "-n", team)
    look_now(enrolled_node, team, name)
    wait_names(cluster, team, name, absent=first | second)
    (same,) = pods(cluster, team, "late")
    assert (same["metadata"]["uid"], restarts(same, "podtls-nginx")) == (late["metadata"]["uid"], 0)


def test_copy_made_by_kubectl_debug_follows_its_namespace(cluster: Cluster, team: str) -> None:
    (original, *_) = pods(cluster, team, "web")
    name, image = original["metadata"]["name"], original["spec"]["containers"][0]["image"]

    # With `--set-image` alone kubectl keeps the labels, and the ReplicaSet deletes the copy as one pod too many.
    added = (f"--image={image}", "--container=debugger", "--profile=restricted", "--attach=false")
    cluster.kubectl("debug", name, "-n", team, "--copy-to=copy", *added, "--", "sleep", "3600")

    cluster.kubectl("wait", "pod/copy", "-n", team, "--for=condition=Ready", "--timeout=90s")
    copy = cluster.get("pod", "copy", "-n", team)
    assert is_enrolled(copy)
    assert status_record(copy) != status_record(original)
    found = certificate(cluster, team, "copy")
    assert found.serial != certificate(cluster, team, name).serial
    assert f"web.{team}.svc" not in found.dns, "the copy has no labels, so no Service chooses it"


def test_namespace_unlabelled_new_pods_are_plain_and_old_ones_go_on(cluster: Cluster, leaving: str) -> None:
    rolled_out(cluster, leaving, "deployment/web")
    (old,) = pods(cluster, leaving, "web")

    cluster.kubectl("label", "namespace", leaving, "podtls.io/inject-")
    cluster.kubectl("scale", "deployment/web", "-n", leaving, "--replicas=2")
    rolled_out(cluster, leaving, "deployment/web")

    (new,) = [pod for pod in pods(cluster, leaving, "web") if pod["metadata"]["name"] != old["metadata"]["name"]]
    assert "initContainers" not in new["spec"]
    assert "podtls.io/injected" not in new["metadata"]["labels"]
    # The injected sidecar still gets what it asks the CA for.
    ask_again = ("exec", "-n", leaving, old["metadata"]["name"], "-c", "podtls-nginx", "--")
    looked = cluster.kubectl(*ask_again, "sh", "-c", "podtls-injector renew 1 0; echo status $?")
    assert "status 10" in looked
    (still,) = [pod for pod in pods(cluster, leaving, "web") if pod["metadata"]["name"] == old["metadata"]["name"]]
    assert is_ready(still)


def test_renewal_cuts_no_open_connection_and_new_handshakes_see_the_new_certificate(
    cluster: Cluster, team: str, held: Held
) -> None:
    (short,), (client,) = pods(cluster, team, "short"), pods(cluster, team, "client")
    name, address, dialling = short["metadata"]["name"], short["status"]["podIP"], client["metadata"]["name"]

    wait_until("a new certificate is served", lambda: served(cluster, team, dialling, address) != held.serial)

    assert reply(held.connection) == f"hello from {name}\n"
    wait_until(
        "it is the one on the volume",
        lambda: served(cluster, team, dialling, address) == certificate(cluster, team, name).serial,
    )
    assert restarts(short, "podtls-nginx") == 0


def test_job_of_a_cronjob_completes(cluster: Cluster, team: str) -> None:
    """Last: the schedule's next minute has come while the others ran."""
    wait_until("a tick is complete", lambda: bool(complete_ticks(cluster, team)), seconds=120)

    pod = complete_ticks(cluster, team)[0]

    assert is_enrolled(pod)
    (app,) = pod["status"]["containerStatuses"]
    assert app["state"]["terminated"]["exitCode"] == 0


@contextmanager
def held_connection(cluster: Cluster, namespace: str, pod: str, host: str) -> Iterator["subprocess.Popen[str]"]:
    """A connection that a pod's app holds open."""
    kubectl = [binary("kubectl"), "--kubeconfig", str(cluster.kubeconfig)]
    command = [*kubectl, "exec", "-i", "-n", namespace, pod, "-c", "app", "--", "python3", "-u", "-c", HOLD, host]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.communicate(timeout=20)
        assert process.returncode == 0


def reply(connection: "subprocess.Popen[str]") -> str:
    """One more request over the held connection."""
    assert connection.stdin is not None
    assert connection.stdout is not None
    connection.stdin.write("again\n")
    connection.stdin.flush()
    return connection.stdout.readline()


def served(cluster: Cluster, namespace: str, pod: str, address: str) -> str:
    command = ("exec", "-n", namespace, pod, "-c", "app", "--", "python3", "-c", SERVED, address)
    return cluster.kubectl(*command).strip()


def serials(cluster: Cluster, namespace: str, app: str) -> set[str]:
    return {certificate(cluster, namespace, pod["metadata"]["name"]).serial for pod in pods(cluster, namespace, app)}


def dial(cluster: Cluster, namespace: str) -> str:
    (client,) = pods(cluster, namespace, "client")
    return ask(cluster, namespace, client["metadata"]["name"], f"http://web.{namespace}/")


def complete_ticks(cluster: Cluster, namespace: str) -> list[dict[str, Any]]:
    return [pod for pod in pods(cluster, namespace, "tick") if pod["status"]["phase"] == "Succeeded"]


def kill_sandbox(node: Node, pod: dict[str, Any]) -> None:
    """End the process that holds the pod's namespaces, as a crash of the node's runtime would."""
    uid = pod["metadata"]["uid"]
    chosen = f'labels."io.kubernetes.pod.uid"=={uid},labels."io.cri-containerd.kind"==sandbox'
    sandbox = node.run("ctr", "--namespace=k8s.io", "containers", "list", "--quiet", chosen).strip()
    tasks = [line.split() for line in node.run("ctr", "--namespace=k8s.io", "tasks", "list").splitlines()]
    node.run("kill", "-KILL", next(pid for task, pid, *_ in tasks if task == sandbox))


def has_new_sandbox(cluster: Cluster, namespace: str, before: dict[str, Any]) -> bool:
    now = cluster.get("pod", before["metadata"]["name"], "-n", namespace)
    return is_ready(now) and restarts(now, "podtls-init") > restarts(before, "podtls-init")
