"""Real pods, real traffic: what is on the wire, who is refused, and that TLS is up before the app."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import pytest

from lab.cluster import podtls
from lab.cluster.cluster import Cluster
from lab.cluster.node import Node
from lab.cluster.processes import wait_until
from tests.cluster.workloads import (
    ask,
    certificate,
    container,
    drop,
    enrolled_namespace,
    pod_spec,
    pods,
    rolled_out,
    server,
    service,
    template,
    workload,
)

pytestmark = [pytest.mark.node, pytest.mark.timeout(600)]

# A TLS client without a certificate: what it gets back, as bytes.
WITHOUT_CERTIFICATE = """
import socket, ssl, sys
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
got = b""
try:
    with socket.create_connection((sys.argv[1], 8443), timeout=5) as plain, context.wrap_socket(plain) as tls:
        tls.sendall(b"GET / HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
        got = tls.recv(100)
except OSError as error:
    print(type(error).__name__)
print("bytes:", len(got))
"""


@pytest.fixture(scope="module")
def cluster(enrolled_node: Node) -> Cluster:
    return enrolled_node.cluster


@pytest.fixture(scope="module")
def shop(cluster: Cluster) -> Iterator[str]:
    """The server `web` behind a Service, and `client`, which dials it by plain HTTP."""
    namespace = enrolled_namespace(cluster, "traffic")
    upstream = {"podtls.io/upstreams": f"web.{namespace}:80=443"}
    cluster.apply(
        workload("Deployment", namespace, "web", template("web", pod_spec(server()))),
        service(namespace, "web", "web"),
        workload("Deployment", namespace, "client", template("client", pod_spec(container("sleep", "3600")), upstream)),
    )
    rolled_out(cluster, namespace, "deployment/web")
    rolled_out(cluster, namespace, "deployment/client")
    (web,), (client,) = pods(cluster, namespace, "web"), pods(cluster, namespace, "client")
    # kube-proxy learns of a ready pod a moment after the Deployment.
    name, hello = client["metadata"]["name"], f"hello from {web['metadata']['name']}"
    wait_until("the Service leads to it", lambda: ask(cluster, namespace, name, f"http://web.{namespace}/") == hello)
    yield namespace
    drop(cluster, namespace)


def test_plain_http_of_the_app_travels_as_tls_only(enrolled_node: Node, cluster: Cluster, shop: str) -> None:
    (web,), (client,) = pods(cluster, shop, "web"), pods(cluster, shop, "client")

    with watching(enrolled_node, shop, web["metadata"]["name"]) as seen:
        replies = [ask(cluster, shop, client["metadata"]["name"], f"http://web.{shop}/") for _ in range(5)]

    assert set(replies) == {f"hello from {web['metadata']['name']}"}
    assert seen["records"]["application_data"] >= 10
    assert seen["plaintext"] == []


def test_the_capture_would_show_plaintext(enrolled_node: Node, cluster: Cluster, shop: str) -> None:
    (web,), (client,) = pods(cluster, shop, "web"), pods(cluster, shop, "client")

    with watching(enrolled_node, shop, web["metadata"]["name"]) as seen:
        ask(cluster, shop, client["metadata"]["name"], f"http://{web['status']['podIP']}:8080/")

    assert any("GET / HTTP/1.1" in text for text in seen["plaintext"])


def test_a_client_without_certificate_gets_no_byte_and_nginx_says_why(cluster: Cluster, shop: str) -> None:
    (web,), (client,) = pods(cluster, shop, "web"), pods(cluster, shop, "client")
    address, name = web["status"]["podIP"], client["metadata"]["name"]

    got = cluster.kubectl("exec", "-n", shop, name, "-c", "app", "--", "python3", "-c", WITHOUT_CERTIFICATE, address)

    assert "bytes: 0" in got
    log = cluster.kubectl("logs", "-n", shop, web["metadata"]["name"], "-c", "podtls-nginx")
    assert "client sent no required SSL certificate" in log


def test_the_certificate_names_the_service_and_the_address_and_nothing_else(cluster: Cluster, shop: str) -> None:
    (web,) = pods(cluster, shop, "web")
    dashed = web["status"]["podIP"].replace(".", "-")

    found = certificate(cluster, shop, web["metadata"]["name"])

    expected = {f"web.{shop}.svc", f"web.{shop}.svc.cluster.local", f"{dashed}.{shop}.pod.cluster.local"}
    assert found.dns == expected


def test_the_app_starts_only_when_its_sidecar_serves_tls(cluster: Cluster, shop: str) -> None:
    (web,) = pods(cluster, shop, "web")
    name = web["metadata"]["name"]
    (sidecar,) = [entry for entry in web["status"]["initContainerStatuses"] if entry["name"] == "podtls-nginx"]
    (app,) = [entry for entry in web["status"]["containerStatuses"] if entry["name"] == "app"]

    assert sidecar["started"] is True
    assert time_of(app) >= time_of(sidecar)
    log = cluster.kubectl("logs", "-n", shop, name, "-c", "podtls-nginx", "--timestamps")
    serving = next(line for line in log.splitlines() if "start worker process" in line)
    began = cluster.kubectl("logs", "-n", shop, name, "-c", "app", "--timestamps").splitlines()[0]
    # The runtime's own clock stamps both lines.
    assert serving.split()[0] < began.split()[0]


def test_the_example_shop_works_as_shipped(enrolled_node: Node, cluster: Cluster) -> None:
    podtls.open_shop(enrolled_node)

    said = cluster.kubectl("logs", "-n", "shop", "deployment/checkout", "-c", "checkout")

    assert "200 payments: 42.00 EUR received" in said


@contextmanager
def watching(node: Node, namespace: str, pod: str) -> Iterator[dict[str, Any]]:
    """Watch the node's end of a pod's veth; the dict is filled when the block ends."""
    peer = ("exec", "-n", namespace, pod, "-c", "app", "--", "cat", "/sys/class/net/eth0/iflink")
    index = node.cluster.kubectl(*peer).strip()
    links = json.loads(node.run("ip", "-json", "link"))
    (interface,) = [link["ifname"] for link in links if str(link["ifindex"]) == index]
    command = [*node.namespaces.enter_network, sys.executable, "-m", "tests.cluster.wire", interface]
    seen: dict[str, Any] = {}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "watching\n"
        yield seen
        rest, _ = process.communicate("enough\n", timeout=20)
    seen.update(json.loads(rest))


def time_of(status: dict[str, Any]) -> datetime:
    """When a container started, to the second."""
    return datetime.fromisoformat(status["state"]["running"]["startedAt"])
