"""The two sides of the proofs: a pod that serves TLS behind a Service, and a pod that dials it in plaintext. Pure."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from contract.grammar import WantedUpstream
from contract.names import INJECTED, PORT_NAME, UPSTREAMS
from lab.sandbox.apiserver.store import Object
from lab.sandbox.errors import ManifestError
from lab.sandbox.pods import containers
from podtls.kubernetes.selectors import matches

VISITOR: Final = "podtls-demo-visitor"
IMPOSTOR: Final = "podtls-demo-impostor"
LATER: Final = "podtls-demo-later"
# Ports of the visitor's upstreams: the Service itself, and the impostor.
VISITOR_PORT: Final = 80
_WAIT: Final = "import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit()); signal.pause()"
_RESTRICTED: Final[dict[str, Any]] = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
    "runAsNonRoot": True,
    "runAsUser": 10001,
    "seccompProfile": {"type": "RuntimeDefault"},
}


@dataclass(frozen=True, slots=True)
class Server:
    """A Service whose port leads to the TLS port of an enrolled pod."""

    namespace: str
    service: str
    service_port: int
    pod: str
    tls_port: int
    selector: dict[str, str]

    @property
    def name(self) -> str:
        """The name that clients check."""
        return f"{self.service}.{self.namespace}.svc"


@dataclass(frozen=True, slots=True)
class Client:
    """A pod that dials a Service in plaintext: from this container, at this host and port."""

    namespace: str
    pod: str
    container: str
    host: str
    port: int

    @property
    def url(self) -> str:
        """What its app thinks that it dials."""
        return f"http://{self.host}{'' if self.port == 80 else f':{self.port}'}/"


def find_server(services: Iterable[Object], pods: Iterable[Object]) -> Server:
    """The first Service that leads to a TLS port of ours. Raises ManifestError saying what to write."""
    pods = [pod for pod in pods if INJECTED in pod["metadata"].get("labels", {})]
    for service in services:
        for server in _servers(service, pods):
            return server
    raise ManifestError(
        f"nothing to prove: no Service leads to a TLS port. A Service has to say `targetPort: {PORT_NAME}`, "
        "and its pods have to declare the containerPort on which the app listens"
    )


def find_client(server: Server, pods: Iterable[Object]) -> Client | None:
    """The first pod that names the server's Service as an upstream, None when there is none."""
    for pod in pods:
        annotation = pod["metadata"].get("annotations", {}).get(UPSTREAMS, "")
        # The webhook has checked the annotation.
        for wanted in map(WantedUpstream.parse, annotation.split(",") if annotation else ()):
            service, _, rest = wanted.host.partition(".")
            namespace = rest.partition(".")[0] or pod["metadata"]["namespace"]
            if (service, namespace) == (server.service, server.namespace):
                container = pod["spec"]["containers"][0]["name"]
                return Client(
                    pod["metadata"]["namespace"], pod["metadata"]["name"], container, wanted.host, wanted.port
                )
    return None


def visitor(server: Server) -> Object:
    """A pod of the demo's own: it dials the Service rightly, and an impostor of it by another name."""
    hosts = (f"{server.service}.{server.namespace}", f"{IMPOSTOR}.{server.namespace}")
    upstreams = ",".join(f"{host}:{VISITOR_PORT}={server.service_port}" for host in hosts)
    container = {
        "name": "visitor",
        "image": "docker.io/library/python:3.13-slim",
        "command": ["python3", "-c", _WAIT],
        "securityContext": _RESTRICTED,
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": VISITOR, "namespace": server.namespace, "annotations": {UPSTREAMS: upstreams}},
        "spec": {"containers": [container], "automountServiceAccountToken": False},
    }


def visit(server: Server, service: str) -> Client:
    """The visitor as a client of this Service."""
    return Client(server.namespace, VISITOR, "visitor", f"{service}.{server.namespace}", VISITOR_PORT)


def impostor(server: Server) -> Object:
    """A Service without a selector: who may write its endpoints can lead it anywhere, for example to the server's pods.

    No pod is chosen by it, so the CA gives nobody a certificate of its name.
    """
    return _service(server, IMPOSTOR, {"ports": [{"port": server.service_port}]})


def later_service(server: Server) -> Object:
    """A Service that somebody adds while the pods run."""
    ports = [{"port": server.service_port, "targetPort": server.tls_port}]
    return _service(server, LATER, {"selector": server.selector, "ports": ports})


def _service(server: Server, name: str, spec: dict[str, Any]) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": server.namespace},
        "spec": spec,
    }


def _servers(service: Object, pods: Iterable[Object]) -> Iterator[Server]:
    selector = service["spec"].get("selector")
    if not selector:
        return
    namespace = service["metadata"]["namespace"]
    for pod in pods:
        labels = pod["metadata"].get("labels", {})
        if pod["metadata"]["namespace"] != namespace or not matches({"matchLabels": selector}, labels):
            continue
        ours = _tls_ports(pod)
        for port in service["spec"].get("ports", []):
            target = port["targetPort"]
            tls_port = ours.get(target, target)
            if tls_port in ours.values():
                name = service["metadata"]["name"]
                yield Server(namespace, name, port["port"], pod["metadata"]["name"], tls_port, selector)


def _tls_ports(pod: Object) -> dict[str, int]:
    return {
        port["name"]: port["containerPort"]
        for container in containers(pod["spec"])
        for port in container.get("ports", [])
        if port.get("name", "").partition("-")[0] == PORT_NAME
    }
