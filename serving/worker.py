"""gunicorn's worker with threads, which sends each response whole: head and body in one write. Nothing else differs.

gunicorn writes the head first. A worker that is killed between the two writes leaves the edge proxy with the head of a
response that never comes, and kube-apiserver with a cut body, which it does not try again. Without a head the edge
proxy answers 502 with Retry-After.

gunicorn has no setting for this, so we wrap its internals; setup.cfg allows only the versions that were tried.
"""

from typing import Any

from gunicorn.workers.gthread import ThreadWorker


class WholeResponseWorker(ThreadWorker):  # type: ignore[misc]  # gunicorn has no types
    """A gthread worker for responses that fit into memory, as all of ours do."""

    def handle_request(self, req: Any, conn: Any) -> Any:
        """Lets gunicorn write into a buffer, then sends it in one write. An unfinished response is never sent."""
        buffer = _SocketBuffer(conn.sock)
        outcome = super().handle_request(req, _BufferedConnection(conn, buffer))
        conn.sock.sendall(buffer.pending)
        return outcome


class _SocketBuffer:
    """A socket that keeps what is sent."""

    def __init__(self, socket: Any) -> None:
        self._socket = socket
        self.pending = b""

    def sendall(self, data: bytes) -> None:
        self.pending += data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)


class _BufferedConnection:
    """A connection of gunicorn's with another socket."""

    def __init__(self, connection: Any, socket: _SocketBuffer) -> None:
        self._connection = connection
        self.sock = socket

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)
