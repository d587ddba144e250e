"""Never root: how tests that run as root start Nginx and the sidecar as uid 64321.

By setuid where that user can execute our Python; else (the interpreter lies in root's home) in a user namespace that
maps root to 64321, where files stay the test's own. An ordinary user's tests start things as themselves.
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Final, TypedDict

import pytest

from contract.names import RUN_AS_USER

ROOT: Final = Path(__file__).parents[2]

Arguments = Sequence[str | Path]


class User(TypedDict, total=False):
    """What subprocess knows of it."""

    user: int
    group: int
    extra_groups: list[int]


_SETUID: Final[User] = {"user": RUN_AS_USER, "group": RUN_AS_USER, "extra_groups": []}
_NAMESPACE: Final = ("unshare", "--user", f"--map-user={RUN_AS_USER}", f"--map-group={RUN_AS_USER}", "--")
_PROBE: Final = (sys.executable, "-c", "import cryptography")


def user() -> User:
    """What to give to subprocess."""
    return {} if os.geteuid() != 0 or _namespace_is_needed() else _SETUID


def command(arguments: Arguments) -> list[str | Path]:
    """What to run; the process id stays the program's own."""
    return [*_NAMESPACE, *arguments] if os.geteuid() == 0 and _namespace_is_needed() else list(arguments)


def own(directory: Path) -> None:
    """Give what root's test wrote to the unprivileged user."""
    if user():
        for path in (directory, *directory.rglob("*")):
            os.lchown(path, RUN_AS_USER, RUN_AS_USER)


def need_python() -> None:
    """Skip aloud where our Python cannot be run unprivileged at all."""
    if not _works(command(_PROBE), user()):
        pytest.skip(f"uid {RUN_AS_USER} cannot execute {sys.executable}, and user namespaces are not to be had")


@cache
def _namespace_is_needed() -> bool:
    return not _works(_PROBE, _SETUID) and _works([*_NAMESPACE, *_PROBE], {})


@cache
def _works_at_all(arguments: tuple[str | Path, ...], setuid: int) -> bool:
    drop: User = _SETUID if setuid else {}
    try:
        return subprocess.run(arguments, cwd=ROOT, timeout=30, check=False, capture_output=True, **drop).returncode == 0
    except OSError:
        return False


def _works(arguments: Arguments, drop: User) -> bool:
    return _works_at_all(tuple(arguments), drop.get("user", 0))
