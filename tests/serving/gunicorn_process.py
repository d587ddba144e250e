"""A real gunicorn on a unix socket, and a client that speaks HTTP to it."""

import os
import socket as sockets
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException, HTTPResponse
from pathlib import Path
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
        self.sock = sockets.socket(sockets.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def get(self, path: str) -> tuple[HTTPResponse, bytes]:
        """As ask()."""
        return self.ask("GET", path)

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[HTTPResponse, bytes]:
        """One request and its whole response; raises OSError or HTTPException where there is none."""
        self.request(method, path, body, headers or {})
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
    while not is_ok(path, "/healthz"):
        assert process.poll() is None, process.communicate()[0].decode()
        assert time.monotonic() < deadline, "gunicorn does not answer"
        time.sleep(0.05)


def is_ok(socket: Path, path: str) -> bool:
    """Whether a server listens there, and answers 200 at this path."""
    try:
        with UnixConnection(socket) as connection:
            return connection.get(path)[0].status == 200
    except (OSError, HTTPException):
        return False
