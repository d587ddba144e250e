"""The stand-in API server without its HTTP: what an admin applies, which pods come of it, what a kubelet reads.

Objects are store.py's, policy is admission.py's, HTTP is api.py's; nothing here listens on a port or starts a process.
"""

import base64
import contextlib
import ipaddress
import time
from collections.abc import Iterable, Iterator
from typing import Any, Final

from lab.sandbox.apiserver.admission import Admitted, ReviewSender, admit, choose_webhooks, parse_configuration
from lab.sandbox.apiserver.controllers import PodRequest, expand
from lab.sandbox.apiserver.defaults import admit_in_tree, set_defaults
from lab.sandbox.apiserver.store import Object, Store
from lab.sandbox.apiserver.tokens import ISSUER, NODE_NAME, Caller, TokenIssuer
from lab.sandbox.errors import ManifestError, NotFoundError, UnauthorizedError

CLUSTER_SCOPED: Final = frozenset(
    {"Namespace", "MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"}
    | {"ClusterRole", "ClusterRoleBinding", "PriorityClass"}
)
WORKLOADS: Final = frozenset({"Pod", "Deployment", "StatefulSet"})
# Stored and served; nothing else happens to them here.
STORED: Final = frozenset(
    {"Service", "ServiceAccount", "ConfigMap", "Secret"}
    | {"Role", "RoleBinding", "NetworkPolicy", "PodDisruptionBudget", "HorizontalPodAutoscaler", "Ingress"}
)
ROOT_CERTIFICATES: Final = "kube-root-ca.crt"
SERVICE_NETWORK: Final = "10.96.0.0/16"
API_SERVICE_ADDRESS: Final = "10.96.0.1"
API_SERVICE: Final = ("default", "kubernetes")
API_PORT: Final = 6443


