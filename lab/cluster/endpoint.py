"""How a pod without a kubelet reaches our servers: address and token from the API server, HTTPS over loopback."""

import http.client
import json
import socket
import ssl
import time
from contextlib import suppress
from dataclasses import dataclass

from contract.names import AUDIENCE
from injector.enroll.https import HTTPRequest, HTTPResponse
from lab.cluster.cluster import Cluster
from lab.cluster.processes import wait_until

LOOPBACK = "127.0.0.1"
SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class LoopbackEndpoint:
    """A server of ours on loopback, called by its cluster name; an injector.enroll.https.HTTPSExchange."""

    name: str
    port: int
    bundle: bytes

    def __call__(self, request: HTTPRequest, *, deadline: float = 0) -> HTTPResponse:
        """One request on a connection of its own. OSError, http.client.HTTPException."""
        headers = dict(request.headers) | ({"Authorization": f"Bearer {request.token}"} if request.token else {})
        context = ssl.create_default_context(cadata=self.bundle.decode())
        seconds = max(deadline - time.monotonic(), 1) if deadline else SECONDS
        connection = http.client.HTTPConnection(self.name, timeout=seconds)
        with (
            socket.create_connection((LOOPBACK, self.port), timeout=seconds) as plain,
            context.wrap_socket(plain, server_hostname=self.name) as connection.sock,
        ):
            connection.request(request.method, request.path, request.body, headers)
            response = connection.getresponse()
            kind, wish = response.getheader("Content-Type", ""), response.getheader("Retry-After", "")
            return HTTPResponse(response.status, kind, wish, response.read())

    def is_ready(self) -> bool:
        """Whether /readyz says yes."""
        with suppress(OSError, http.client.HTTPException):
            return self(HTTPRequest("GET", "/readyz", token="")).status == 200
        return False


def give_address(cluster: Cluster, namespace: str, pod: str, address: str = LOOPBACK) -> None:
    """Report a pod's address as its kubelet would: the address that its requests come from."""
    exists = ["pod", pod, "--namespace", namespace, "--ignore-not-found"]
    wait_until(f"pod {namespace}/{pod} is there", lambda: bool(cluster.kubectl("get", *exists)))
    status = json.dumps({"status": {"podIP": address, "podIPs": [{"ip": address}]}})
    patch = ["--subresource=status", "--type=merge", "--patch", status]
    cluster.kubectl("patch", "pod", pod, "--namespace", namespace, *patch)


def pod_token(cluster: Cluster, namespace: str, pod: str, *, account: str = "default", audience: str = AUDIENCE) -> str:
    """The token that the kubelet would project into this pod."""
    bound = ["--bound-object-kind=Pod", f"--bound-object-name={pod}", f"--audience={audience}", "--duration=600s"]
    return cluster.kubectl("create", "token", account, "--namespace", namespace, *bound).strip()
