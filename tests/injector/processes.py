"""Real processes for the tests of the injector: both Nginx builds, run unprivileged, and waiting that polls."""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import cache
from itertools import starmap
from pathlib import Path

import pytest

from lab.nginx import MissingNginxError, Nginx, list_candidates, probe_nginx
from tests.injector.unprivileged import command, own, user


@cache
def usable_builds() -> list[Nginx]:
    """Each Nginx of this machine that can carry app traffic; test_lab_nginx.py says why another one cannot."""
    return [build for build in starmap(_probe, list_candidates()) if build]


def _probe(origin: str, program: Path) -> Nginx | None:
    try:
        return probe_nginx(origin, program)
    except MissingNginxError:
        return None


def with_nginx(nginx: Nginx, environ: dict[str, str]) -> dict[str, str]:
    """The environment with this build first on PATH."""
    return {**environ, "PATH": f"{nginx.program.parent}:{os.defpath}"}


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
