"""FakeApiServer behind real HTTP on loopback, with a kubeconfig that leads there."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

from podtls.kubernetes.reader import Access, ApiResponse
from tests.fakes import FakeApiServer

ACCESS_REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


@dataclass
class Served:
    """Where it listens, and the headers of each request that came."""

    url: str
    seen: list[dict[str, str]] = field(default_factory=list)


@contextmanager
def serving(server: FakeApiServer) -> Iterator[Served]:
    """The fake on a port of loopback, as long as the block lasts."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # Headers and body in one packet.

        def do_GET(self) -> None:
            self.reply(server.get(self.path))

        def do_POST(self) -> None:
            review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            assert (self.path, review["kind"]) == (ACCESS_REVIEWS, "SelfSubjectAccessReview")
            allowed = server.may(_access(review["spec"]["resourceAttributes"]))
            self.reply(ApiResponse(201, json.dumps({**review, "status": {"allowed": allowed}}).encode(), server.date))

        def reply(self, answer: ApiResponse) -> None:
            served.seen.append({key.lower(): value for key, value in self.headers.items()})
            self.send_response_only(answer.status)
            self.send_header("Content-Length", str(len(answer.body)))
            self.send_header("Date", self.date_time_string())
            self.end_headers()
            self.wfile.write(answer.body)

        def log_message(self, *_: Any) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        http.daemon_threads = True
        served = Served(f"http://127.0.0.1:{http.server_port}")
        thread = Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield served
        finally:
            http.shutdown()
            thread.join()


def kubeconfig(path: Path, **servers: str) -> Path:
    """A kubeconfig with a context for each server; the first one is the current."""
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": next(iter(servers)),
        "clusters": [{"name": name, "cluster": {"server": url}} for name, url in servers.items()],
        "users": [{"name": "user", "user": {"token": "a-token"}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": "user"}} for name in servers],
    }
    path.write_text(json.dumps(config))
    return path


def _access(attributes: dict[str, str]) -> Access:
    resource = "/".join(filter(None, (attributes["resource"], attributes.get("subresource"))))
    return Access(
        attributes["verb"],
        resource,
        attributes.get("group", ""),
        attributes.get("namespace", ""),
        attributes.get("name", ""),
    )
