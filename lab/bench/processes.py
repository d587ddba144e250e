"""Servers as processes of their own on loopback: started, waited for, and ended by their pid."""

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from lab.bench.errors import BenchError, MissingError
from lab.nginx import MissingNginxError, find_nginx

START_SECONDS = 30.0
STOP_SECONDS = 10.0
# Where Debian keeps servers and Go its own installer puts it; an ordinary user's PATH has neither.
EXTRA_PATH = "/usr/sbin:/usr/local/sbin:/usr/local/go/bin"


@contextmanager
def started(
    arguments: Sequence[str | Path], *, environment: Mapping[str, str], log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """A process for as long as the block lasts; what it prints goes to `log`."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            arguments, env=dict(environment), stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until(ready: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    """Return when `ready`. Raises BenchError with the end of the log when the process ended, or after 30 s."""
    deadline = time.monotonic() + START_SECONDS
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline:
            raise BenchError(f"{Path(str(process.args[0])).name} did not start:\n{log.read_text()[-2000:]}")  # type: ignore[index]
        time.sleep(0.02)


def accepts(port: int) -> bool:
    """Whether somebody listens on this port of loopback."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def free_port() -> int:
    """A port of loopback that nobody listened on a moment ago: Nginx cannot be told to choose one itself."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def program(name: str) -> str:
    """The path of a program, looked for where Debian keeps servers too. Raises MissingError."""
    found = shutil.which(name) or shutil.which(name, path=EXTRA_PATH)
    if found is None:
        raise MissingError(f"{name} is not installed here")
    return found


def nginx() -> str:
    """The path of the Nginx to measure. Raises MissingError."""
    try:
        return str(find_nginx().program)
    except MissingNginxError as error:
        raise MissingError(str(error)) from error


def gunicorn(configuration: str, app: str) -> list[str]:
    """The command that serves `app` with a configuration module of ours."""
    return [sys.executable, "-m", "gunicorn", "-c", f"python:{configuration}", app]
