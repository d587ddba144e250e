"""A keep-alive HTTPS client as lean as kube-apiserver's; its own CPU is never in a figure."""

import http.client
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lab.bench.errors import BenchError

TIMEOUT = 10.0


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a server listens on loopback, the name on its certificate, and the file of its trust bundle."""

    port: int
    name: str
    bundle: Path

    def context(self) -> ssl.SSLContext:
        """What verifies the server; make it once, it reads the bundle."""
        return ssl.create_default_context(cafile=str(self.bundle))


@dataclass(frozen=True, slots=True)
class Connection:
    """One open TLS connection; requests follow one another on it."""

    stream: ssl.SSLSocket
    name: str

    def request(self, method: str, path: str, headers: Mapping[str, str], body: bytes = b"") -> tuple[int, bytes]:
        """Status and body of the answer. Raises BenchError when the server closes or will close the connection."""
        lines = [f"{method} {path} HTTP/1.1", f"Host: {self.name}", f"Content-Length: {len(body)}"]
        lines += [f"{key}: {value}" for key, value in headers.items()]
        # One write, so head and body travel in one TLS record and every server is woken once.
        self.stream.sendall("\r\n".join([*lines, "", ""]).encode() + body)
        response = http.client.HTTPResponse(self.stream, method=method)
        try:
            response.begin()
            content = response.read()
        except (http.client.HTTPException, OSError) as error:
            raise BenchError(f"{method} {path}: no answer: {error!r}") from error
        return response.status, content


@contextmanager
def connected(
    endpoint: Endpoint, context: ssl.SSLContext | None = None, *, source: str = "127.0.0.1"
) -> Iterator[Connection]:
    """A new TLS connection from `source`; ends with the block. Raises OSError when nobody listens or TLS fails."""
    address = ("127.0.0.1", endpoint.port)
    with socket.create_connection(address, timeout=TIMEOUT, source_address=(source, 0)) as plain:
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        secure = context or endpoint.context()
        with secure.wrap_socket(plain, server_hostname=endpoint.name) as stream:
            yield Connection(stream, endpoint.name)
