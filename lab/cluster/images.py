"""Container images without a Docker daemon: built, kept, looked into; and the sandbox of every pod.

Each build ends as one docker-archive file in the cache, keyed by what it was made from. buildah and debootstrap run in
mount and process namespaces of their own, so that a killed build leaves neither a mount nor a process.
"""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from lab.cluster.binaries import binary
from lab.cluster.cache import cache_folder, fingerprint, locked
from lab.cluster.errors import ClusterError

WITH_US = ("setpriv", "--pdeathsig", "KILL", "--")  # A command that ends when the harness is killed.
ISOLATED = (*WITH_US, "unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--")


@dataclass(frozen=True, slots=True)
class Image:
    """An image: the name that pods use, and the docker-archive that holds it."""

    name: str
    archive: Path


def build_pause() -> Image:
    """The image of the sandbox that holds a pod's namespaces: one static program."""
    program = Path(binary("pause"))
    name = "localhost/podtls-pause:1"

    def fill(_: Path) -> None:
        commit(name, program, target="/pause", setting='--entrypoint=["/pause"]')

    (image,) = cached([name], fill, key=fingerprint([program]))
    return image


def cached(names: Sequence[str], fill: Callable[[Path], None], *, key: str) -> tuple[Image, ...]:
    """The images of these names and this key, made by `fill` in buildah's storage unless the cache has them all.

    `fill` gets an empty folder to work in, which is removed afterwards. Older keys of the names are dropped.
    """
    folder = cache_folder() / "images"
    images = tuple(Image(name, folder / f"{_stem(name)}-{key}.tar") for name in names)
    with locked("images"):
        if not all(image.archive.exists() for image in images):
            _make(images, fill, key)
    return images


def _make(images: Sequence[Image], fill: Callable[[Path], None], key: str) -> None:
    work = cache_folder() / "images" / "unfinished"
    shutil.rmtree(work, ignore_errors=True)  # What a killed build left; we hold the lock.
    work.mkdir(parents=True)
    with tempfile.TemporaryDirectory(dir=work) as name:
        stale = _dangling()
        fill(Path(name))
        for leaf in sorted(stale & _dangling()):
            _buildah("rmi", leaf)
        for image in images:
            unfinished = Path(name) / "image.tar"
            _buildah("push", "--quiet", image.name, f"docker-archive:{unfinished}:{image.name}")
            for older in image.archive.parent.glob(f"{_stem(image.name)}-{'?' * len(key)}.tar"):
                older.unlink()
            unfinished.rename(image.archive)


def _dangling() -> set[str]:
    # What earlier builds of changed sources left: half a gigabyte each. A stage that is used again is no leaf any more.
    return set(_buildah("images", "--filter=dangling=true", "--quiet").split())


def _stem(name: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", name.removeprefix("localhost/"))


def commit(name: str, content: Path, *, target: str, setting: str) -> None:
    """An image of one layer in buildah's storage: a file or a folder's content, and one setting of `buildah config`."""
    container = _buildah("from", "scratch").strip()
    _buildah("copy", "--quiet", container, str(content), target)
    _buildah("config", setting, container)
    _buildah("commit", "--quiet", "--rm", container, name)


def run_in_image(image: Image, *argv: str, mounts: Mapping[Path, str] = MappingProxyType({})) -> str:
    """A command's stdout, run as the image's user on its files, without a node. ClusterError when it fails."""
    volumes = [f"--volume={source}:{target}:ro" for source, target in mounts.items()]
    with locked("images"):
        container = _buildah("from", image.name).strip()
        try:
            return _buildah("run", *volumes, container, "--", *argv)
        finally:
            _buildah("rm", container)


def _buildah(*arguments: str) -> str:
    return run_isolated(["buildah", *arguments], f"buildah {arguments[0]}")


def run_isolated(argv: Sequence[str], what: str) -> str:
    """A command's stdout; it ends with us and leaves no mount. ClusterError with its last lines when it fails."""
    environment = {**os.environ, **_environment()}
    answer = subprocess.run([*ISOLATED, *argv], env=environment, capture_output=True, text=True, check=False)
    if answer.returncode:
        raise ClusterError(f"{what} failed:\n{(answer.stdout + answer.stderr)[-4000:]}")
    return answer.stdout


def _environment() -> dict[str, str]:
    """What any buildah finds its settings by, whoever starts it: storage of our own, layers kept, no daemon."""
    storage = cache_folder() / "buildah"
    storage.mkdir(exist_ok=True)
    settings, store = storage / "containers.conf", storage / "storage.conf"
    settings.write_text(f'[network]\nnetwork_config_dir = "{storage}/net.d"\n')  # Else it makes /etc/cni/net.d.
    store.write_text(f'[storage]\ndriver = "overlay"\ngraphroot = "{storage}/root"\nrunroot = "{storage}/run"\n')
    folders = {"TMPDIR": str(cache_folder() / "images"), "CONTAINERS_CONF": str(settings)}
    choices = {"BUILDAH_ISOLATION": "chroot", "BUILDAH_LAYERS": "true", "DEBIAN_FRONTEND": "noninteractive"}
    return {**choices, **folders, "CONTAINERS_STORAGE_CONF": str(store)}
