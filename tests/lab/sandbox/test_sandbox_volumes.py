import base64
import os
from pathlib import Path
from typing import Any

import pytest

from lab.sandbox.errors import ContainerError, MissingError
from lab.sandbox.kubelet.environment import Place
from lab.sandbox.kubelet.volumes import Volumes, publish, quantity
from lab.sandbox.state import Manifest
from tests.fakes import FakeClusterState


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.fixture(name="state")
def fixture_state() -> FakeClusterState:
    return FakeClusterState(
        config_maps={("shop", "conf"): {"data": {"a": "1", "b": "2"}, "binaryData": {"c": b64("3")}}},
        secrets={("shop", "keys"): {"data": {"tls.key": b64("key")}}},
    )


def make(tmp_path: Path, state: FakeClusterState, *volumes: Manifest, name: str = "web-0") -> Volumes:
    metadata = {"name": name, "namespace": "shop", "labels": {"app": "web"}}
    pod: dict[str, Any] = {"metadata": metadata, "spec": {"volumes": list(volumes)}}
    made = Volumes(pod, Place("10.244.0.7", "10.244.0.1"), state, tmp_path / "pods" / name, tmp_path / "claims")
    made.prepare()
    return made


def read(folder: Path) -> dict[str, str]:
    """What a program sees that follows symlinks and passes over names that begin with two dots."""
    found: dict[str, str] = {}
    for parent, folders, files in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith("..")]
        for path in (Path(parent, name) for name in files):
            found[str(path.relative_to(folder))] = path.read_text(encoding="utf-8")
    return found


def test_config_map_secret_and_downward_api_become_files(tmp_path: Path, state: FakeClusterState) -> None:
    volumes = make(
        tmp_path,
        state,
        {"name": "conf", "configMap": {"name": "conf"}},
        {"name": "keys", "secret": {"secretName": "keys", "defaultMode": 0o400}},
        {"name": "me", "downwardAPI": {"items": [{"path": "ip", "fieldRef": {"fieldPath": "status.podIP"}}]}},
    )

    volumes.refresh()

    assert read(volumes.path("conf")) == {"a": "1", "b": "2", "c": "3"}
    assert read(volumes.path("keys")) == {"tls.key": "key"}
    assert (volumes.path("keys") / "tls.key").stat().st_mode & 0o777 == 0o400
    assert read(volumes.path("me")) == {"ip": "10.244.0.7"}


def test_a_projected_volume_joins_its_sources(tmp_path: Path, state: FakeClusterState) -> None:
    sources = [
        {"serviceAccountToken": {"audience": "podtls-ca", "expirationSeconds": 600, "path": "token"}},
        {"configMap": {"name": "conf", "items": [{"key": "a", "path": "deep/a", "mode": 0o600}]}},
        {"secret": {"name": "keys"}},
        {"downwardAPI": {"items": [{"path": "ns", "fieldRef": {"fieldPath": "metadata.namespace"}}]}},
    ]
    volumes = make(tmp_path, state, {"name": "all", "projected": {"sources": sources, "defaultMode": 0o644}})

    volumes.refresh()

    folder = volumes.path("all")
    assert read(folder) == {"token": "web-0|podtls-ca|600|1", "deep/a": "1", "tls.key": "key", "ns": "shop"}
    assert (folder / "deep/a").stat().st_mode & 0o777 == 0o600


def test_a_token_is_kept_while_it_is_young_and_replaced_when_it_is_old(tmp_path: Path, state: FakeClusterState) -> None:
    def projected(name: str, seconds: int) -> Manifest:
        token = {"audience": "x", "expirationSeconds": seconds, "path": "token"}
        return {"name": name, "projected": {"sources": [{"serviceAccountToken": token}]}}

    volumes = make(tmp_path, state, projected("young", 600), projected("old", 0))

    volumes.refresh()
    volumes.refresh()

    assert read(volumes.path("young"))["token"].endswith("|1")
    assert read(volumes.path("old"))["token"].endswith("|3")


def test_a_change_is_seen_whole_and_nothing_old_is_left(tmp_path: Path, state: FakeClusterState) -> None:
    volumes = make(tmp_path, state, {"name": "conf", "configMap": {"name": "conf"}})
    volumes.refresh()
    folder = volumes.path("conf")
    before = (folder / "..data").readlink()

    volumes.refresh()
    unchanged = (folder / "..data").readlink()
    state.config_maps["shop", "conf"] = {"data": {"b": "new", "d": "4"}}
    volumes.refresh()

    assert unchanged == before
    assert read(folder) == {"b": "new", "d": "4"}
    assert sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.is_symlink()) == [
        str((folder / "..data").readlink())
    ]


