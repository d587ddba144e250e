import base64
import os
from pathlib import Path
from typing import Any

import pytest

from lab.sandbox.kubelet.environment import Place
from lab.sandbox.kubelet.volumes import Volumes
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
