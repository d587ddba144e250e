"""What tests of the sandbox share: starting one, talking to the world in it, seeing what is left on this machine."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lab.sandbox.linux import enclosure

ROOT = Path(__file__).parents[3]
SECONDS = 60


class WorldError(Exception):
    """What the world answered instead of a result: the name of the error, and its message."""


class RemoteWorld:
    """tests/lab/sandbox/sandbox_world.py in a sandbox of its own."""

    def __init__(self) -> None:
        self.process = start("tests/lab/sandbox/sandbox_world.py", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._read()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*arguments: object) -> Any:
            assert self.process.stdin is not None
            self.process.stdin.write(json.dumps([name, *arguments]) + "\n")
            self.process.stdin.flush()
            return self._read()

        return call

    def close(self) -> int:
        with self.process:
            assert self.process.stdin is not None
            self.process.stdin.close()
            return self.process.wait(SECONDS)

    def kill(self) -> None:
        self.process.kill()
        with self.process:
            self.process.wait(SECONDS)

    def _read(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"the world ended with {self.process.wait(SECONDS)}"
        answer = json.loads(line)
        if "error" in answer:
            raise WorldError(answer["error"], answer["message"])
        return answer["result"]


def start(*arguments: str, **options: Any) -> subprocess.Popen[str]:
    """Run Python with these arguments in a sandbox."""
    command = [sys.executable, "-m", "lab.sandbox.linux.enclosure", *arguments]
    environment = {**os.environ, **enclosure.importable()}
    return subprocess.Popen(command, cwd=ROOT, env=environment, text=True, **options)


def descendants(pid: int) -> set[int]:
    """All processes below this one, as this machine numbers them."""
    parents: dict[int, list[int]] = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        parents.setdefault(int(fields[1]), []).append(int(status.parent.name))
    found: set[int] = set()
    todo = [pid]
    while todo:
        children = parents.get(todo.pop(), [])
        found.update(children)
        todo += children
    return found


def namespaces(pids: set[int]) -> set[str]:
    """The network and mount namespaces that these processes are in, but for ours."""
    ours = _namespaces_of("self")
    return {name for pid in pids for name in _namespaces_of(str(pid))} - ours


def still_there(pids: set[int], spaces: set[str]) -> set[object]:
    """What of these processes is alive, and which of these namespaces somebody is in."""
    alive = {pid for pid in pids if _is_alive(pid)}
    everywhere = {name for path in Path("/proc").glob("[0-9]*") for name in _namespaces_of(path.name)}
    return alive | (everywhere & spaces)


def until(condition: Callable[[], object], what: str) -> None:
    """Wait for it. Fails naming what was waited for."""
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"waited {SECONDS} s for: {what}"
        time.sleep(0.02)


def _namespaces_of(pid: str) -> set[str]:
    found = set()
    for kind in ("net", "mnt"):
        try:
            found.add(str(Path("/proc", pid, "ns", kind).readlink()))
        except OSError:
            continue
    return found


def _is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in {"Z", "X"}
