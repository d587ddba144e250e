"""Small workloads for real nodes, written as an app team would: plain HTTP, nothing of TLS, `restricted`."""

import json
from dataclasses import dataclass
from typing import Any

from cryptography import x509

from lab.cluster.cluster import Cluster
from lab.cluster.node import Node
from lab.cluster.podtls import CONTROL_PLANE_IMAGE
from lab.cluster.processes import wait_until

# Says who it is; its first log line is when the app itself began.
SERVER = """
import os, time
print("began", time.time(), flush=True)
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class App(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        reply = ("hello from " + os.uname().nodename + "\\n").encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(reply)))
        self.end_headers()
        self.wfile.write(reply)
    def log_message(self, *_):
        pass
ThreadingHTTPServer(("", 8080), App).serve_forever()
"""


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a pod's current certificate says."""

    dns: frozenset[str]
    serial: str
    issuer: str  # The serial number of the issuing CA's certificate.


def container(*command: str, name: str = "app", ports: tuple[int, ...] = ()) -> dict[str, Any]:
    """An app container of an image that the node has."""
    return {
        "name": name,
        "image": CONTROL_PLANE_IMAGE,
        "imagePullPolicy": "Never",
        "command": list(command),
        "ports": [{"containerPort": port} for port in ports],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }


def server() -> dict[str, Any]:
    """An app container that answers plain HTTP on 8080."""
    return container("python3", "-u", "-c", SERVER, ports=(8080,))


def pod_spec(*containers: dict[str, Any], **extra: Any) -> dict[str, Any]:
    """A pod spec that fulfils `restricted` and ends quickly."""
    security = {"runAsNonRoot": True, "runAsUser": 10001, "seccompProfile": {"type": "RuntimeDefault"}}
    return {"containers": list(containers), "securityContext": security, "terminationGracePeriodSeconds": 1, **extra}


def template(app: str, spec: dict[str, Any], annotations: dict[str, str] | None = None) -> dict[str, Any]:
    """A pod template with the label `app`."""
    return {"metadata": {"labels": {"app": app}, "annotations": annotations or {}}, "spec": spec}


def workload(kind: str, namespace: str, app: str, pod: dict[str, Any], **spec: Any) -> dict[str, Any]:
    """A Deployment, StatefulSet or DaemonSet around a pod template."""
    body = {"selector": {"matchLabels": {"app": app}}, "template": pod, **spec}
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": app, "namespace": namespace}, "spec": body}


def job(namespace: str, name: str, pod: dict[str, Any]) -> dict[str, Any]:
    """A Job whose pod has one chance."""
    once = {**pod, "spec": {**pod["spec"], "restartPolicy": "Never"}}
    spec = {"backoffLimit": 0, "template": once}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name, "namespace": namespace}, "spec": spec}


def service(namespace: str, name: str, app: str, **spec: Any) -> dict[str, Any]:
    """A Service on 443 that points at the TLS port."""
    ports = [{"name": "https", "port": 443, "targetPort": "podtls"}]
    body = {"selector": {"app": app}, "ports": ports, **spec}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": namespace}, "spec": body}


def enrolled_namespace(cluster: Cluster, prefix: str) -> str:
    """A new namespace of Pod Security level `restricted`, labelled for podtls."""
    labels = {"podtls.io/inject": "enabled", "pod-security.kubernetes.io/enforce": "restricted"}
    return cluster.create_namespace(prefix, labels)


def drop(cluster: Cluster, namespace: str) -> None:
    """Delete a namespace, so that what its pods ask for is free for others; nobody waits."""
    cluster.kubectl("delete", "namespace", namespace, "--wait=false")


def rolled_out(cluster: Cluster, namespace: str, workload_name: str, *, seconds: int = 90) -> None:
    """Return when a workload has as many ready pods as it should."""
    cluster.kubectl("rollout", "status", workload_name, "-n", namespace, f"--timeout={seconds}s")


def pods(cluster: Cluster, namespace: str, app: str) -> list[dict[str, Any]]:
    """The live pods of an app, those that are going left out."""
    found = cluster.get("pods", "-n", namespace, "-l", f"app={app}")["items"]
    return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]


def certificate(cluster: Cluster, namespace: str, pod: str) -> Certificate:
    """The certificate that a pod's sidecar has now, read in the sidecar."""
    command = ("exec", "-n", namespace, pod, "-c", "podtls-nginx", "--", "cat", "/var/run/podtls/current/tls.crt")
    leaf, issuer = x509.load_pem_x509_certificates(cluster.kubectl(*command).encode())
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    dns = frozenset(names.get_values_for_type(x509.DNSName))
    return Certificate(dns, f"{leaf.serial_number:x}", issuer=f"{issuer.serial_number:x}")


def wait_names(cluster: Cluster, namespace: str, pod: str, *, seconds: float = 90, **names: frozenset[str]) -> None:
    """Return when the pod's certificate has all of `present` and none of `absent`."""
    present, absent = names.get("present", frozenset()), names.get("absent", frozenset())

    def settled() -> bool:
        dns = certificate(cluster, namespace, pod).dns
        return present <= dns and not (absent & dns)

    wait_until(f"{pod} has {sorted(present)} and not {sorted(absent)}", settled, seconds=seconds)


def look_now(node: Node, namespace: str, pod: str) -> None:
    """Wake a pod's sidecar, as if the time of its next look at its names had come (injector/enroll/schedule.py)."""
    sidecar = node.container_pid(namespace, pod, container="podtls-nginx")
    (renewals,) = node.run("pgrep", "--parent", str(sidecar), "podtls-sidecar").split()
    # Between two sleeps it is looking already, perhaps at what was before; then it sleeps again.
    wake = f"pkill -TERM --parent {renewals} sleep && echo woken || true"
    wait_until("the sidecar was asleep", lambda: "woken" in node.run("sh", "-c", wake))


def is_enrolled(pod: dict[str, Any]) -> bool:
    """Whether the pod carries our two containers and says so."""
    ours = [entry["name"] for entry in pod["spec"].get("initContainers", [])][:2] == ["podtls-init", "podtls-nginx"]
    return ours and pod["metadata"].get("labels", {}).get("podtls.io/injected") == "true"


def is_ready(pod: dict[str, Any]) -> bool:
    """Whether kubelet says that the pod is ready."""
    return any(
        condition["type"] == "Ready" and condition["status"] == "True"
        for condition in pod.get("status", {}).get("conditions", [])
    )


def restarts(pod: dict[str, Any], container_name: str) -> int:
    """How often kubelet has started a container again."""
    entries = [*pod["status"].get("initContainerStatuses", []), *pod["status"].get("containerStatuses", [])]
    return next((int(entry["restartCount"]) for entry in entries if entry["name"] == container_name), 0)


def ask(cluster: Cluster, namespace: str, pod: str, url: str, *, container_name: str = "app") -> str:
    """What an app's own plain HTTP request gets, in its container; the error's text when it fails."""
    script = (
        "import sys, urllib.request\n"
        "try: print(urllib.request.urlopen(sys.argv[1], timeout=5).read().decode().strip())\n"
        "except OSError as error: print('failed:', error)\n"
    )
    command = ("exec", "-n", namespace, pod, "-c", container_name, "--", "python3", "-c", script, url)
    return cluster.kubectl(*command).strip()


def status_record(pod: dict[str, Any]) -> str:
    """The record id that an enrolled pod carries."""
    return str(json.loads(pod["metadata"]["annotations"]["podtls.io/status"])["record"])
