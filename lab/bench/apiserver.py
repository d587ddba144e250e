"""A stand-in for kube-apiserver, for as much as an enrollment asks of it, over TLS in a thread of the harness.

Its CPU is the harness's and in no figure. It answers what a real one would, in size and shape, for pods that have just
been created: TokenReview, one Pod, the Services of its namespace. Every token that `token_of` made is valid.
"""

import base64
import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

from contract.names import AUDIENCE
from lab.bench import review

ACCOUNT = "checkout"
NODE = "node-1"
SOURCE = "127.0.0.1"
_STARTED = datetime.now(UTC)
_NAMESPACE = f"/api/v1/namespaces/{review.NAMESPACE}"


def token_of(number: int) -> str:
    """A token shaped like a service account's; it says which of the pods it belongs to."""
    parts = ({"alg": "RS256", "kid": "bench"}, {"aud": [AUDIENCE], "pod": number}, {"signature": "x" * 190})
    return ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts)


def pod_name(number: int) -> str:
    """The name that kube-apiserver made from generateName."""
    return f"checkout-6f7d8c9b5d-{number:05d}"


def pod_uid(number: int) -> str:
    """A uid of its own for each pod."""
    return f"00000000-0000-4000-8000-{number:012d}"


@contextmanager
def serving(injected: dict[str, Any], *, certificate: Path, key: Path) -> Iterator[int]:
    """The port of a stand-in that knows the injected pod under every number."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with ThreadingHTTPServer(("127.0.0.1", 0), type("_Handler", (_Handler,), {"injected": injected})) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def kubeconfig(port: int, bundle: Path) -> str:
    """A kubeconfig of one cluster and one user for the stand-in (JSON is YAML)."""
    cluster = {"server": f"https://localhost:{port}", "certificate-authority": str(bundle)}
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "bench",
            "contexts": [{"name": "bench", "context": {"cluster": "bench", "user": "bench"}}],
            "clusters": [{"name": "bench", "cluster": cluster}],
            "users": [{"name": "bench", "user": {"token": "bench"}}],
        }
    )


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # One write an answer.
    injected: ClassVar[dict[str, Any]]

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self._answer(201, token_review(asked))

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if path.startswith(f"{_NAMESPACE}/pods/"):
            self._answer(200, pod(self.injected, path))
        elif path == f"{_NAMESPACE}/services":
            self._answer(200, services())
        else:
            self._answer(404, {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404})

    def _answer(self, status: int, value: dict[str, Any]) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def log_message(self, *_: object) -> None:
        """Say nothing: the table is what the harness prints."""


def token_review(asked: dict[str, Any]) -> dict[str, Any]:
    """The TokenReview with the status of a valid, pod-bound token (authentication.k8s.io/v1)."""
    claims = asked["spec"]["token"].split(".")[1]
    number = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))["pod"]
    extra = {
        "authentication.kubernetes.io/credential-id": [f"JTI={pod_uid(number)}"],
        "authentication.kubernetes.io/node-name": [NODE],
        "authentication.kubernetes.io/pod-name": [pod_name(number)],
        "authentication.kubernetes.io/pod-uid": [pod_uid(number)],
    }
    user = {
        "username": f"system:serviceaccount:{review.NAMESPACE}:{ACCOUNT}",
        "uid": "7d3b1c7e-7c0a-4f57-8a53-0a2b6a6f5c11",
        "groups": ["system:serviceaccounts", f"system:serviceaccounts:{review.NAMESPACE}", "system:authenticated"],
        "extra": extra,
    }
    return asked | {"status": {"authenticated": True, "user": user, "audiences": [AUDIENCE]}}


def pod(injected: dict[str, Any], path: str) -> dict[str, Any]:
    """The pod of that path as it stands while its first init container runs."""
    name = path.rsplit("/", 1)[1]
    stored = {"name": name, "uid": pod_uid(int(name.rsplit("-", 1)[1])), "creationTimestamp": f"{_STARTED:%FT%TZ}"}
    metadata = injected["metadata"] | stored
    status = {"phase": "Pending", "podIP": SOURCE, "podIPs": [{"ip": SOURCE}], "hostIP": SOURCE}
    return injected | {"metadata": metadata, "spec": injected["spec"] | {"nodeName": NODE}, "status": status}


def services() -> dict[str, Any]:
    """The Services of the namespace: two that select the pod, three that do not."""
    names = {"checkout": "checkout", "checkout-admin": "checkout", "cart": "cart", "stock": "stock", "web": "web"}
    return {
        "kind": "ServiceList",
        "apiVersion": "v1",
        "metadata": {"resourceVersion": "4711"},
        "items": [_service(name, app) for name, app in names.items()],
    }


def _service(name: str, app: str) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "namespace": review.NAMESPACE, "labels": {"app.kubernetes.io/part-of": "shop"}},
        "spec": {
            "type": "ClusterIP",
            "clusterIP": "10.96.12.7",
            "clusterIPs": ["10.96.12.7"],
            "ipFamilies": ["IPv4"],
            "selector": {"app.kubernetes.io/name": app},
            "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": "podtls"}],
        },
    }
