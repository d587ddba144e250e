"""Generations on the run volume: a complete directory first, then one symlink flip. Knows nothing of certificates.

Layout: `current -> gen-NNNNNN/` with tls.key, tls.crt, ca.crt and nginx.conf. A reader of `current` sees the old
generation or the new one, never a mixture and never a half.
"""

import fcntl
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from contract.names import BUNDLE_FILE, CERTIFICATE_FILE, CURRENT, KEY_FILE, NGINX_FILE
from injector.errors import GenerationError, InjectorError

_NAME: Final = re.compile(r"gen-([0-9]{6,})")
_STAGED: Final = ".new"  # what is not finished yet carries this ending, and the next write removes it

# File -> mode. Fixed here, whatever the umask: the private key is for its owner alone.
_MODES: Final = {KEY_FILE: 0o400, CERTIFICATE_FILE: 0o444, BUNDLE_FILE: 0o444, NGINX_FILE: 0o444}


@dataclass(frozen=True, slots=True)
class Generation:
    """The four files of one generation."""

    key: bytes  # PKCS#8 PEM
    certificate: bytes  # PEM: leaf, issuing CA
    bundle: bytes  # PEM: trust bundle
    nginx: bytes


def write(run: Path, generation: Generation, *, accept: Callable[[Path], None] = lambda _: None) -> Path:
    """Write a generation, let `accept` look at its directory (`nginx -t`), then flip `current` to it.

    Returns its directory. The generation before stays (Nginx may still be reading it), older ones go. Raises
    GenerationError, or what `accept` raises; then `current` is as it was and nothing of the new one is left.
    """
    try:
        with _locked(run):
            before = _target(run)
            number = max((number for number, _ in _generations(run)), default=0) + 1
            _remove_staged(run)
            finished = run / f"gen-{number:06d}"
            _write_files(finished, generation, accept)
            _flip(run, finished)
            _prune(run, keep={finished, before})
    except OSError as error:
        raise GenerationError(f"{run}: cannot write a new generation: {error.strerror or error}") from error
    return finished


def read(run: Path) -> Generation:
    """Read the current generation; raise GenerationError when there is none or it is not whole."""
    directory = run / CURRENT
    try:
        # Resolved once, so that a flip in between cannot mix two generations.
        directory = directory.resolve(strict=True)
        key, certificate, bundle, nginx = ((directory / name).read_bytes() for name in _MODES)
    except OSError as error:
        raise GenerationError(f"{directory}: no readable generation: {error.strerror or error}") from error
    return Generation(key=key, certificate=certificate, bundle=bundle, nginx=nginx)


@contextmanager
def _locked(run: Path) -> Iterator[None]:
    """Hold the run directory for one writer: two of them would take the same number."""
    handle = os.open(run, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _write_files(finished: Path, generation: Generation, accept: Callable[[Path], None]) -> None:
    """Fill a staged directory, have it accepted, give it its name; remove it on any failure."""
    staged = finished.with_name(finished.name + _STAGED)
    contents = (generation.key, generation.certificate, generation.bundle, generation.nginx)
    try:
        staged.mkdir(mode=0o755)
        for (name, mode), content in zip(_MODES.items(), contents, strict=True):
            _write_file(staged / name, content, mode)
        accept(staged)
        _sync(staged)
        staged.rename(finished)
    except (OSError, InjectorError):
        _remove(staged)
        raise


def _write_file(path: Path, content: bytes, mode: int) -> None:
    """Create the file with its final mode, so that the key is never readable by others, not even for a moment."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        os.fchmod(file.fileno(), mode)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _flip(run: Path, target: Path) -> None:
    """Point `current` at the target by one rename, which is atomic (POSIX rename()); on failure remove the target."""
    staged = run / (CURRENT + _STAGED)
    try:
        staged.symlink_to(target.name)
        staged.replace(run / CURRENT)
        _sync(run)
    except OSError:
        if _target(run) != target:
            _remove(staged)
            _remove(target)
        raise


def _prune(run: Path, *, keep: set[Path | None]) -> None:
    """Remove all generations but the new one and the one before, which Nginx may be reading at this moment."""
    for _, path in _generations(run):
        if path not in keep:
            _remove(path)


def _target(run: Path) -> Path | None:
    """The directory that `current` names now."""
    link = run / CURRENT
    return run / link.readlink() if link.is_symlink() else None


def _remove_staged(run: Path) -> None:
    """Remove what a killed writer left half-done."""
    for path in run.glob(f"*{_STAGED}"):
        _remove(path)


def _generations(run: Path) -> list[tuple[int, Path]]:
    found = ((_NAME.fullmatch(path.name), path) for path in run.iterdir())
    return [(int(match[1]), path) for match, path in found if match]


def _remove(path: Path) -> None:
    """Remove a link, or a directory of plain files; what is not there is fine."""
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
        return
    for file in path.iterdir():
        file.unlink()
    path.rmdir()


def _sync(directory: Path) -> None:
    """Make the directory's entries durable: on disk the rename must not overtake what it names."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
