"""The clusters as fixtures: one of each tier for the whole test session, skipped aloud where parts are missing."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from contract.names import INJECT
from lab.cluster.base_image import build_base
from lab.cluster.binaries import BINARIES, binary, unbuilt
from lab.cluster.cluster import Cluster
from lab.cluster.images import Image
from lab.cluster.launch import running_control_plane, running_node
from lab.cluster.node import Node
from lab.cluster.parts import missing
from lab.cluster.podtls import install
from lab.cluster.podtls_local import Podtls, running_podtls

Namespaces = Callable[..., str]


@pytest.fixture(scope="session")
def control_plane(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """etcd, kube-apiserver, kube-controller-manager and kube-scheduler, without a node."""
    skip_unless_complete("control-plane")
    with running_control_plane(keep_logs=lambda: request.session.testsfailed > 0) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def podtls(control_plane: Cluster) -> Iterator[Podtls]:
    """podtls as shipped in `control_plane`, its programs running as processes of this machine."""
    with running_podtls(control_plane) as started:
        yield started


@pytest.fixture
def enrolled(podtls: Podtls) -> Iterator[Namespaces]:
    """Makes enrolled namespaces, with more labels; their pods are gone after the test."""
    made: list[str] = []

    def make(labels: Mapping[str, str] | None = None) -> str:
        made.append(podtls.cluster.create_namespace("shop", {INJECT: "enabled", **(labels or {})}))
        return made[-1]

    yield make
    podtls.cluster.kubectl("delete", "namespace", *made, "--wait=false")


@pytest.fixture(scope="session")
def node(request: pytest.FixtureRequest) -> Iterator[Node]:
    """A whole cluster with one real node."""
    skip_unless_complete("node")
    with running_node(keep_logs=lambda: request.session.testsfailed > 0) as started:
        yield started


@pytest.fixture(scope="session")
def node_cluster(node: Node) -> Cluster:
    """The cluster of the fixture `node`, as an administrator sees it."""
    return node.cluster


@pytest.fixture(scope="session")
def base_image(node: Node) -> Image:
    """A minimal Debian that pods of the node can run."""
    image = build_base()
    node.load(image)
    return image


@pytest.fixture(scope="session")
def enrolled_node(node: Node) -> Node:
    """A node with podtls installed as docs/install.md says: real images, two replicas of each part, real volumes."""
    install(node, overlay="tests")
    return node


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own with the programs of the real one, so that other runs neither see nor sweep it."""
    assets = tmp_path / "assets"
    assets.mkdir()
    for entry in BINARIES:
        if entry not in unbuilt("node"):
            (assets / entry.name).symlink_to(binary(entry.name))
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(assets))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def skip_unless_complete(tier: str) -> None:
    """Skip the test, saying what the machine lacks and what to type."""
    names = ", ".join(entry.name for entry in unbuilt(tier))
    unfinished = [f"not built yet ({names}): python -m lab.cluster build --tier {tier}"] if names else []
    if lines := [*missing(tier), *unfinished]:
        pytest.skip(f"the {tier} tier cannot run here: " + "; ".join(lines))
