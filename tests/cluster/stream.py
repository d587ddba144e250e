"""A steady stream of admissions while something breaks, and what the API server says of each.

Dry runs: the webhook answers and records them like any other, and no pod comes of them.
"""

import http.client
import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from lab.cluster.cluster import Cluster
from lab.cluster.processes import wait_until

_PAUSE_SECONDS = 0.1  # Enough for a fault to meet one, and the two processors stay free for pods.
_POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"generateName": "streamed-"},
    "spec": {
        "containers": [
            {
                "name": "app",
                "image": "localhost/none:1",
                "ports": [{"containerPort": 8080}],
                "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
            }
        ],
        "securityContext": {"runAsNonRoot": True, "runAsUser": 10001, "seccompProfile": {"type": "RuntimeDefault"}},
    },
}


@dataclass(frozen=True, slots=True)
class Failure:
    """An admission that failed: from when until when the API server was at it, and what it says of it."""

    begin: datetime
    end: datetime
    message: str


@dataclass(slots=True)
class Stream:
    """What came of the admissions so far."""

    admitted: int = 0
    failed: list[Failure] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def failures(self) -> list[str]:
        """What the API server says of each that failed."""
        return [failure.message for failure in self.failed]

    def note(self, begin: datetime, status: int, body: bytes) -> None:
        """Count one answer, which has just come to a request that began then."""
        with self.lock:
            if status == http.client.CREATED and b'"podtls.io/injected":"true"' in body:
                self.admitted += 1
            else:
                message = json.loads(body).get("message", "admitted without our patch")
                self.failed.append(Failure(begin, datetime.now(UTC), message))

    def wait_more(self, count: int, *, seconds: float = 60) -> None:
        """Return when `count` more admissions have succeeded."""
        enough = self.admitted + count
        wait_until(f"{count} more admissions", lambda: self.admitted >= enough, seconds=seconds)


@contextmanager
def admissions(cluster: Cluster, namespace: str, *, clients: int = 3) -> Iterator[Stream]:
    """Create pods in a labelled namespace, by dry run, one after the other, until the block ends."""
    stream, stop = Stream(), threading.Event()
    threads = [threading.Thread(target=_create, args=(cluster, namespace, stream, stop)) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        stream.wait_more(5)
        yield stream
    finally:
        stop.set()
        for thread in threads:
            thread.join(timeout=60)


def _create(cluster: Cluster, namespace: str, stream: Stream, stop: threading.Event) -> None:
    connection = _connect(cluster)
    headers = {"Content-Type": "application/json"}
    while not stop.wait(_PAUSE_SECONDS):
        begin = datetime.now(UTC)
        connection.request("POST", f"/api/v1/namespaces/{namespace}/pods?dryRun=All", json.dumps(_POD), headers)
        answer = connection.getresponse()
        stream.note(begin, answer.status, answer.read())
    connection.close()


def _connect(cluster: Cluster) -> http.client.HTTPSConnection:
    config = json.loads(Path(cluster.kubeconfig).read_text())
    context = ssl.create_default_context(cafile=config["clusters"][0]["cluster"]["certificate-authority"])
    user = config["users"][0]["user"]
    context.load_cert_chain(user["client-certificate"], user["client-key"])
    server = urlsplit(cluster.server)
    return http.client.HTTPSConnection(server.hostname or "", server.port, context=context, timeout=30)
