"""All that runs in the demo, put together: API server, node, control plane, workloads. It only starts things."""

import base64
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import trustme

from contract.names import BUNDLE_CONFIG_MAP, BUNDLE_FILE, CERTIFICATE_FILE, ISSUING_SECRET, KEY_FILE
from lab.sandbox.apiserver.admission import Admitted
from lab.sandbox.apiserver.api import serve
from lab.sandbox.apiserver.apiserver import API_PORT, API_SERVICE, API_SERVICE_ADDRESS, APIServer, encode_secret
from lab.sandbox.apiserver.store import Object
from lab.sandbox.apiserver.webhook_client import Address, WebhookClient
from lab.sandbox.errors import DemoError, WebhookCallError
from lab.sandbox.kubelet.container import PodSandbox
from lab.sandbox.kubelet.kubelet import Kubelet
from lab.sandbox.kubelet.pod import RunningPod
from lab.sandbox.linux.capture import Capture
from lab.sandbox.linux.network import GATEWAY
from lab.sandbox.manifests import OUR_NAMESPACE
from lab.sandbox.node import Node, running_node
from lab.sandbox.services.endpoints import backends
from lab.sandbox.services.proxy import Backend, ServiceName

_READY_SECONDS: Final = 45.0
_CREATE_SECONDS: Final = 30.0
_ISSUING_FILES: Final = (CERTIFICATE_FILE, KEY_FILE, BUNDLE_FILE)


@dataclass(slots=True)
class DemoCluster:
    """The running parts. `endpoints` are those of Services without a selector, and may be added to."""

    api: APIServer
    node: Node
    endpoints: dict[ServiceName, list[Backend]]
    bundle: str = ""

    @property
    def kubelet(self) -> Kubelet:
        """What runs the pods."""
        return self.node.kubelet

    def apply(self, manifest: Object) -> tuple[Admitted, ...]:
        """Apply a manifest as an admin would, and start its pods; returns at once. Raises DemoError."""
        admitted = self.api.apply(manifest)
        for each in admitted:
            self.kubelet.run_pod(each.pod)
        self.node.sync_services()
        return admitted

    def wait_ready(self, admitted: Iterable[Admitted]) -> None:
        """Return when all these pods are ready. Raises ContainerError: which is not, why, and the end of its log."""
        for each in admitted:
            self.running(each.pod).wait_ready(_READY_SECONDS)

    def running(self, pod: Object) -> RunningPod:
        """A pod as it runs. Raises NotFoundError."""
        return self.kubelet.pod(pod["metadata"]["namespace"], pod["metadata"]["name"])

    def log(self, namespace: str, pod: str, container: str) -> str:
        """All that a container wrote. Raises NotFoundError."""
        return self.kubelet.logs(namespace, pod, container)

    def execute(
        self, namespace: str, pod: str, container: str, command: Sequence[str], seconds: float
    ) -> subprocess.CompletedProcess[str]:
        """`kubectl exec`. Raises NotFoundError, ContainerError, subprocess.TimeoutExpired."""
        return self.kubelet.exec(namespace, pod, container, command, seconds)

    def capture(self, namespace: str, pod: str) -> Capture:
        """Begin a capture on a pod's wire. Raises NotFoundError, ContainerError."""
        return self.node.capture(namespace, pod)

    def folders(self, pod: Object) -> PodSandbox:
        """Where a running pod's volumes and logs are. Raises DemoError."""
        found = self.running(pod).sandbox
        if found is None:
            raise DemoError(f"pod {pod['metadata']['name']} does not run")
        return found

    def create_authority(self) -> None:
        """What the controller does on a cluster: make root and issuing CA, keep them as Secret and ConfigMap.

        Raises DemoError.
        """
        with tempfile.TemporaryDirectory(prefix="podtls-authority-") as folder:
            run_ca("create", folder)
            issuing = {name: Path(folder, "issuing", name).read_bytes() for name in _ISSUING_FILES}
        self.bundle = issuing["ca.crt"].decode()
        self.api.apply(_ours("Secret", ISSUING_SECRET, data=encode_secret(issuing)))
        self.api.apply(_ours("ConfigMap", BUNDLE_CONFIG_MAP, data={BUNDLE_FILE: self.bundle}))

    def with_bundle(self, configuration: Object) -> Object:
        """A webhook configuration with the caBundle that the controller writes."""
        bundle = base64.b64encode(self.bundle.encode()).decode()
        webhooks = [
            entry | {"clientConfig": entry["clientConfig"] | {"caBundle": bundle}}
            for entry in configuration["webhooks"]
        ]
        return configuration | {"webhooks": webhooks}


@contextmanager
def running_cluster() -> Iterator[DemoCluster]:
    """API server and node, without any podtls yet; ended with the block. Raises SandboxError."""
    authority = trustme.CA()
    certificate = authority.issue_cert(API_SERVICE_ADDRESS, GATEWAY)
    client = WebhookClient(lambda *service: resolve(api, *service))
    api = APIServer(client, authority.cert_pem.bytes().decode())
    endpoints: dict[ServiceName, list[Backend]] = {API_SERVICE: [(GATEWAY, API_PORT)]}
    try:
        with (
            running_node(api, fixed_backends=endpoints) as node,
            serve(api, certificate, (GATEWAY, API_PORT)),
        ):
            yield DemoCluster(api, node, endpoints)
    finally:
        client.close()


def resolve(api: APIServer, namespace: str, name: str, port: int) -> Address:
    """Where kube-apiserver dials a webhook: its Service's cluster IP. Raises WebhookCallError when no pod is ready."""
    try:
        service = api.store.get("Service", namespace, name)
    except DemoError as error:
        raise WebhookCallError(f"failed to call webhook: {error}") from error
    ports = [entry for entry in service["spec"]["ports"] if entry["port"] == port]
    if not ports or not backends(service, ports[0], api.pods()):
        raise WebhookCallError(f'failed to call webhook: no endpoints available for service "{name}"')
    return service["spec"]["clusterIP"], port


def run_ca(*arguments: str) -> None:
    """Run podtls-ca. Raises DemoError with what it says."""
    command = [sys.executable, "-P", "-m", "ca", *arguments]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=_CREATE_SECONDS)
    except subprocess.CalledProcessError as error:
        raise DemoError(f"podtls-ca {arguments[0]}: {error.stderr.strip()}") from error
    except subprocess.TimeoutExpired as error:
        raise DemoError(f"podtls-ca {arguments[0]}: nothing for {_CREATE_SECONDS:g} s") from error


def _ours(kind: str, name: str, **content: Any) -> Object:
    metadata = {"name": name, "namespace": OUR_NAMESPACE}
    return {"apiVersion": "v1", "kind": kind, "metadata": metadata, **content}
