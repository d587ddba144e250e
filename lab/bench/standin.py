"""The sandbox's stand-in API server for the benchmarks, as a process of its own, and the pods that enroll.

Its CPU is in no figure. Before anything is measured it stores the pods and makes their tokens, as for a kubelet.
"""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from contract.names import AUDIENCE
from lab.bench import processes, review, servers
from lab.bench.client import Endpoint, connected
from lab.bench.errors import BenchError
from lab.sandbox.apiserver.standalone import ADMIN_TOKEN

ACCOUNT: Final = "checkout"
SOURCE: Final = "127.0.0.1"
_NAMESPACE: Final = f"/api/v1/namespaces/{review.NAMESPACE}"
_HEADERS: Final = {"Authorization": f"Bearer {ADMIN_TOKEN}", "Content-Type": "application/json"}
_TOKEN_SECONDS: Final = 3600


@dataclass(frozen=True, slots=True)
class StandIn:
    """A running server, and the injected pod that all its pods are copies of."""

    kubeconfig: Path
    endpoint: Endpoint
    injected: dict[str, Any]

    def create_pod(self, number: int) -> str:
        """Store a pod as it is while its first init container runs; the token that it mounts. Raises BenchError."""
        name = f"checkout-6f7d8c9b5d-{number:05d}"
        stored = self._send("POST", "/pods", self.injected | {"metadata": self.injected["metadata"] | {"name": name}})
        status = {"phase": "Pending", "podIP": SOURCE, "podIPs": [{"ip": SOURCE}], "hostIP": SOURCE}
        self._send("PUT", f"/pods/{name}/status", {"status": status})
        bound = {"kind": "Pod", "name": name, "uid": stored["metadata"]["uid"]}
        spec = {"audiences": [AUDIENCE], "expirationSeconds": _TOKEN_SECONDS, "boundObjectRef": bound}
        token: str = self._send("POST", f"/serviceaccounts/{ACCOUNT}/token", {"spec": spec})["status"]["token"]
        return token

    def _send(self, method: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
        with connected(self.endpoint) as connection:
            status, answer = connection.request(method, _NAMESPACE + path, _HEADERS, json.dumps(body).encode())
        if status not in {200, 201}:
            raise BenchError(f"the stand-in API server answered {status}: {answer[:500]!r}")
        result: dict[str, Any] = json.loads(answer)
        return result


@contextmanager
def running_standin(directory: Path, injected: dict[str, Any]) -> Iterator[StandIn]:
    """The server for as long as the block lasts; it knows the Services of a namespace. Raises BenchError."""
    folder = directory / "apiserver"
    folder.mkdir()
    (folder / "objects.yaml").write_text(json.dumps({"kind": "List", "items": _objects()}))
    kubeconfig, log = folder / "kubeconfig", folder / "log"
    command = [sys.executable, "-m", "lab.sandbox.apiserver", str(folder)]
    with processes.started(command, environment=servers.clean_environment(), log=log) as process:
        processes.wait_until(kubeconfig.exists, process, log)
        cluster = json.loads(kubeconfig.read_text())["clusters"][0]["cluster"]
        endpoint = Endpoint(urlsplit(cluster["server"]).port or 0, "localhost", Path(cluster["certificate-authority"]))
        yield StandIn(kubeconfig, endpoint, injected)


def _objects() -> list[dict[str, Any]]:
    """The namespace, and its Services: two that select the pod, three that do not."""
    names = {"checkout": "checkout", "checkout-admin": "checkout", "cart": "cart", "stock": "stock", "web": "web"}
    account = {"name": ACCOUNT, "namespace": review.NAMESPACE}
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": review.NAMESPACE}},
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": account},
        *(_service(name, app) for name, app in names.items()),
    ]


def _service(name: str, app: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": review.NAMESPACE, "labels": {"app.kubernetes.io/part-of": "shop"}},
        "spec": {
            "selector": {"app.kubernetes.io/name": app},
            "ports": [{"name": "https", "port": 443, "targetPort": "podtls"}],
        },
    }