def test_an_empty_volume_is_published_too(tmp_path: Path) -> None:
    publish(tmp_path, {})

    assert read(tmp_path) == {}
    assert (tmp_path / "..data").is_dir()


def test_claims_outlive_their_pod_and_empty_dirs_do_not(tmp_path: Path, state: FakeClusterState) -> None:
    wanted = (
        {"name": "evidence", "persistentVolumeClaim": {"claimName": "evidence-web-0"}},
        {"name": "scratch", "emptyDir": {}},
    )
    volumes = make(tmp_path, state, *wanted)
    (volumes.path("evidence") / "log").write_text("kept", encoding="ascii")
    (volumes.path("scratch") / "file").write_text("gone", encoding="ascii")

    volumes.remove()
    again = make(tmp_path, state, *wanted)

    assert read(again.path("evidence")) == {"log": "kept"}
    assert read(again.path("scratch")) == {}
    assert again.path("scratch").stat().st_mode & 0o777 == 0o777


@pytest.mark.parametrize(
    ("volume", "reason"),
    [
        pytest.param({"configMap": {"name": "nope"}}, r'volume v: configmaps "nope" not found', id="no ConfigMap"),
        pytest.param({"secret": {"secretName": "nope"}}, r'volume v: secrets "nope" not found', id="no Secret"),
        pytest.param(
            {"configMap": {"name": "conf", "items": [{"key": "z", "path": "z"}]}}, "conf has no key z", id="no key"
        ),
    ],
)
def test_what_is_not_there_yet_is_missing(
    tmp_path: Path, state: FakeClusterState, volume: Manifest, reason: str
) -> None:
    volumes = make(tmp_path, state, {"name": "v", **volume})

    with pytest.raises(MissingError, match=reason):
        volumes.refresh()


def test_what_is_optional_may_be_missing(tmp_path: Path, state: FakeClusterState) -> None:
    items = [{"key": "z", "path": "z"}, {"key": "a", "path": "a"}]
    volumes = make(
        tmp_path,
        state,
        {"name": "none", "configMap": {"name": "nope", "optional": True}},
        {"name": "some", "configMap": {"name": "conf", "optional": True, "items": items}},
    )

    volumes.refresh()

    assert read(volumes.path("none")) == {}
    assert read(volumes.path("some")) == {"a": "1"}


@pytest.mark.parametrize(
    ("volume", "reason"),
    [
        pytest.param({"hostPath": {"path": "/"}}, "volume v: hostPath is not had in the demo", id="hostPath"),
        pytest.param({}, "volume v: nothing is not had in the demo", id="nothing"),
        pytest.param(
            {"projected": {"sources": [{"clusterTrustBundle": {}}]}},
            "volume v: a projected clusterTrustBundle is not had",
            id="projected, of a kind we lack",
        ),
        pytest.param(
            {"downwardAPI": {"items": [{"path": "cpu", "resourceFieldRef": {}}]}},
            "no field '' in the downward API",
            id="resources",
        ),
    ],
)
def test_what_the_demo_does_not_have_is_refused_by_name(
    tmp_path: Path, state: FakeClusterState, volume: Manifest, reason: str
) -> None:
    with pytest.raises(ContainerError, match=reason):
        make(tmp_path, state, {"name": "v", **volume}).refresh()


def test_an_unknown_volume_is_refused_by_name(tmp_path: Path, state: FakeClusterState) -> None:
    with pytest.raises(ContainerError, match="no volume 'nope'"):
        make(tmp_path, state).path("nope")


@pytest.mark.parametrize(
    ("text", "size"),
    [
        pytest.param("16Mi", 16 * 2**20, id="Mi"),
        pytest.param("1.5Gi", 3 * 2**29, id="a fraction"),
        pytest.param("1k", 1000, id="k"),
        pytest.param("4096", 4096, id="bytes"),
    ],
)
def test_quantities_are_read(text: str, size: int) -> None:
    assert quantity(text) == size


def test_a_quantity_that_is_none_is_refused() -> None:
    with pytest.raises(ContainerError, match="'16 MB' is no quantity"):
        quantity("16 MB")
