"""Certificates and authorities that end: a pod's, the issuing CA's, the CA itself for a while, podtls as a whole."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.binaries import binary
from tests.cluster.cluster import Cluster
from tests.cluster.errors import KubectlError
from tests.cluster.node import Node
from tests.cluster.podtls import NAMESPACE, provide_evidence, wait_ready
from tests.cluster.processes import wait_until
from tests.cluster.workloads import (
    ask,
    certificate,
    container,
    drop,
    enrolled_namespace,
    is_ready,
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

OVERLAY = Path(__file__).parent / "manifests"
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


def test_renewal_cuts_no_open_connection_and_new_handshakes_see_the_new_certificate(
    cluster: Cluster, pair: str
) -> None:
    (web,), (client,) = pods(cluster, pair, "web"), pods(cluster, pair, "client")
    name, address, dialling = web["metadata"]["name"], web["status"]["podIP"], client["metadata"]["name"]
    hello = f"hello from {name}\n"

    with held_connection(cluster, pair, dialling, f"web.{pair}") as connection:
        assert reply(connection) == hello
        before = served(cluster, pair, dialling, address)
        wait_until("a new certificate is served", lambda: served(cluster, pair, dialling, address) != before)
        assert reply(connection) == hello

    assert served(cluster, pair, dialling, address) == certificate(cluster, pair, name).serial
    (same,) = pods(cluster, pair, "web")
    assert restarts(same, "podtls-nginx") == 0


def test_pod_starts_when_the_ca_comes_up_again_although_its_init_was_killed_meanwhile(
    enrolled_node: Node, pair: str
) -> None:
    cluster = enrolled_node.cluster
    cluster.kubectl("scale", "statefulset/podtls-ca", "-n", NAMESPACE, "--replicas=0")
    wait_until("no CA is left", lambda: not ca_pods(cluster))
    cluster.apply(workload("Deployment", pair, "early", template("early", pod_spec(server()))))
    wait_until("its init container asks the CA", lambda: state(cluster, pair, "early", "podtls-init") == "running")
    (early,) = pods(cluster, pair, "early")

    name = early["metadata"]["name"]
    enrolled_node.run("kill", "-KILL", str(enrolled_node.container_pid(pair, name, container="podtls-init")))
    wait_until("init runs again", lambda: restarts(pods(cluster, pair, "early")[0], "podtls-init") >= 1)
    cluster.kubectl("scale", "statefulset/podtls-ca", "-n", NAMESPACE, "--replicas=2")

    rolled_out(cluster, pair, "deployment/early", seconds=150)
    (same,) = pods(cluster, pair, "early")
    assert same["metadata"]["uid"] == early["metadata"]["uid"]
    assert certificate(cluster, pair, name).dns


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

    cluster.kubectl("delete", "namespace", NAMESPACE, "--timeout=120s")
    with pytest.raises(KubectlError, match=r'failed calling webhook "mtls-port\.podtls\.io"'):
        cluster.kubectl("run", "refused", "-n", pair, "--image=localhost/none:1", "--dry-run=server")
    provide_evidence(enrolled_node, limit="32m")
    cluster.kubectl("apply", "--server-side", "-k", str(OVERLAY))
    wait_ready(cluster, seconds=180)
    cluster.apply(workload("Deployment", pair, "new", template("new", pod_spec(server()))))

    rolled_out(cluster, pair, "deployment/new")
    (new,) = pods(cluster, pair, "new")
    found = certificate(cluster, pair, new["metadata"]["name"])
    assert found.issuer != old
    (still,) = pods(cluster, pair, "client")
    assert (still["metadata"]["uid"], is_ready(still)) == (client["metadata"]["uid"], True)


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


def ca_pods(cluster: Cluster) -> list[dict[str, Any]]:
    found = cluster.get("pods", "-n", NAMESPACE, "-l", "app.kubernetes.io/component=ca")["items"]
    assert isinstance(found, list)
    return found


def state(cluster: Cluster, namespace: str, app: str, name: str) -> str:
    """What a container of the app's only pod does now: waiting, running or terminated."""
    for pod in pods(cluster, namespace, app):
        for entry in pod["status"].get("initContainerStatuses", []):
            if entry["name"] == name:
                return str(next(iter(entry["state"]), ""))
    return ""


def has_secret(cluster: Cluster, name: str) -> bool:
    return bool(cluster.kubectl("get", "secret", name, "-n", NAMESPACE, "--ignore-not-found"))
