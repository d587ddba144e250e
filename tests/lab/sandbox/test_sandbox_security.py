from pathlib import Path
from typing import Any

import pytest

from lab.sandbox.errors import ContainerError
from lab.sandbox.kubelet import container
from lab.sandbox.kubelet.environment import Place
from lab.sandbox.kubelet.rootfs import Bind
from lab.sandbox.kubelet.security import parse_security
from lab.sandbox.kubelet.volumes import Volumes
from lab.sandbox.state import Manifest
from tests.fakes import FakeClusterState

NET_ADMIN, NET_BIND_SERVICE = 12, 10


def parse(own: Manifest | None = None, pod: Manifest | None = None) -> dict[str, Any]:
    security = parse_security({"name": "app", "securityContext": own}, {"spec": {"securityContext": pod}})
    return security.plan()


@pytest.mark.parametrize(
    ("own", "pod", "who"),
    [
        pytest.param(None, None, (0, 0), id="nobody says"),
        pytest.param(None, {"runAsUser": 1000, "runAsGroup": 7}, (1000, 7), id="the pod says"),
        pytest.param({"runAsUser": 64321}, {"runAsUser": 1000, "runAsGroup": 7}, (64321, 7), id="the container says"),
    ],
)
def test_a_container_runs_as_it_says_else_as_its_pod_says(
    own: Manifest | None, pod: Manifest | None, who: tuple[int, int]
) -> None:
    plan = parse(own, pod)

    assert (plan["uid"], plan["gid"]) == who


def test_root_is_refused_where_nobody_may_be_root() -> None:
    with pytest.raises(ContainerError, match="container app: runAsNonRoot without a runAsUser other than 0"):
        parse({"runAsNonRoot": True})


@pytest.mark.parametrize(
    ("own", "has", "has_not"),
    [
        pytest.param({}, {NET_BIND_SERVICE}, {NET_ADMIN}, id="default"),
        pytest.param({"capabilities": {"drop": ["ALL"]}}, set(), {NET_BIND_SERVICE, NET_ADMIN}, id="all dropped"),
        pytest.param(
            {"capabilities": {"drop": ["all"], "add": ["NET_ADMIN"]}}, {NET_ADMIN}, {NET_BIND_SERVICE}, id="one added"
        ),
        pytest.param(
            {"capabilities": {"add": ["CAP_NET_ADMIN"]}}, {NET_ADMIN, NET_BIND_SERVICE}, set(), id="long name"
        ),
        pytest.param({"privileged": True}, {NET_ADMIN, NET_BIND_SERVICE}, set(), id="privileged"),
    ],
)
def test_capabilities_are_those_of_the_runtime_less_drop_plus_add(
    own: Manifest, has: set[int], has_not: set[int]
) -> None:
    capabilities = set(parse(own)["capabilities"])

    assert has <= capabilities
    assert not has_not & capabilities


def test_an_unknown_capability_is_refused_by_name() -> None:
    with pytest.raises(ContainerError, match="container app: unknown capability NET_ADMLN"):
        parse({"capabilities": {"add": ["NET_ADMLN"]}})


def test_no_new_privileges_and_the_read_only_root_are_asked_for_explicitly() -> None:
    strict = parse_security(
        {"name": "a", "securityContext": {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True}},
        {"spec": {}},
    )
    lax = parse_security({"name": "a"}, {"spec": {}})

    assert (strict.no_new_privileges, strict.read_only_root) == (True, True)
    assert (lax.no_new_privileges, lax.read_only_root) == (False, False)


@pytest.fixture(name="volumes")
def fixture_volumes(tmp_path: Path) -> Volumes:
    pod: Manifest = {
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"volumes": [{"name": "data", "emptyDir": {}}]},
    }
    volumes = Volumes(pod, Place("10.244.0.7", "10.244.0.1"), FakeClusterState(), tmp_path / "pod", tmp_path / "claims")
    volumes.prepare()
    return volumes


@pytest.mark.parametrize(
    ("mount", "source"),
    [
        pytest.param({}, "data", id="whole"),
        pytest.param({"subPath": "a/b"}, "data/a/b", id="subPath"),
        pytest.param({"subPathExpr": "$(POD)"}, "data/web", id="subPathExpr"),
    ],
)
def test_volumes_are_mounted_where_the_pod_says(volumes: Volumes, mount: Manifest, source: str, tmp_path: Path) -> None:
    wanted = {"volumeMounts": [{"name": "data", "mountPath": "/data", "readOnly": True, **mount}]}

    steps = container.mounts(wanted, volumes, {"POD": "web"})

    assert container.mounts(wanted, volumes, {"POD": "web"}) == steps, "what is there already is taken as it is"
    assert steps == (Bind("/data", str(tmp_path / "pod" / source), read_only=True),)
    assert Path(tmp_path / "pod" / source).is_dir()


def test_a_sub_path_that_leaves_its_volume_is_refused(volumes: Volumes) -> None:
    wanted = {"volumeMounts": [{"name": "data", "mountPath": "/data", "subPath": "../../etc"}]}

    with pytest.raises(ContainerError, match=r"subPath '\.\./\.\./etc' leaves the volume"):
        container.mounts(wanted, volumes, {})
