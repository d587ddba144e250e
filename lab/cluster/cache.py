"""The one folder of this machine that the harness writes to: built parts, images, and the clusters' state."""

import fcntl
import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path


def cache_folder() -> Path:
    """`$XDG_CACHE_HOME/podtls`, else `~/.cache/podtls`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "podtls"


def fingerprint(paths: Iterable[Path], *more: str) -> str:
    """A short digest of names, modes and content of the files and of the strings; the same input, the same digest."""
    digest = hashlib.sha256()
    for name, path in sorted(_files(paths)):
        digest.update(f"{name}\0{path.stat().st_mode}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    digest.update("\0".join(more).encode())
    return digest.hexdigest()[:16]


def _files(paths: Iterable[Path]) -> Iterator[tuple[str, Path]]:
    for path in paths:
        for file in path.rglob("*") if path.is_dir() else (path,):
            if file.is_file() and "__pycache__" not in file.parts:
                yield str(file.relative_to(path.parent)), file


@contextmanager
def locked(name: str) -> Iterator[None]:
    """One process at a time; the kernel lets go of the lock of a process that died."""
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
