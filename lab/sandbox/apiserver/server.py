"""The stand-in's HTTPS door, as far as our CA knocks on it: TokenReview, one Pod, the Services of a namespace.

Source: Kubernetes API, authentication.k8s.io/v1 TokenReview and core/v1; errors are metav1.Status.
State is cluster.py's.
"""

import json
import re
import ssl
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

from lab.sandbox.apiserver.authorization import Action, authorize
from lab.sandbox.apiserver.cluster import Cluster
from lab.sandbox.apiserver.tokens import ISSUER
from lab.sandbox.certificates import Pair
from lab.sandbox.errors import DemoError, NotFoundError, UnauthorizedError

IDLE_SECONDS: Final = 30.0
_REASONS: Final = {401: "Unauthorized", 403: "Forbidden", 404: "NotFound", 409: "AlreadyExists", 422: "Invalid"}


@dataclass(frozen=True, slots=True)
class Request:
    """What a route may look at."""

    cluster: Cluster
    parts: dict[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """Status and JSON body."""

    status: int
    body: Any


@dataclass(frozen=True, slots=True)
class _Route:
    method: str
    path: re.Pattern[str]
    action: Action
    handle: Callable[[Request], Answer]


def answer(cluster: Cluster, method: str, target: str, bearer: str, body: bytes) -> Answer:
    """What the API server says to this request; every error is a metav1.Status."""
    try:
        caller = _authenticate(cluster, bearer)
        for route in _ROUTES:
            match = route.path.fullmatch(target.partition("?")[0])
            if match and route.method == method:
                authorize(caller, route.action, cluster.store)
                return route.handle(Request(cluster, match.groupdict(), body))
        raise NotFoundError("the server could not find the requested resource")
    except DemoError as error:
        return _status(error.http_status, str(error))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return _status(HTTPStatus.BAD_REQUEST, f"the request body cannot be read: {error!r}")


@contextmanager
def serve(cluster: Cluster, address: tuple[str, int], certificate: Pair) -> Iterator[tuple[str, int]]:
    """Listen until the block ends; yields the address, with the port when 0 was asked."""

    class Handler(_Handler):
        state = cluster

    server = ThreadingHTTPServer(address, Handler)
    server.daemon_threads = True
    # The handshake is done by the connection's own thread, on its first read: a silent client delays nobody.
    server.socket = _context(certificate).wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.05}, name="apiserver", daemon=True
    )
    thread.start()
    try:
        host, port = server.server_address[:2]
        yield str(host), port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _authenticate(cluster: Cluster, bearer: str) -> dict[str, Any]:
    scheme, _, unverified_token = bearer.partition(" ")
    if scheme.lower() != "bearer":  # RFC 9110 section 11.1; the Python client writes it small.
        raise UnauthorizedError("Unauthorized")
    return cluster.authenticate(unverified_token).user_info


def _review_token(request: Request) -> Answer:
    """TokenReview v1. No audiences means the API server's own; a bad token is an answer, not an error."""
    review = json.loads(request.body)
    spec = review["spec"]
    try:
        caller = request.cluster.authenticate(spec["token"], spec.get("audiences") or [ISSUER])
        status = {"authenticated": True, "user": caller.user_info, "audiences": list(caller.audiences)}
    except UnauthorizedError as error:
        status = {"user": {}, "error": f"[invalid bearer token, {error}]"}
    return Answer(HTTPStatus.CREATED, review | {"status": status})


def _get_pod(request: Request) -> Answer:
    pod = request.cluster.store.get("Pod", request.parts["namespace"], request.parts["name"])
    return Answer(HTTPStatus.OK, pod)


def _list_services(request: Request) -> Answer:
    services = request.cluster.store.list("Service", request.parts["namespace"])
    # The items of a list carry neither kind nor apiVersion.
    items = [{key: value for key, value in each.items() if key not in {"kind", "apiVersion"}} for each in services]
    return Answer(HTTPStatus.OK, {"kind": "ServiceList", "apiVersion": "v1", "metadata": {}, "items": items})


_NAMESPACED: Final = r"/api/v1/namespaces/(?P<namespace>[^/]+)"
_ROUTES: Final = (
    _Route(
        "POST",
        re.compile(r"/apis/authentication\.k8s\.io/v1/tokenreviews"),
        Action("create", "authentication.k8s.io", "tokenreviews"),
        _review_token,
    ),
    _Route("GET", re.compile(rf"{_NAMESPACED}/pods/(?P<name>[^/]+)"), Action("get", "", "pods"), _get_pod),
    _Route("GET", re.compile(rf"{_NAMESPACED}/services"), Action("list", "", "services"), _list_services),
)


def _status(code: int, message: str) -> Answer:
    body = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": _REASONS.get(code, "BadRequest"),
        "code": int(code),
    }
    return Answer(code, body)


class _Handler(BaseHTTPRequestHandler):
    """One connection; it may ask many times."""

    protocol_version = "HTTP/1.1"
    timeout = IDLE_SECONDS
    state: Cluster

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        given = answer(self.state, self.command, self.path, self.headers.get("Authorization", ""), body)
        payload = json.dumps(given.body).encode()
        self.send_response(given.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is the base class's.
        """Say nothing: the story tells what matters."""


def _context(certificate: Pair) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    # The ssl module reads keys from files only.
    with tempfile.TemporaryDirectory(prefix="podtls-api-") as folder:
        chain, key = Path(folder, "tls.crt"), Path(folder, "tls.key")
        chain.write_text(certificate.certificate)
        key.touch(mode=0o600)
        key.write_text(certificate.key)
        context.load_cert_chain(chain, key)
    return context
