"""A pod's volumes as folders of the sandbox: made once, then kept up to date as kubelet does.

Source: Kubernetes "Volumes", "Projected Volumes"; kubelet's atomic writer (pkg/volume/util/atomic_writer.go).
"""

import base64
import shutil
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from lab.sandbox.errors import ContainerError, MissingError, NotFoundError
from lab.sandbox.kubelet.environment import Place
from lab.sandbox.kubelet.environment import field as downward_field
from lab.sandbox.linux import kernel
from lab.sandbox.state import ClusterState, Manifest

_UNITS: Final = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "k": 10**3, "M": 10**6, "G": 10**9}
_DATA: Final = "..data"
_WRITTEN: Final = ("configMap", "secret", "downwardAPI", "projected")
# kubelet asks for a new token when 80 % of the old one's life is over (Kubernetes, "Bound service account tokens").
_TOKEN_LIFE_USED: Final = 0.8

Content = tuple[bytes, int]


@dataclass(slots=True)
class Volumes:
    """The volumes of one pod, below `directory`; claims, which outlive pods, below `claims`."""

    pod: Manifest
    place: Place
    state: ClusterState
    directory: Path
    claims: Path
    _tokens: dict[tuple[str, str], tuple[str, float]] = field(default_factory=dict)

    def prepare(self) -> None:
        """Make them all, those of ConfigMaps and the like still empty. Raises ContainerError naming the unknown one."""
        self.directory.mkdir(parents=True)
        for volume in self._volumes():
            self._make(volume)

    def path(self, name: str) -> Path:
        """The folder of a volume. Raises ContainerError when the pod has none of that name."""
        for volume in self._volumes():
            if volume["name"] == name:
                claim: Manifest | None = volume.get("persistentVolumeClaim")
                return self._claim(str(claim["claimName"])) if claim else self.directory / name
        raise ContainerError(f"pod {self.pod['metadata']['name']}: no volume {name!r}")

    def refresh(self) -> None:
        """Write what is new in ConfigMaps, Secrets and tokens, so that a reader sees all of a change or nothing.

        Raises MissingError for what the API server does not have (yet).
        """
        for volume in self._volumes():
            if any(kind in volume for kind in _WRITTEN):
                publish(self.directory / volume["name"], self._content(volume))

    def remove(self) -> None:
        """Take away all but the claims."""
        for volume in self._volumes():
            if _is_memory(volume):
                kernel.unmount(self.directory / volume["name"])
        shutil.rmtree(self.directory)

    def _volumes(self) -> list[Manifest]:
        return list(self.pod["spec"].get("volumes") or [])

    def _make(self, volume: Manifest) -> None:
        folder = self.path(volume["name"])
        folder.mkdir(parents=True, exist_ok=True)
        if "emptyDir" in volume or "persistentVolumeClaim" in volume:
            if _is_memory(volume):
                limit = (volume["emptyDir"] or {}).get("sizeLimit")
                size = f",size={quantity(str(limit))}" if limit else ""
                kernel.mount("tmpfs", folder, flags=kernel.NOSUID | kernel.NODEV, options=f"mode=777{size}")
            folder.chmod(0o777)
        elif not any(kind in volume for kind in _WRITTEN):
            kind = next((key for key in volume if key != "name"), "nothing")
            raise ContainerError(
                f"pod {self.pod['metadata']['name']}: volume {volume['name']}: the demo does not support {kind};"
                f" it supports emptyDir, persistentVolumeClaim, {', '.join(_WRITTEN)}"
            )

    def _claim(self, name: str) -> Path:
        return self.claims / str(self.pod["metadata"]["namespace"]) / name

    def _content(self, volume: Manifest) -> dict[str, Content]:
        projected = volume.get("projected")
        sources = projected["sources"] if projected else [volume]
        mode = (projected or volume.get("configMap") or volume.get("secret") or volume.get("downwardAPI") or {}).get(
            "defaultMode", 0o644
        )
        content: dict[str, Content] = {}
        for source in sources:
            content |= self._source_content(source, mode, volume["name"])
        return content

    def _source_content(self, source: Manifest, mode: int, volume: str) -> dict[str, Content]:
        if "serviceAccountToken" in source:
            wanted = source["serviceAccountToken"]
            return {wanted["path"]: (self._token(volume, wanted).encode(), mode)}
        if "downwardAPI" in source:
            return {
                item["path"]: (self._field(item).encode(), item.get("mode", mode))
                for item in source["downwardAPI"].get("items") or []
            }
        if "configMap" not in source and "secret" not in source:
            raise ContainerError(f"volume {volume}: the demo does not support a projected {next(iter(source))}")
        return self._keys(source, mode, volume)

    def _keys(self, source: Manifest, mode: int, volume: str) -> dict[str, Content]:
        reference = source.get("configMap") or source["secret"]
        name = reference.get("name") or reference.get("secretName")
        try:
            data = self._data(source, name)
        except NotFoundError as error:
            if reference.get("optional"):
                return {}
            raise MissingError(f"pod {self.pod['metadata']['name']}: volume {volume}: {error}") from error
        items = reference.get("items") or [{"key": key, "path": key} for key in data]
        missing = [item["key"] for item in items if item["key"] not in data]
        if missing and not reference.get("optional"):
            raise MissingError(f"pod {self.pod['metadata']['name']}: volume {volume}: {name} has no key {missing[0]}")
        return {item["path"]: (data[item["key"]], item.get("mode", mode)) for item in items if item["key"] in data}

    def _data(self, source: Manifest, name: str) -> dict[str, bytes]:
        namespace = self.pod["metadata"]["namespace"]
        if "configMap" in source:
            config_map = self.state.config_map(namespace, name)
            text = {key: str(value).encode() for key, value in (config_map.get("data") or {}).items()}
            return text | _decoded(config_map.get("binaryData") or {})
        return _decoded(self.state.secret(namespace, name).get("data") or {})

    def _field(self, item: Manifest) -> str:
        path = item.get("fieldRef", {}).get("fieldPath", "")
        try:
            return downward_field(self.pod, path, self.place)
        except KeyError as error:
            raise ContainerError(
                f"pod {self.pod['metadata']['name']}: no field {path!r} in the downward API"
            ) from error

    def _token(self, volume: str, wanted: Manifest) -> str:
        """The volume's token, a new one when most of the last one's life is over."""
        key, now = (volume, wanted["path"]), time.monotonic()
        known = self._tokens.get(key)
        if known is None or now >= known[1]:
            seconds = int(wanted.get("expirationSeconds", 3600))
            token = self.state.create_token(self.pod, wanted.get("audience", ""), seconds)
            known = self._tokens[key] = (token, now + _TOKEN_LIFE_USED * seconds)
        return known[0]


