"""docs/install.md, typed word by word by somebody who has nothing but kubectl and podtls, from install to uninstall."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.cluster import podtls
from lab.cluster.cluster import Cluster, kubectl_environment
from lab.cluster.launch import running_node
from lab.cluster.node import Node
from lab.cluster.processes import wait_until
from tests.cluster.conftest import skip_unless_complete
from tests.cluster.workloads import pods, rolled_out

pytestmark = [pytest.mark.node, pytest.mark.timeout(600)]

INSTALL = podtls.REPOSITORY / "docs/install.md"


@pytest.fixture(scope="module")
def bare_node() -> Iterator[Node]:
    """A node that knows our images and has volumes for the evidence; nothing is installed."""
    skip_unless_complete("node")
    with running_node() as node:
        podtls.prepare(node)
        yield node


def test_the_install_guide_works_word_by_word(bare_node: Node) -> None:
    cluster = bare_node.cluster
    shop = podtls.shop(bare_node, podtls.CONTROL_PLANE_IMAGE)
    cluster.apply(*[found for found in shop if found["kind"] == "Namespace"])
    cluster.apply(*[found for found in shop if found["kind"] != "Namespace"])
    rolled_out(cluster, "shop", "deployment/payments")

    type_all(cluster, "## Install\n")
    podtls.wait_ready(cluster)
    checked = type_one(cluster, "podtls check -o json")
    type_all(cluster, "## Enroll a namespace\n")
    for app in ("payments", "checkout"):
        rolled_out(cluster, "shop", f"deployment/{app}")
    status = type_one(cluster, "podtls status -n shop")

    assert '"problems":0' in re.sub(r"\s", "", checked)
    assert all("podtls.io/status" in pod["metadata"]["annotations"] for pod in pods(cluster, "shop", "payments"))
    assert "payments" in status
    assert "mtls" in status

    type_all(cluster, "## Uninstall\n")
    wait_until("podtls is gone", lambda: not cluster.kubectl("get", "ns", "podtls-system", "--ignore-not-found"))
    rolled_out(cluster, "shop", "deployment/checkout")
    plain = [pod for pod in pods(cluster, "shop", "checkout") if "initContainers" not in pod["spec"]]
    assert plain
    left = cluster.kubectl(
        "get", "mutatingwebhookconfigurations,validatingwebhookconfigurations,clusterroles", "-o", "name"
    )
    assert "podtls" not in left


def type_all(cluster: Cluster, section: str) -> None:
    """Type every command of a section's console blocks, in their order; each must succeed."""
    text = INSTALL.read_text().partition(section)[2].partition("\n## ")[0]
    blocks = re.findall(r"```console\n(.*?)```", text, re.DOTALL)
    commands = [line.removeprefix("$ ") for block in blocks for line in block.splitlines() if line.startswith("$ ")]
    assert commands, section
    for command in commands:
        type_one(cluster, command)


def type_one(cluster: Cluster, command: str) -> str:
    """Type one command in the repository, with this cluster's kubeconfig and our programs first on PATH."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, **kubectl_environment(cluster), "PATH": path}
    answer = subprocess.run(
        shlex.split(command),
        cwd=podtls.REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert answer.returncode == 0, f"{command}\n{answer.stdout}{answer.stderr}"
    return answer.stdout
