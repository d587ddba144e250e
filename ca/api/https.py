"""HTTPS to one server over connections that are kept open. No Kubernetes here.

A request is sent in one write, and the standard library reads the response. That takes less than half of the CPU time
of the kubernetes client's own transport, and an enrollment sends three requests (ADR 14).
"""

import http.client
import socket
import ssl
from collections import deque
from dataclasses import dataclass
from typing import Final

# Three requests, each tried twice at worst, end before the edge proxy gives up (30 s).
READ_SECONDS: Final = 3.0
_CONNECT_SECONDS: Final = 2.0
_TROUBLE: Final = (OSError, http.client.HTTPException)


@dataclass(frozen=True, slots=True)
class Server:
    """Where to connect, and what to trust there. `name` is what its certificate must be for."""

    host: str
    port: int
    name: str
    context: ssl.SSLContext


@dataclass(frozen=True, slots=True)
class ServerResponse:
    """A whole HTTP response."""

    status: int
    body: bytes


class ConnectionPool:
    """Kept connections of one process, for many threads. Nothing connects before the first request."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._idle: deque[socket.socket] = deque()

    def exchange(self, request: bytes, *, seconds: float = READ_SECONDS) -> ServerResponse:
        """Send a whole request and return its response; each read waits for `seconds` at most.

        Raises OSError or http.client.HTTPException.
        A kept connection may be dead, so a request that fails there is sent once more over a new one: use this only
        for requests that may be sent twice. A request that timed out is not sent again.
        """
        try:
            kept = self._idle.pop()
        except IndexError:
            return self._exchange(self._connect(), request, seconds)
        try:
            return self._exchange(kept, request, seconds)
        except TimeoutError:
            raise
        except _TROUBLE:
            # The others are as old: after a restart of the server all of them are dead.
            self.close()
            return self._exchange(self._connect(), request, seconds)

    def close(self) -> None:
        """Close the connections that are idle now."""
        while self._idle:
            self._idle.pop().close()

    def _exchange(self, connection: socket.socket, request: bytes, seconds: float) -> ServerResponse:
        try:
            if connection.gettimeout() != seconds:
                connection.settimeout(seconds)
            connection.sendall(request)
            # The method matters for HEAD alone (RFC 9110 section 9.3.2).
            with http.client.HTTPResponse(connection) as response:
                response.begin()
                found = ServerResponse(response.status, response.read())
                keep = not response.will_close
        except _TROUBLE:
            connection.close()
            raise
        if keep:
            self._idle.append(connection)
        else:
            connection.close()
        return found

    def _connect(self) -> socket.socket:
        plain = socket.create_connection((self._server.host, self._server.port), timeout=_CONNECT_SECONDS)
        try:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return self._server.context.wrap_socket(plain, server_hostname=self._server.name)
        except OSError:
            plain.close()
            raise