def quantity(text: str) -> int:
    """Bytes of a Kubernetes quantity. Raises ContainerError."""
    number, unit = text, 1
    for suffix, factor in _UNITS.items():
        if text.endswith(suffix):
            number, unit = text.removesuffix(suffix), factor
            break
    try:
        return int(float(number) * unit)
    except ValueError as error:
        raise ContainerError(f"{text!r} is not a quantity of bytes, such as 16Mi") from error


def publish(folder: Path, content: dict[str, Content]) -> None:
    """Show new files in `folder` at once: they lie in a folder of their own, and one symlink is turned by a rename."""
    current = folder / _DATA
    if current.exists() and _read(current.resolve()) == content:
        return
    fresh = folder / f"..{time.monotonic_ns()}"
    for path, (data, mode) in content.items():
        file = fresh / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        file.chmod(mode)
    fresh.mkdir(exist_ok=True)
    old = current.readlink() if current.is_symlink() else None
    turned = folder / "..data_tmp"
    turned.symlink_to(fresh.name)
    turned.rename(current)
    shown = {Path(path).parts[0] for path in content}
    _show(folder, shown)
    if old is not None:
        shutil.rmtree(folder / old)


def _show(folder: Path, names: Iterable[str]) -> None:
    shown = set(names)
    for entry in folder.iterdir():
        if not entry.name.startswith("..") and entry.name not in shown:
            entry.unlink()
    for name in shown:
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(f"{_DATA}/{name}")


def _read(folder: Path) -> dict[str, Content]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mode & 0o777) for path in files}


def _is_memory(volume: Manifest) -> bool:
    return (volume.get("emptyDir") or {}).get("medium") == "Memory"


def _decoded(data: dict[str, str]) -> dict[str, bytes]:
    return {key: base64.b64decode(value) for key, value in data.items()}
