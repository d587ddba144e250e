"""gunicorn's worker with threads, whose answers leave whole: head and body in one write. Nothing else is changed.

gunicorn writes the head first. A worker that is killed between the two writes leaves the front with the head of an
answer that never comes, and kube-apiserver with a cut body, which it does not try again. Without a head the front
answers 502 with Retry-After.
"""

from typing import Any

from gunicorn.workers.gthread import ThreadWorker


class WholeAnswerWorker(ThreadWorker):  # type: ignore[misc]  # gunicorn has no types
    """A gthread worker for answers that fit into memory, as all of ours do."""

    def handle_request(self, req: Any, conn: Any) -> Any:
        """Have gunicorn answer as ever, into a buffer; what it could not finish is not sent at all."""
        held = _Held(conn.sock)
        outcome = super().handle_request(req, _Connection(conn, held))
        conn.sock.sendall(held.pending)
        return outcome


class _Held:
    """A socket that keeps what is sent."""

    def __init__(self, socket: Any) -> None:
        self._socket = socket
        self.pending = b""

    def sendall(self, data: bytes) -> None:
        self.pending += data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)


class _Connection:
    """A connection of gunicorn's with another socket."""

    def __init__(self, connection: Any, socket: _Held) -> None:
        self._connection = connection
        self.sock = socket

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)
