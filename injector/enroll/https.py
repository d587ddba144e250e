"""One HTTPS request to the CA that ends by a deadline, whatever the other side does. Knows nothing of EST.

`http.client` reads the response; the socket below it gives each read only what is left of the time. With a timeout per
read, a server that drips one byte a second could hold us without end.
"""

import http.client
import io
import socket
import ssl
import threading
import time
from dataclasses import dataclass
from typing import Final, Protocol, cast

from contract.grammar import CAEndpoint
from injector.errors import UnavailableError

_BODY_LIMIT: Final = 64 * 1024  # bytes of a response; a chain is about 2 kB

Address = tuple[str, int] | tuple[str, int, int, int]


@dataclass(frozen=True, slots=True)
class HTTPResponse:
    """A whole HTTP response."""

    status: int
    content_type: str
    retry_after: str
    body: bytes


@dataclass(frozen=True, slots=True)
class HTTPRequest:
    """An HTTP request. The token goes into a header and nowhere else."""

    method: str
    path: str
    token: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""

    def encode(self, endpoint: CAEndpoint) -> bytes:
        """The request as it goes over the wire (RFC 9112 section 3)."""
        lines = [
            f"{self.method} {self.path} HTTP/1.1",
            f"Host: {endpoint.authority}",
            f"Authorization: Bearer {self.token}",
            "Connection: close",
            f"Content-Length: {len(self.body)}",
            *(f"{name}: {value}" for name, value in self.headers),
        ]
        return "\r\n".join([*lines, "", ""]).encode() + self.body


class Exchange(Protocol):
    """Sends a request; returns its response by the deadline (of `time.monotonic`) or raises UnavailableError."""

    def __call__(self, request: HTTPRequest, *, deadline: float) -> HTTPResponse:
        """Do one request."""
        ...


class HTTPSExchange:
    """An Exchange with one server, trusted through one bundle only and by its name."""

    def __init__(self, endpoint: CAEndpoint, bundle: bytes) -> None:
        self._endpoint = endpoint
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._context.hostname_checks_common_name = False
        self._context.load_verify_locations(cadata=bundle.decode("ascii"))

    def __call__(self, request: HTTPRequest, *, deadline: float) -> HTTPResponse:
        """Do one request on a connection of its own; every failure is an UnavailableError that says what failed."""
        try:
            with _connect(self._endpoint, deadline) as plain:
                plain.settimeout(_left(deadline))
                # An end without close_notify is an error, or a cut response could pass for a whole one.
                with self._context.wrap_socket(
                    plain, server_hostname=self._endpoint.host, suppress_ragged_eofs=False
                ) as connection:
                    connection.settimeout(_left(deadline))
                    connection.sendall(request.encode(self._endpoint))
                    return _read(connection, request.method, deadline)
        except TimeoutError as error:
            raise UnavailableError(f"{self._endpoint} did not answer in time") from error
        except ssl.SSLCertVerificationError as error:
            raise UnavailableError(f"{self._endpoint} is not trusted: {error.verify_message}") from error
        except (OSError, http.client.HTTPException) as error:
            raise UnavailableError(f"{self._endpoint}: {_reason(error)}") from error


def _connect(endpoint: CAEndpoint, deadline: float) -> socket.socket:
    """Connect to the first address that accepts."""
    failure: OSError = OSError("the name has no address")
    for family, address in _resolve(endpoint, deadline):
        connection = socket.socket(family, socket.SOCK_STREAM)
        try:
            connection.settimeout(_left(deadline))
            connection.connect(address)
        except OSError as error:
            connection.close()
            failure = error
        else:
            return connection
    raise failure


def _resolve(endpoint: CAEndpoint, deadline: float) -> list[tuple[int, Address]]:
    """Look the name up in a thread: the resolver has timeouts of its own and cannot be interrupted."""
    found: list[tuple[int, Address]] = []
    failed: list[OSError] = []

    def look_up() -> None:
        try:
            answers = socket.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM)
        except OSError as error:
            failed.append(error)
        else:
            found.extend((family, cast("Address", address)) for family, _, _, _, address in answers)

    worker = threading.Thread(target=look_up, daemon=True)
    worker.start()
    worker.join(_left(deadline))
    if worker.is_alive():
        raise TimeoutError
    if failed:
        raise failed[0]
    return found


def _read(connection: ssl.SSLSocket, method: str, deadline: float) -> HTTPResponse:
    """Read one response; raise HTTPException or OSError when it is malformed, too long or cut short."""
    # HTTPResponse asks its socket for `makefile` and nothing else.
    source = cast("socket.socket", _Source(connection, deadline))
    with http.client.HTTPResponse(source, method=method) as response:
        response.begin()
        body = response.read(_BODY_LIMIT + 1)
        if len(body) > _BODY_LIMIT:
            raise http.client.HTTPException(f"the answer is longer than {_BODY_LIMIT} bytes")
        if response.length:
            raise http.client.IncompleteRead(body, response.length)
        return HTTPResponse(
            status=response.status,
            content_type=response.getheader("Content-Type", ""),
            retry_after=response.getheader("Retry-After", ""),
            body=body,
        )


class _Source(io.RawIOBase):
    """The readable side of a connection, with a deadline instead of a timeout."""

    def __init__(self, connection: ssl.SSLSocket, deadline: float) -> None:
        self._connection = connection
        self._deadline = deadline

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        self._connection.settimeout(_left(self._deadline))
        return self._connection.recv_into(buffer)


def _left(deadline: float) -> float:
    """Seconds until the deadline; raise TimeoutError when there are none."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _reason(error: Exception) -> str:
    """What went wrong, on one line. Messages of the other side are quoted, since they may hold anything."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"no HTTP answer ({type(error).__name__}: {str(error)[:100]!r})"