class APIServer:
    """Applies manifests as an admin would; a ClusterState for the kubelet. Safe to use from several threads.

    `static_tokens` are bearer tokens of other users than service accounts, with their userInfo (kube-apiserver's
    --token-auth-file).
    """

    def __init__(self, sender: ReviewSender, api_certificate: str) -> None:
        self.store = Store()
        self.tokens = TokenIssuer()
        self.static_tokens: dict[str, dict[str, Any]] = {}
        self._sender = sender
        self._api_certificate = api_certificate
        self._service_addresses = _addresses()
        for namespace in ("default", "kube-system"):
            self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
        self.apply(_api_service())

    def apply(self, manifest: Object) -> tuple[Admitted, ...]:
        """Create an object; of a workload, its pods. A pod that is returned is stored and may be run.

        Raises ManifestError (a kind that the demo does not know), ConflictError, NotFoundError (its namespace) and
        AdmissionError.
        """
        kind = manifest.get("kind", "")
        if kind == "Namespace":
            self._create_namespace(manifest)
            return ()
        if kind in CLUSTER_SCOPED:
            self.store.create(manifest)
            return ()
        namespaced = _in_namespace(manifest)
        self.store.get("Namespace", "", namespaced["metadata"]["namespace"])
        if kind in WORKLOADS:
            stored = namespaced if kind == "Pod" else self.store.create(namespaced)
            return tuple(self._create_pod(request) for request in expand(stored))
        if kind not in STORED:
            known = ", ".join(sorted(CLUSTER_SCOPED | WORKLOADS | STORED))
            raise ManifestError(f"kind {kind!r}: the demo knows {known}")
        self.store.create(self._with_service_address(namespaced) if kind == "Service" else namespaced)
        return ()

    def label_namespace(self, name: str, labels: dict[str, str | None]) -> None:
        """`kubectl label namespace`; None removes a label. Raises NotFoundError."""
        self.store.merge("Namespace", "", name, {"metadata": {"labels": labels}})

    def authenticate(self, unverified_token: str, audiences: Iterable[str] | None = None) -> Caller:
        """Who holds the token; its pod must still be there, as the API server checks. Raises UnauthorizedError."""
        caller = self.tokens.authenticate(unverified_token, (ISSUER,) if audiences is None else tuple(audiences))
        extra, namespace = caller.user_info["extra"], caller.user_info["username"].split(":")[2]
        (name,), (uid,) = (extra[f"authentication.kubernetes.io/pod-{key}"] for key in ("name", "uid"))
        try:
            pod = self.store.get("Pod", namespace, name)
        except NotFoundError as error:
            raise UnauthorizedError("service account token has been invalidated: its pod is gone") from error
        if pod["metadata"]["uid"] != uid:
            raise UnauthorizedError("service account token has been invalidated: its pod was replaced")
        return caller

    # --- ClusterState, for the kubelet ---

    def pods(self) -> list[Object]:
        """All pods."""
        return self.store.list("Pod")

    def services(self) -> list[Object]:
        """All Services."""
        return self.store.list("Service")

    def config_map(self, namespace: str, name: str) -> Object:
        """A ConfigMap. Raises NotFoundError."""
        return self.store.get("ConfigMap", namespace, name)

    def secret(self, namespace: str, name: str) -> Object:
        """A Secret. Raises NotFoundError."""
        return self.store.get("Secret", namespace, name)

    def update_pod_status(self, namespace: str, name: str, status: dict[str, Any]) -> None:
        """Replace a pod's status; does nothing when the pod is gone."""
        with contextlib.suppress(NotFoundError):
            self.store.replace("Pod", namespace, name, {"status": status})

    def create_token(self, pod: Object, audience: str, seconds: int) -> str:
        """A token of the pod's service account, bound to the pod; an empty audience is the API server's."""
        metadata = pod["metadata"]
        account = self.store.get("ServiceAccount", metadata["namespace"], pod["spec"]["serviceAccountName"])
        return self.tokens.issue(pod, account, audience, seconds)

    def _create_namespace(self, manifest: Object) -> None:
        name = manifest["metadata"]["name"]
        labels = manifest["metadata"].get("labels", {}) | {"kubernetes.io/metadata.name": name}
        metadata = manifest["metadata"] | {"labels": labels}
        self.store.create(manifest | {"metadata": metadata, "status": {"phase": "Active"}})
        # The service account and root certificate controllers see to these in every namespace.
        for kind, made, content in (
            ("ServiceAccount", "default", {}),
            ("ConfigMap", ROOT_CERTIFICATES, {"data": {"ca.crt": self._api_certificate}}),
        ):
            self.store.create(
                {"apiVersion": "v1", "kind": kind, "metadata": {"name": made, "namespace": name}, **content}
            )

    def _create_pod(self, request: PodRequest) -> Admitted:
        pod = request.pod
        namespace = self.store.get("Namespace", "", pod["metadata"]["namespace"])
        account_name = pod["spec"].get("serviceAccountName") or "default"
        account = self.store.get("ServiceAccount", pod["metadata"]["namespace"], account_name)
        set_defaults(pod)
        admit_in_tree(pod, account)
        webhooks = (
            webhook
            for configuration in self.store.list("MutatingWebhookConfiguration")
            for webhook in choose_webhooks(parse_configuration(configuration), namespace["metadata"]["labels"])
        )
        admitted = admit(pod, request.user_info, webhooks, self._sender)
        set_defaults(admitted.pod)
        admit_in_tree(admitted.pod, account)
        return _with_pod(admitted, self.store.create(_scheduled(admitted.pod)))

    def _with_service_address(self, service: Object) -> Object:
        spec = {"type": "ClusterIP"} | service["spec"]
        if spec["type"] != "ExternalName":
            spec.setdefault("clusterIP", next(self._service_addresses))
        spec["ports"] = [{"protocol": "TCP", "targetPort": port["port"]} | port for port in spec.get("ports", [])]
        return service | {"spec": spec}


def encode_secret(data: dict[str, bytes]) -> dict[str, str]:
    """Secret.data: base64 of each value."""
    return {key: base64.b64encode(value).decode() for key, value in data.items()}


def _in_namespace(manifest: Object) -> Object:
    return manifest | {"metadata": {"namespace": "default"} | manifest["metadata"]}


def _scheduled(pod: Object) -> Object:
    """The scheduler's part: there is one node."""
    status = {
        "phase": "Pending",
        "qosClass": "Burstable",
        "startTime": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    return pod | {"spec": pod["spec"] | {"nodeName": NODE_NAME}, "status": status}


def _with_pod(admitted: Admitted, pod: Object) -> Admitted:
    return Admitted(
        pod, admitted.called, admitted.review, admitted.operations, admitted.warnings, admitted.audit_annotations
    )


def _addresses() -> Iterator[str]:
    hosts = ipaddress.ip_network(SERVICE_NETWORK).hosts()
    return (str(address) for address in hosts if str(address) != API_SERVICE_ADDRESS)


def _api_service() -> Object:
    port = {"name": "https", "port": 443, "protocol": "TCP", "targetPort": API_PORT}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"namespace": API_SERVICE[0], "name": API_SERVICE[1]},
        "spec": {"clusterIP": API_SERVICE_ADDRESS, "ports": [port]},
    }
