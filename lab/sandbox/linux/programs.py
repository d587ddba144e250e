"""What stands in for images: where the Python that runs us is, and what it needs. Starts nothing."""

import importlib.util
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lab.sandbox.errors import SandboxError

PACKAGES: Final = ("contract", "webhook", "injector", "serving", "ca", "audit", "documents", "podtls")


@dataclass(frozen=True, slots=True)
class Interpreter:
    """The Python that runs us: its path, the folders it needs, the symlinks that lead to it, where our source is."""

    executable: Path
    folders: tuple[Path, ...]
    links: tuple[tuple[Path, str], ...]
    source_roots: tuple[Path, ...]


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
