"""A second mutating webhook, as a mesh would bring one: real HTTPS on loopback, adds a container with a port."""

import base64
import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from lab.cluster.cluster import Cluster
from lab.cluster.pki import create_cluster_authority, issue_server
from tests.cluster.api import Object

ADDED: Object = {"name": "mesh", "image": "example.test/mesh:1", "ports": [{"containerPort": 9901}]}


@contextmanager
def adding_webhook(cluster: Cluster, namespace: str, folder: Path) -> Iterator[None]:
    """Registered for one namespace, under a name that sorts after ours; gone afterwards."""
    authority = create_cluster_authority(folder / "pki")
    pair = issue_server(authority, names=["localhost"], addresses=["127.0.0.1"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Adding)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        cluster.apply(_configuration(namespace, server.server_port, authority.path.read_bytes()))
        yield
    finally:
        cluster.kubectl("delete", "mutatingwebhookconfiguration", "zz-mesh", "--ignore-not-found")
        server.shutdown()
        server.server_close()
        thread.join()


def _configuration(namespace: str, port: int, bundle: bytes) -> Object:
    rule = {"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}
    client = {"url": f"https://localhost:{port}/", "caBundle": base64.b64encode(bundle).decode()}
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": "zz-mesh"},
        "webhooks": [
            {
                "name": "mesh.example.test",
                "clientConfig": client,
                "rules": [rule],
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
                "admissionReviewVersions": ["v1"],
                "sideEffects": "None",
            }
        ],
    }


class _Adding(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["request"]
        names = [container["name"] for container in request["object"]["spec"]["containers"]]
        response = {"uid": request["uid"], "allowed": True}
        if ADDED["name"] not in names:
            patch = json.dumps([{"op": "add", "path": "/spec/containers/-", "value": ADDED}]).encode()
            response |= {"patchType": "JSONPatch", "patch": base64.b64encode(patch).decode()}
        body = json.dumps({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response})
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None:
        """Quiet."""
