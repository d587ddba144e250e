"""A real gunicorn on a unix socket, and a client that speaks HTTP to it."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException, HTTPResponse
from pathlib import Path
from socket import AF_UNIX, SOCK_STREAM, socket
from types import TracebackType
from typing import Self

ROOT = Path(__file__).parents[2]
DEADLINE_SECONDS = 60


class UnixConnection(HTTPConnection):
    """An HTTP connection to a unix socket, as the edge proxy has it; a context that closes it."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=20)
        self._path = path

    def connect(self) -> None:
        self.sock = socket(AF_UNIX, SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def get(self, path: str) -> tuple[HTTPResponse, bytes]:
        """One request and its whole response; raises OSError or HTTPException where there is none."""
        self.request("GET", path)
        response = self.getresponse()
        return response, response.read()


def start_gunicorn(configuration: str, app: str, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    """gunicorn as the manifests start it, with its output in a pipe."""
    command = [sys.executable, "-m", "gunicorn", "-c", f"python:{configuration}", app]
    return subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, **environment}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


@contextmanager
def run_gunicorn(configuration: str, app: str, environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A gunicorn that answers /healthz on PODTLS_SOCKET, until the block ends."""
    process = start_gunicorn(configuration, app, environment)
    try:
        _wait_until_healthy(process, Path(environment["PODTLS_SOCKET"]))
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=DEADLINE_SECONDS)


def _wait_until_healthy(process: subprocess.Popen[bytes], path: Path) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not _is_healthy(path):
        assert process.poll() is None, process.communicate()[0].decode()
        assert time.monotonic() < deadline, "gunicorn does not answer"
        time.sleep(0.05)


def _is_healthy(path: Path) -> bool:
    try:
        with UnixConnection(path) as connection:
            return connection.get("/healthz")[0].status == 200
    except (OSError, HTTPException):
        return False
