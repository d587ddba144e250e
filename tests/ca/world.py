"""What the CA's tests are made of: raw objects as the API server stores them, requests as clients send them."""

import base64
from datetime import UTC, datetime
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from ca.api.names import PodFacts
from contract.identity import TrustDomain, WorkloadIdentity
from contract.names import AUDIENCE, INIT_CONTAINER, INJECTED, STATUS
from contract.status_annotation import InjectionStatus
from lab.sandbox.apiserver.apiserver import APIServer

NOW = datetime(2030, 5, 1, 12, 0, 0, 250_000, tzinfo=UTC)
TRUST_DOMAIN = TrustDomain("cluster.local")
IDENTITY = WorkloadIdentity(TRUST_DOMAIN, "shop", "payments")
ADDRESS = "10.1.2.3"
UID = "6f1b2a52-0c38-4b7e-9a3e-0d7a5a1c0001"
RECORD_ID = "0123456789abcdef0123456789abcdef"

Key = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey


def pod_object(**changes: Any) -> dict[str, Any]:
    """An injected, running Pod of namespace shop; a change replaces what `part__key` names."""
    pod: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "payments-1",
            "namespace": "shop",
            "uid": UID,
            "creationTimestamp": "2030-05-01T11:00:00Z",
            "labels": {"app": "payments", INJECTED: "true"},
            "annotations": {STATUS: str(InjectionStatus("0.1.0", "mtls", "8443=8080", RECORD_ID))},
        },
        "spec": {
            "serviceAccountName": "payments",
            "nodeName": "node-1",
            "initContainers": [{"name": INIT_CONTAINER, "image": "init"}],
            "containers": [{"name": "app", "image": "app", "fieldFromTheFuture": {"a": 1}}],
        },
        "status": {"phase": "Pending", "podIP": ADDRESS, "podIPs": [{"ip": ADDRESS}, {"ip": "fd00::3"}]},
    }
    for path, value in changes.items():
        part, key = path.split("__")
        pod[part][key] = value
    return pod


def user_of(pod: dict[str, Any]) -> dict[str, Any]:
    """The user that a TokenReview shows for a token bound to this pod."""
    meta, spec = pod["metadata"], pod["spec"]
    return {
        "username": f"system:serviceaccount:{meta['namespace']}:{spec['serviceAccountName']}",
        "groups": ["system:serviceaccounts"],
        "extra": {
            "authentication.kubernetes.io/pod-name": [meta["name"]],
            "authentication.kubernetes.io/pod-uid": [meta["uid"]],
            "authentication.kubernetes.io/node-name": [spec["nodeName"]],
            "authentication.kubernetes.io/credential-id": ["JTI=b5a2f1e0-1111-2222-3333-444455556666"],
        },
    }


def service_object(name: str, selector: dict[str, str] | None, **spec: Any) -> dict[str, Any]:
    """A Service of namespace shop."""
    return {
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"type": "ClusterIP", "clusterIP": "10.96.0.7", "selector": selector, **spec},
    }


def pod_facts(**changes: Any) -> PodFacts:
    """What the names of a pod of namespace shop follow from."""
    values: dict[str, Any] = {
        "identity": IDENTITY,
        "labels": {"app": "payments"},
        "hostname": "",
        "subdomain": "",
        "addresses": (),
    }
    return PodFacts(**{**values, **changes})


def fill_cluster(api: APIServer) -> None:
    """Store the namespace shop with its service account, the injected pod, and a Service that selects it."""
    api.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}})
    api.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "payments", "namespace": "shop"}})
    # As it stands when its first container asks: not as somebody would apply it.
    api.store.create(pod_object())
    api.store.create({"kind": "Service", **service_object("payments", {"app": "payments"})})


def create_token(api: APIServer) -> str:
    """The token of that pod, for the CA."""
    return api.create_token(api.store.get("Pod", "shop", "payments-1"), AUDIENCE, 600)


def request_der(key: Key, *, names: list[x509.GeneralName] | None = None, common_name: str = "") -> bytes:
    """A PKCS #10 request, signed by its key."""
    subject = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)] if common_name else []
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(subject))
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(key, algorithm).public_bytes(Encoding.DER)


def body_of(der: bytes) -> bytes:
    """A request as EST sends it."""
    return base64.encodebytes(der)
