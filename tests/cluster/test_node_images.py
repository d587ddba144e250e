"""The images as they are built: who they run as, what they do not contain, and that a read-only root suffices."""

import json
import tarfile
from typing import Any

import pytest

from lab.cluster.cluster import Cluster
from lab.cluster.images import Image
from lab.cluster.node import Node
from lab.cluster.podtls import NAMESPACE, build_our_images

pytestmark = [pytest.mark.node, pytest.mark.timeout(600)]

IMAGES = [pytest.param(0, "podtls-init", id="init"), pytest.param(1, "podtls-webhook", id="control plane")]
# Neither is needed to run, and both help whoever breaks in.
UNWANTED = ("pip", "pip3", "gcc", "cc", "ld", "make", "curl", "wget")
# Prints what of UNWANTED is there, modules without .pyc, and which places outside of the mounts can be written.
LOOK = r"""
import importlib.util, json, os, shutil, sys, sysconfig
site = sysconfig.get_path("purelib")
sources = [os.path.join(folder, name) for folder, _, names in os.walk(site) for name in names if name.endswith(".py")]
bare = [path for path in sources if not os.path.exists(importlib.util.cache_from_source(path))]
tests = [folder for folder, _, _ in os.walk(site) if os.path.basename(folder) in ("tests", "test")]
writable = [path for path in ("/", "/etc", "/opt/podtls", site, "/usr") if os.access(path, os.W_OK)]
found = [name for name in sys.argv[1:] if shutil.which(name)]
found += [name for name in ("pip", "setuptools") if importlib.util.find_spec(name)]
seen = {"found": found, "bare": bare, "tests": tests, "writable": writable}
print(json.dumps({**seen, "uid": os.getuid(), "sources": len(sources)}))
"""


@pytest.mark.usefixtures("enrolled_node")
@pytest.mark.parametrize(("index", "name"), IMAGES)
def test_image_runs_as_a_numeric_user_stops_on_sigterm_and_says_what_it_is(index: int, name: str) -> None:
    config = config_of(build_our_images()[index])

    assert config["User"] == "64321:64321"
    assert config["StopSignal"] == "SIGTERM"
    labels = {key.removeprefix("org.opencontainers.image."): value for key, value in config["Labels"].items()}
    assert labels["title"] == name
    assert {"description", "licenses", "version", "revision"} <= labels.keys()


@pytest.mark.parametrize(
    ("container", "at_least"),
    [pytest.param("podtls-nginx", 100, id="init"), pytest.param("webhook", 500, id="webhook")],
)
def test_running_image_has_no_pip_no_compiler_and_all_bytecode(
    enrolled_node: Node, container: str, at_least: int
) -> None:
    seen = look(enrolled_node.cluster, container)

    assert seen["sources"] >= at_least
    assert {key: seen[key] for key in ("found", "bare", "tests", "writable", "uid")} == {
        "found": [],
        "bare": [],
        "tests": [],
        "writable": [],
        "uid": 64321,
    }


def test_every_container_of_podtls_runs_on_a_read_only_root(enrolled_node: Node) -> None:
    found = enrolled_node.cluster.get("pods", "-n", NAMESPACE)["items"]

    containers = [
        entry for pod in found for kind in ("initContainers", "containers") for entry in pod["spec"].get(kind, [])
    ]
    assert len(containers) >= 10
    assert [entry["name"] for entry in containers if not entry["securityContext"]["readOnlyRootFilesystem"]] == []


def look(cluster: Cluster, container: str) -> dict[str, Any]:
    command = (
        "exec",
        "-n",
        NAMESPACE,
        "podtls-webhook-0",
        "-c",
        container,
        "--",
        "/opt/podtls/bin/python3",
        "-c",
        LOOK,
    )
    seen = json.loads(cluster.kubectl(*command, *UNWANTED))
    assert isinstance(seen, dict)
    return seen


def config_of(image: Image) -> dict[str, Any]:
    """The OCI configuration in a docker-archive."""
    with tarfile.open(image.archive) as archive:
        (manifest,) = json.loads(content(archive, "manifest.json"))
        found = json.loads(content(archive, manifest["Config"]))["config"]
    assert isinstance(found, dict)
    return found


def content(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)
    assert file is not None
    return file.read()
