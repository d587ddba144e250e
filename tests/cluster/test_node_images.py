"""The images that `make images` builds: they work, lack what they do not need, and run on a read-only root."""

import importlib.util
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from contract.names import VERSION
from lab.cluster.cluster import Cluster
from lab.cluster.images import Image, run_in_image
from lab.cluster.node import Node
from lab.cluster.podtls import NAMESPACE, build_our_images
from tests.cluster.conftest import skip_unless_complete

pytestmark = [pytest.mark.node, pytest.mark.timeout(600)]

# Neither is needed to run, and both help an attacker who breaks in.
UNWANTED = ("pip", "pip3", "gcc", "cc", "ld", "make", "curl", "wget")
# Prints what of UNWANTED is there, modules without .pyc, and which places outside of the mounts can be written.
LOOK = r"""
import importlib.util, json, os, shutil, sys, sysconfig
site = sysconfig.get_path("purelib")
sources = [os.path.join(folder, name) for folder, _, names in os.walk(site) for name in names if name.endswith(".py")]
bare = [path for path in sources if not os.path.exists(importlib.util.cache_from_source(path))]
writable = [path for path in ("/", "/etc", "/opt/podtls", site, "/usr") if os.access(path, os.W_OK)]
found = [name for name in sys.argv[1:] if shutil.which(name)]
found += [name for name in ("pip", "setuptools") if importlib.util.find_spec(name)]
seen = {"found": found, "bare": bare, "writable": writable}
print(json.dumps({**seen, "uid": os.getuid(), "sources": len(sources)}))
"""


@pytest.fixture(scope="module")
def images() -> dict[str, Image]:
    """Both images by the name that they give themselves, from the same build that the node's pods run."""
    skip_unless_complete("node")
    init, control_plane = build_our_images()
    return {"podtls-init": init, "podtls-webhook": control_plane}


@pytest.mark.parametrize("name", ["podtls-init", "podtls-webhook"])
def test_image_runs_as_a_numeric_user_stops_on_sigterm_and_says_what_it_is(name: str, images: dict[str, Image]) -> None:
    config = config_of(images[name])

    assert config["User"] == "64321:64321"
    assert config["StopSignal"] == "SIGTERM"
    labels = {key.removeprefix("org.opencontainers.image."): value for key, value in config["Labels"].items()}
    assert labels["title"] == name
    assert labels["version"] == VERSION
    assert {"description", "licenses", "revision"} <= labels.keys()


def test_commands_of_the_control_plane_work(images: dict[str, Image]) -> None:
    assert run_in_image(images["podtls-webhook"], "podtls", "--version") == f"podtls, version {VERSION}\n"


def test_commands_of_the_init_image_work_whatever_python_variables_say(images: dict[str, Image]) -> None:
    misled = ("env", "PYTHONPATH=/nowhere", "PYTHONHOME=/nowhere")

    assert "podtls-injector init" in run_in_image(images["podtls-init"], *misled, "podtls-injector", "--help")


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        pytest.param("podtls-init", set(), id="init"),
        pytest.param("podtls-webhook", {"podtls"}, id="control plane"),
    ],
)
def test_each_package_of_an_image_has_what_it_requires(name: str, ours: set[str], images: dict[str, Image]) -> None:
    assert run_pip(images[name], "check") == "No broken requirements found.\n"
    packages = {package["name"] for package in json.loads(run_pip(images[name], "list", "--format=json"))}
    assert packages & {"podtls", "cryptography"} == {"cryptography", *ours}


@pytest.mark.parametrize(
    ("container", "at_least"),
    [pytest.param("podtls-nginx", 100, id="init"), pytest.param("webhook", 500, id="webhook")],
)
def test_running_image_has_no_pip_no_compiler_and_all_bytecode(
    enrolled_node: Node, container: str, at_least: int
) -> None:
    seen = look(enrolled_node.cluster, container)

    assert seen.pop("sources") >= at_least
    assert seen == {"found": [], "bare": [], "writable": [], "uid": 64321}


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


def run_pip(image: Image, *arguments: str) -> str:
    """What the pip of these tests says of an image's packages; the image has none."""
    spec = importlib.util.find_spec("pip")
    assert spec
    assert spec.origin
    mounts = {Path(spec.origin).parent: "/mnt/pip"}
    python = ("env", "PYTHONPATH=/mnt", "PIP_DISABLE_PIP_VERSION_CHECK=1", "/opt/podtls/bin/python3")
    return run_in_image(image, *python, "-m", "pip", *arguments, mounts=mounts)


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
