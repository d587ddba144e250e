"""The AdmissionReview that is measured: what kube-apiserver 1.33 sends for a pod of a usual Deployment, about 10 kB.

Such a review carries what in-tree admission has done before us: defaults written out, the service account's token
volume mounted into every container, and managedFields that name each field once more.
"""

import json
import uuid
from typing import Any

PATH = "/mutate/mtls/port?timeout=5s"
NAMESPACE = "shop"
_OWNER = {
    "apiVersion": "apps/v1",
    "kind": "ReplicaSet",
    "name": "checkout-6f7d8c9b5d",
    "uid": "6b1c5a5e-3f0e-4f5b-9d51-0f8b7c2d9a10",
    "controller": True,
    "blockOwnerDeletion": True,
}
_LABELS = {
    "app.kubernetes.io/name": "checkout",
    "app.kubernetes.io/part-of": "shop",
    "app.kubernetes.io/version": "4.17.2",
    "pod-template-hash": "6f7d8c9b5d",
    "team": "payments",
}
_ANNOTATIONS = {
    "podtls.io/upstreams": "payments.shop:80=443",
    "prometheus.io/path": "/metrics",
    "prometheus.io/port": "9102",
    "prometheus.io/scrape": "true",
}
_TOKEN_VOLUME = "kube-api-access-x7k2p"  # noqa: S105 - the name of a volume
_TOLERATIONS = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")


def body() -> bytes:
    """One request as kube-apiserver encodes it (compact JSON); every call has a uid of its own."""
    review = {"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": _request(str(uuid.uuid4()))}
    return json.dumps(review, separators=(",", ":")).encode()


def pod() -> dict[str, Any]:
    """The pod inside of `body()`, a new object each time."""
    metadata: dict[str, Any] = {
        "generateName": "checkout-6f7d8c9b5d-",
        "namespace": NAMESPACE,
        "creationTimestamp": None,
        "labels": dict(_LABELS),
        "annotations": dict(_ANNOTATIONS),
        "ownerReferences": [dict(_OWNER)],
    }
    spec = _spec()
    fields = {"f:metadata": _fields(metadata), "f:spec": _fields(spec)}
    metadata["managedFields"] = [
        {
            "manager": "kube-controller-manager",
            "operation": "Update",
            "apiVersion": "v1",
            "time": "2026-01-15T09:30:00Z",
            "fieldsType": "FieldsV1",
            "fieldsV1": fields,
        }
    ]
    return {"kind": "Pod", "apiVersion": "v1", "metadata": metadata, "spec": spec, "status": {}}


def _request(uid: str) -> dict[str, Any]:
    kind = {"group": "", "version": "v1", "kind": "Pod"}
    resource = {"group": "", "version": "v1", "resource": "pods"}
    return {
        "uid": uid,
        "kind": kind,
        "resource": resource,
        "requestKind": kind,
        "requestResource": resource,
        "namespace": NAMESPACE,
        "operation": "CREATE",
        "userInfo": {
            "username": "system:serviceaccount:kube-system:replicaset-controller",
            "uid": "f3a1d4a0-8f6e-4c7b-b8e5-2f0f4a1c9d77",
            "groups": ["system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated"],
            "extra": {"authentication.kubernetes.io/credential-id": ["JTI=5f0c1c8e-5a64-4f3c-9a7f-6a0d8f1f2b3c"]},
        },
        "object": pod(),
        "oldObject": None,
        "dryRun": False,
        "options": {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1"},
    }


def _spec() -> dict[str, Any]:
    return {
        "volumes": [
            {"name": "config", "configMap": {"name": "checkout", "defaultMode": 420}},
            {"name": "cache", "emptyDir": {"sizeLimit": "256Mi"}},
            {"name": _TOKEN_VOLUME, "projected": {"sources": _token_sources(), "defaultMode": 420}},
        ],
        "containers": [
            _container("checkout", [("http", 8080), ("metrics", 9102)], settings=5),
            _container("outbox", [("admin", 9000)], settings=1),
        ],
        "restartPolicy": "Always",
        "terminationGracePeriodSeconds": 30,
        "dnsPolicy": "ClusterFirst",
        "serviceAccountName": "checkout",
        "serviceAccount": "checkout",
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 10001,
            "fsGroup": 10001,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "schedulerName": "default-scheduler",
        "tolerations": [
            {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300} for key in _TOLERATIONS
        ],
        "priority": 0,
        "enableServiceLinks": True,
        "preemptionPolicy": "PreemptLowerPriority",
    }


def _container(name: str, ports: list[tuple[str, int]], *, settings: int) -> dict[str, Any]:
    return {
        "name": name,
        "image": f"registry.example.com/shop/{name}:4.17.2",
        "ports": [{"name": port, "containerPort": number, "protocol": "TCP"} for port, number in ports],
        "env": [
            {"name": "POD_NAME", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}},
            {"name": "DB_PASSWORD", "valueFrom": {"secretKeyRef": {"name": f"{name}-db", "key": "password"}}},
            *({"name": f"SHOP_SETTING_{i:02}", "value": f"https://api.example.com/v{i}"} for i in range(settings)),
        ],
        "resources": {"limits": {"cpu": "500m", "memory": "512Mi"}, "requests": {"cpu": "250m", "memory": "256Mi"}},
        "volumeMounts": [
            {"name": "config", "readOnly": True, "mountPath": "/etc/checkout"},
            {"name": "cache", "mountPath": "/var/cache/checkout"},
            {
                "name": _TOKEN_VOLUME,
                "readOnly": True,
                "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount",
            },
        ],
        "livenessProbe": _probe("/livez", ports[0][0], seconds=10),
        "readinessProbe": _probe("/readyz", ports[0][0], seconds=5),
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File",
        "imagePullPolicy": "IfNotPresent",
        "securityContext": {
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
            "allowPrivilegeEscalation": False,
        },
    }


def _probe(path: str, port: str, *, seconds: int) -> dict[str, Any]:
    return {
        "httpGet": {"path": path, "port": port, "scheme": "HTTP"},
        "timeoutSeconds": 1,
        "periodSeconds": seconds,
        "successThreshold": 1,
        "failureThreshold": 3,
    }


def _token_sources() -> list[dict[str, Any]]:
    namespace = {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}
    return [
        {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [namespace]}},
    ]


def _fields(value: dict[str, Any]) -> dict[str, Any]:
    """The FieldsV1 form of a value: `f:name` for each field, `k:{...}` for each entry of a list with a key."""
    named: dict[str, Any] = {}
    for key, entry in value.items():
        if isinstance(entry, dict):
            named[f"f:{key}"] = {".": {}, **_fields(entry)}
        elif isinstance(entry, list) and entry and isinstance(entry[0], dict) and "name" in entry[0]:
            items = {f'k:{{"name":"{item["name"]}"}}': {".": {}, **_fields(item)} for item in entry}
            named[f"f:{key}"] = {".": {}, **items}
        else:
            named[f"f:{key}"] = {}
    return named
