"""The stand-in API server by itself: HTTPS on loopback, an administrator's kubeconfig, no namespaces and no kubelet.

For benchmarks and tests; in the sandbox node.py and the demo put the same parts together.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import trustme

from lab.sandbox.apiserver.admission import WebhookEntry
from lab.sandbox.apiserver.api import serve
from lab.sandbox.apiserver.apiserver import APIServer
from lab.sandbox.apiserver.authorization import SUPERUSERS
from lab.sandbox.apiserver.listener import Listener
from lab.sandbox.errors import WebhookCallError

ADMIN_TOKEN: Final = "an-administrators-token"  # noqa: S105 - it opens a server that ends with its test
ADMIN: Final[Mapping[str, Any]] = {"username": "admin", "groups": [SUPERUSERS, "system:authenticated"]}


@dataclass(frozen=True, slots=True)
class StandaloneServer:
    """A running server: its objects, its listener, and the folder with its files."""

    api: APIServer
    listener: Listener
    folder: Path

    @property
    def bundle(self) -> Path:
        """What clients trust, as PEM."""
        return self.folder / "server-ca.crt"

    def write_kubeconfig(self, url: str = "", **user: Any) -> Path:
        """A kubeconfig for it, or for another URL; `user` says how to authenticate, by default as the administrator."""
        path = self.folder / "kubeconfig"
        cluster = {"server": url or self.listener.url, "certificate-authority": str(self.bundle)}
        path.write_text(kubeconfig({"stand-in": cluster}, user or {"token": ADMIN_TOKEN}))
        return path


@contextmanager
def serve_alone(folder: Path) -> Iterator[StandaloneServer]:
    """Serve on loopback until the block ends; its bundle is written into the folder."""
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1", "localhost")
    authority.cert_pem.write_to_path(folder / "server-ca.crt")
    api = APIServer(_NoWebhooks(), authority.cert_pem.bytes().decode())
    api.static_tokens[ADMIN_TOKEN] = dict(ADMIN)
    with serve(api, certificate) as listener:
        yield StandaloneServer(api, listener, folder)


def kubeconfig(clusters: Mapping[str, Mapping[str, Any]], user: Mapping[str, Any]) -> str:
    """A kubeconfig (JSON is YAML) with a context for each cluster, all for one user; the first is the current one."""
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": next(iter(clusters)),
            "clusters": [{"name": name, "cluster": cluster} for name, cluster in clusters.items()],
            "users": [{"name": "user", "user": user}],
            "contexts": [{"name": name, "context": {"cluster": name, "user": "user"}} for name in clusters],
        }
    )


class _NoWebhooks:
    """A ReviewSender where no webhook can be reached."""

    def send(self, webhook: WebhookEntry, body: bytes) -> bytes:
        """Say so."""
        raise WebhookCallError(f"no webhook {webhook.name} to send {len(body)} bytes to: this API server runs alone")
