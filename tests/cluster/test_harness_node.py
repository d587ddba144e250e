import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from lab.cluster.cluster import Cluster
from lab.cluster.errors import ClusterError, KubectlError
from lab.cluster.images import Image, run_in_image
from lab.cluster.journal import Run, runs
from lab.cluster.launch import running_node
from lab.cluster.namespaces import SYSCTLS
from lab.cluster.node import Node
from lab.cluster.sweep import cgroup_name, leftovers, sweep
from tests.cluster.conftest import skip_unless_complete

pytestmark = [pytest.mark.node, pytest.mark.timeout(600)]

NAMESPACE = "harness"
# Answers each connection with the caller's address; perl is in the smallest Debian.
SERVER = r"""
use IO::Socket::INET;
$SIG{TERM} = sub { exit 0 };
my $listener = IO::Socket::INET->new(LocalPort => 8080, Listen => 5, ReuseAddr => 1) or die "listen: $!";
$| = 1;
print "serving\n";
while (my $client = $listener->accept) { print $client $client->peerhost, "\n"; close $client }
"""
READ_FROM = 'exec 3<>"/dev/tcp/$0/$1"; cat <&3'
STARTS_AND_IS_KILLED = """
import os, signal
from lab.cluster.launch import running_node
with running_node() as node:
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(scope="module")
def namespace(node_cluster: Cluster) -> Iterator[str]:
    node_cluster.kubectl("create", "namespace", NAMESPACE)
    yield NAMESPACE
    node_cluster.kubectl("delete", "namespace", NAMESPACE, "--wait=false")


@pytest.fixture(scope="module")
def web(node_cluster: Cluster, base_image: Image, namespace: str) -> str:
    labels = {"app": "web"}
    probe = {"tcpSocket": {"port": 8080}, "periodSeconds": 1}
    container = {**container_of(base_image, "perl", "-e", SERVER), "readinessProbe": probe}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    spec = {"replicas": 2, "selector": {"matchLabels": labels}, "template": template}
    node_cluster.apply({**meta("apps/v1", "Deployment", "web"), "spec": spec})
    ports = [{"port": 80, "targetPort": 8080}]
    node_cluster.apply({**meta("v1", "Service", "web"), "spec": {"selector": labels, "ports": ports}})
    node_cluster.kubectl("rollout", "status", "deployment/web", "-n", namespace, "--timeout=60s")
    return "web"


@pytest.fixture(scope="module")
def client(node_cluster: Cluster, base_image: Image, namespace: str) -> str:
    run_pod(node_cluster, "client", [container_of(base_image, "sh", "-c", "echo hello; exec sleep 600")])
    node_cluster.kubectl("wait", "pod/client", "-n", namespace, "--for=condition=Ready", "--timeout=60s")
    return "client"


def meta(version: str, kind: str, name: str) -> dict[str, Any]:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name, "namespace": NAMESPACE}}


def container_of(image: Image, *command: str) -> dict[str, Any]:
    return {"name": "app", "image": image.name, "imagePullPolicy": "Never", "command": list(command)}


def run_pod(cluster: Cluster, name: str, containers: list[dict[str, Any]], **spec: Any) -> None:
    quick = {"terminationGracePeriodSeconds": 0, "containers": containers, **spec}
    cluster.apply({**meta("v1", "Pod", name), "spec": quick})


def execute(cluster: Cluster, pod: str, *command: str) -> str:
    return cluster.kubectl("exec", pod, "-n", NAMESPACE, "--", *command)


def test_a_deployment_of_our_base_image_becomes_ready(node_cluster: Cluster, web: str) -> None:
    status = node_cluster.get("deployment", web, "-n", NAMESPACE)["status"]

    assert status["readyReplicas"] == 2


def test_a_service_name_resolves_inside_a_pod_to_its_cluster_address(
    node_cluster: Cluster, web: str, client: str
) -> None:
    address = execute(node_cluster, client, "getent", "ahostsv4", f"{web}.{NAMESPACE}.svc.cluster.local").split()[0]
    short = execute(node_cluster, client, "getent", "ahostsv4", f"{web}.{NAMESPACE}").split()[0]

    assert address == short == node_cluster.get("service", web, "-n", NAMESPACE)["spec"]["clusterIP"]


def test_a_service_is_reached_from_a_pod_and_sees_the_pods_own_address(
    node_cluster: Cluster, web: str, client: str
) -> None:
    seen = execute(node_cluster, client, "bash", "-c", READ_FROM, web, "80").strip()

    assert seen == node_cluster.get("pod", client, "-n", NAMESPACE)["status"]["podIP"]


def test_a_pod_reaches_itself_through_its_service(node_cluster: Cluster, web: str) -> None:
    (first, *_) = node_cluster.get("pods", "-n", NAMESPACE, "-l", "app=web")["items"]

    answers = {execute(node_cluster, first["metadata"]["name"], "bash", "-c", READ_FROM, web, "80") for _ in range(12)}

    assert len(answers) >= 2


def test_a_service_is_reached_from_where_the_api_server_runs(node_cluster: Cluster, node: Node, web: str) -> None:
    address = node_cluster.get("service", web, "-n", NAMESPACE)["spec"]["clusterIP"]

    assert node.run("bash", "-c", READ_FROM, address, "80").strip()


def test_logs_and_exec_work(node_cluster: Cluster, client: str) -> None:
    assert node_cluster.kubectl("logs", client, "-n", NAMESPACE) == "hello\n"
    assert execute(node_cluster, client, "hostname") == "client\n"


def test_a_failing_command_in_a_pod_is_an_error(node_cluster: Cluster, client: str) -> None:
    with pytest.raises(KubectlError, match="exit code 3"):
        execute(node_cluster, client, "sh", "-c", "exit 3")


def test_a_container_is_found_and_killed_by_its_process_number(
    node_cluster: Cluster, node: Node, base_image: Image, namespace: str
) -> None:
    run_pod(node_cluster, "victim", [container_of(base_image, "sleep", "600")])
    node_cluster.kubectl("wait", "pod/victim", "-n", namespace, "--for=condition=Ready", "--timeout=60s")

    node.run("kill", "-KILL", str(node.container_pid(namespace, "victim", container="app")))

    restarts = "--for=jsonpath={.status.containerStatuses[0].restartCount}=1"
    node_cluster.kubectl("wait", "pod/victim", "-n", namespace, restarts, "--timeout=60s")


@pytest.mark.parametrize("limit", [pytest.param(None, id="on disk"), pytest.param("1m", id="of limited size")])
def test_a_provided_volume_is_writable_for_the_pods_group(
    node_cluster: Cluster, node: Node, base_image: Image, namespace: str, limit: str | None
) -> None:
    name = f"volume-{limit or 'disk'}"
    node.provide_volume(namespace, name, limit=limit)
    claim = {"accessModes": ["ReadWriteOnce"], "storageClassName": "", "resources": {"requests": {"storage": "1Gi"}}}
    node_cluster.apply({**meta("v1", "PersistentVolumeClaim", name), "spec": claim})
    mount = {"volumeMounts": [{"name": "data", "mountPath": "/data"}]}
    user = {"runAsUser": 1000, "fsGroup": 2000}
    volume = {"name": "data", "persistentVolumeClaim": {"claimName": name}}
    sleeper = {**container_of(base_image, "sleep", "600"), **mount}
    run_pod(node_cluster, name, [sleeper], securityContext=user, volumes=[volume])
    node_cluster.kubectl("wait", f"pod/{name}", "-n", namespace, "--for=condition=Ready", "--timeout=60s")

    fills = "dd if=/dev/zero of=/data/file bs=64k count=32 2>&1 || true"

    written = execute(node_cluster, name, "sh", "-c", fills)
    assert ("No space left on device" in written) == (limit is not None)


def test_a_command_runs_in_an_image_without_a_node(base_image: Image, tmp_path: Path) -> None:
    (tmp_path / "greeting").write_text("mounted\n")

    assert run_in_image(base_image, "cat", "/mnt/greeting", mounts={tmp_path: "/mnt"}) == "mounted\n"
    with pytest.raises(ClusterError, match="what went wrong"):
        run_in_image(base_image, "sh", "-c", "echo what went wrong && exit 1")


def test_a_node_that_ends_leaves_nothing(base_image: Image) -> None:
    before = shared_traces()

    with running_node() as second:
        second.load(base_image)
        namespace = second.cluster.create_namespace("harness")
        sleeper = {**meta("v1", "Pod", "sleeper"), "spec": {"containers": [container_of(base_image, "sleep", "600")]}}
        sleeper["metadata"]["namespace"] = namespace
        second.cluster.apply(sleeper)
        second.cluster.kubectl("wait", "pod/sleeper", "-n", namespace, "--for=condition=Ready", "--timeout=60s")
        inside = commands_in(second.cluster.run)

    assert "sleep 600" in inside
    assert commands_in(second.cluster.run) == []
    assert leftovers(second.cluster.run) == []
    assert shared_traces() == before


@pytest.mark.usefixtures("own_cache")
def test_a_killed_run_of_a_node_is_swept() -> None:
    skip_unless_complete("node")
    before = shared_traces()

    killed = subprocess.run([sys.executable, "-c", STARTS_AND_IS_KILLED], check=False)

    (run,) = runs()
    left = {line.split()[0] for line in leftovers(run)}
    assert killed.returncode == -signal.SIGKILL
    assert left == {"process", "cgroup", "file"}
    assert sweep() == [run]
    assert leftovers(run) == []
    assert shared_traces() == before


def shared_traces() -> dict[str, set[str]]:
    """What all of the machine shares and a node could change."""
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    links = json.loads(subprocess.run(["ip", "-json", "link"], capture_output=True, text=True, check=True).stdout)
    named = Path("/run/netns")
    return {
        "mounts": {mount for mount in mounts if any(word in mount for word in ("podtls", "containerd", "kubelet"))},
        "links": {link["ifname"] for link in links if link["ifname"].startswith(("podtls", "veth"))},
        "network namespaces": {path.name for path in named.iterdir()} if named.exists() else set(),
        "sysctls": {f"{name}={Path('/proc/sys', name).read_text()}" for name in SYSCTLS},
    }


def commands_in(run: Run) -> list[str]:
    """What runs in the node's pods, which the run did not start itself and whose process numbers are their own."""
    found = []
    for path in Path("/proc").iterdir():
        # A process may end while we look, or be hidden from us.
        with suppress(FileNotFoundError, ProcessLookupError, PermissionError):
            if path.name.isdigit() and f"/{cgroup_name(run)}/" in (path / "cgroup").read_text():
                found.append((path / "cmdline").read_text().replace("\0", " ").strip())
    return found
