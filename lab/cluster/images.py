"""Container images without a Docker daemon: from Dockerfiles, and the sandbox of every pod.

Each build ends as one docker-archive file in the cache, keyed by what it was made from. buildah and debootstrap run in
mount and process namespaces of their own, so that a killed build leaves neither a mount nor a process.
"""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.cluster.binaries import binary
from lab.cluster.cache import cache_folder, fingerprint, locked
from lab.cluster.errors import ClusterError
from lab.cluster.host_clients import client_mounts

WITH_US = ("setpriv", "--pdeathsig", "KILL", "--")  # A command that ends when the harness is killed.
ISOLATED = (*WITH_US, "unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--")


@dataclass(frozen=True, slots=True)
class Image:
    """An image: the name that pods use, and the docker-archive that holds it."""

    name: str
    archive: Path


def build_image(dockerfile: Path, name: str, *, sources: Sequence[Path], base: Image) -> Image:
    """Build a Dockerfile on our base, given as its argument BASE; the build sees the sources and nothing else.

    The sources lie beside or below the Dockerfile, and keep their places relative to it. ClusterError when it fails.
    """

    def fill(folder: Path) -> None:
        context = folder / "context"
        for source in [dockerfile, *sources]:
            _copy(source, context / source.relative_to(dockerfile.parent))
        volumes = [f"--volume={mount}" for mount in client_mounts(folder)]
        arguments = ["--build-arg", f"BASE={base.name}", "--layers", "--file", str(context / dockerfile.name)]
        _buildah("bud", *volumes, *arguments, "--tag", name, str(context))

    return cached(name, fill, key=fingerprint([dockerfile, *sources], base.archive.name))


def build_pause() -> Image:
    """The image of the sandbox that holds a pod's namespaces: one static program."""
    program = Path(binary("pause"))
    name = "localhost/podtls-pause:1"

    def fill(_: Path) -> None:
        commit(name, program, target="/pause", setting='--entrypoint=["/pause"]')

    return cached(name, fill, key=fingerprint([program]))


def cached(name: str, fill: Callable[[Path], None], *, key: str) -> Image:
    """The image of that name and key, made by `fill` in buildah's storage unless the cache has it.

    `fill` gets an empty folder to work in, which is removed afterwards. Older keys of the name are dropped.
    """
    folder = cache_folder() / "images"
    stem = re.sub(r"[^a-z0-9.]+", "-", name.removeprefix("localhost/"))
    image = Image(name, folder / f"{stem}-{key}.tar")
    with locked("images"):
        if not image.archive.exists():
            _make(image, fill)
            for older in set(folder.glob(f"{stem}-{'?' * len(key)}.tar")) - {image.archive}:
                older.unlink()
    return image


def _make(image: Image, fill: Callable[[Path], None]) -> None:
    work = cache_folder() / "images" / "unfinished"
    shutil.rmtree(work, ignore_errors=True)  # What a killed build left; we hold the lock.
    work.mkdir(parents=True)
    with tempfile.TemporaryDirectory(dir=work) as name:
        fill(Path(name))
        unfinished = Path(name) / "image.tar"
        _buildah("push", "--quiet", image.name, f"docker-archive:{unfinished}:{image.name}")
        unfinished.rename(image.archive)


def commit(name: str, content: Path, *, target: str, setting: str) -> None:
    """An image of one layer in buildah's storage: a file or a folder's content, and one setting of `buildah config`."""
    container = _buildah("from", "scratch").strip()
    _buildah("copy", "--quiet", container, str(content), target)
    _buildah("config", setting, container)
    _buildah("commit", "--quiet", "--rm", container, name)


def _buildah(*arguments: str) -> str:
    storage = cache_folder() / "buildah"
    roots = ["--root", str(storage / "root"), "--runroot", str(storage / "run"), "--storage-driver=overlay"]
    return run_isolated(["buildah", *roots, *arguments], f"buildah {arguments[0]}")


def run_isolated(argv: Sequence[str], what: str) -> str:
    """A command's stdout; it ends with us and leaves no mount. ClusterError with its last lines when it fails."""
    environment = {**os.environ, **_environment()}
    answer = subprocess.run([*ISOLATED, *argv], env=environment, capture_output=True, text=True, check=False)
    if answer.returncode:
        raise ClusterError(f"{what} failed:\n{(answer.stdout + answer.stderr)[-4000:]}")
    return answer.stdout


def _environment() -> dict[str, str]:
    storage = cache_folder() / "buildah"
    settings = storage / "containers.conf"
    storage.mkdir(exist_ok=True)
    settings.write_text(f'[network]\nnetwork_config_dir = "{storage}/net.d"\n')  # Else it makes /etc/cni/net.d.
    folders = {"TMPDIR": str(cache_folder() / "images"), "CONTAINERS_CONF": str(settings)}
    return {"BUILDAH_ISOLATION": "chroot", "DEBIAN_FRONTEND": "noninteractive", **folders}


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy2(source, target)
