"""The real wheels of our locks and of pip: downloaded once from the index that pip is set to, then cached."""

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from packaging.utils import parse_wheel_filename

from lab.cluster.cache import cache_folder, fingerprint, locked


class DownloadError(Exception):
    """pip could not download; the text is what it wrote."""


def locked_wheels(locks: Sequence[Path], python: str) -> Path:
    """A folder that has every wheel that a Python of this version (`3.11`) installs from the locks."""
    folder = cache_folder() / f"wheels-{python}"
    complete = folder / f"complete-{fingerprint(locks)}"
    requirements = [word for lock in locks for word in ("--requirement", str(lock))]
    with locked("wheels"):
        if not complete.exists():
            # pip keeps what is there already and has the right hash.
            _download(folder, "--python-version", python, "--require-hashes", *requirements)
            complete.touch()
    return folder


def pip_wheel(version: str) -> Path:
    """This version of pip, from the cache or the index."""
    with locked("wheels"):
        if version not in _pips():
            _download(_pip_folder(), f"pip=={version}")
        return _pips()[version]


def newest_pip_wheel() -> Path:
    """The newest pip of the index; where the index cannot be reached the newest that was seen before."""
    with locked("wheels"):
        try:
            _download(_pip_folder(), "pip")
        except DownloadError:
            if not _pips():
                raise
        return max(_pips().values(), key=lambda wheel: parse_wheel_filename(wheel.name)[1])


def can_download() -> bool:
    """Tell whether the index answers at all."""
    with tempfile.TemporaryDirectory() as temporary:
        try:
            _download(Path(temporary), "pip")
        except DownloadError:
            return False
    return True


def _pip_folder() -> Path:
    return cache_folder() / "pip"


def _pips() -> dict[str, Path]:
    return {str(parse_wheel_filename(wheel.name)[1]): wheel for wheel in _pip_folder().glob("pip-*.whl")}


def _download(folder: Path, *what: str) -> None:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--retries", "1"]
    options = ["--no-deps", "--only-binary", ":all:", "--dest", str(folder)]
    done = subprocess.run([*command, *options, *what], capture_output=True, text=True, check=False)
    if done.returncode:
        raise DownloadError(done.stderr.strip())
