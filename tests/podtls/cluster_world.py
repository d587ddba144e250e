"""A cluster with podtls as the API server shows it: our real manifests, a real authority, really injected pods."""

import base64
import copy
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from ca.api.est import encode_certificates
from ca.authority import creation
from ca.authority.creation import NewAuthority
from contract.identity import TrustDomain
from contract.names import INIT_CONTAINER, INJECT, PATH_CACERTS, STATUS
from injector.enroll.certificate import encode_chain
from podtls.inject.offline import OfflineWebhook, apply_patches
from podtls.kubernetes import installation
from podtls.kubernetes.objects import object_path
from podtls.kubernetes.reader import ApiResponse
from tests.fakes import FakeApiServer
from webhook.decision import Defaults
from webhook.settings import InjectionSettings, PodSettings

BASE = Path(__file__).parents[2] / "manifests" / "base"
ENFORCE = BASE.parent / "components" / "enforce"
# Certificates have whole seconds; so has a Date header.
NOW = datetime.now(UTC).replace(microsecond=0)
INSTALLED = "2026-01-01T00:00:00Z"
LABELLED = "2026-02-01T00:00:00Z"
SINCE = "2026-03-01T00:00:00Z"
RECORD = "0123456789abcdef" * 2

Object = dict[str, Any]


@cache
def authority() -> NewAuthority:
    """The authority that signs now."""
    return new_authority()


def new_authority(now: datetime = NOW) -> NewAuthority:
    """Another one."""
    return creation.create_authority(TrustDomain("cluster.local"), "cluster.local", now)


def bundle_of(made: NewAuthority) -> str:
    """Its trust bundle."""
    return encode_chain((made.root.certificate,)).decode()


@cache
def _manifests(folder: Path) -> list[Object]:
    files = yaml.safe_load((folder / "kustomization.yaml").read_text())["resources"]
    return [each for name in files for each in yaml.safe_load_all((folder / name).read_text()) if each]


def manifests(folder: Path = BASE) -> list[Object]:
    """The objects of manifests/base, or of another folder of manifests."""
    return copy.deepcopy(_manifests(folder))


def bare() -> FakeApiServer:
    """A cluster without podtls."""
    server = FakeApiServer(date=NOW.strftime("%a, %d %b %Y %H:%M:%S GMT"))
    server.add(*(namespace(name) for name in ("default", "kube-system", "kube-public", "kube-node-lease")))
    return server


def installed() -> FakeApiServer:
    """A cluster in which podtls works."""
    server = bare()
    server.add(*manifests())
    publish(server, authority())
    for workload in installation.WORKLOADS:
        found = server.find(workload.kind, workload.name)
        found["status"] = {"readyReplicas": found["spec"]["replicas"]}
        if workload.service:
            server.add(endpoint_slice(workload.name))
            server.proxied[workload.proxied("/readyz")] = ApiResponse(200, b"ok\n")
    for kind in ("Mutating", "Validating"):
        server.find(f"{kind}WebhookConfiguration", "podtls")["metadata"]["creationTimestamp"] = INSTALLED
    return server


def enforce(server: FakeApiServer) -> None:
    """What applying components/enforce adds."""
    for each in manifests(ENFORCE):
        server.objects[object_path(each)] = each


def publish(server: FakeApiServer, made: NewAuthority) -> None:
    """What the controller and the CA do with an authority."""
    pem = bundle_of(made)
    metadata = {"name": "podtls-bundle", "namespace": installation.NAMESPACE}
    server.add({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"ca.crt": pem}})
    for kind in ("Mutating", "Validating"):
        for entry in server.find(f"{kind}WebhookConfiguration", "podtls")["webhooks"]:
            entry["clientConfig"]["caBundle"] = base64.b64encode(pem.encode()).decode()
    response = encode_certificates([made.root.certificate, made.issuing.certificate])
    server.proxied[installation.CA.proxied(PATH_CACERTS)] = ApiResponse(200, response.body)


def endpoint_slice(service: str, *, ready: bool = True, port: str = "https") -> Object:
    """Two endpoints of a Service of ours."""
    endpoints = [{"addresses": [f"10.1.0.{last}"], "conditions": {"ready": ready}} for last in (1, 2)]
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": f"{service}-x7k2p",
            "namespace": installation.NAMESPACE,
            "labels": {"kubernetes.io/service-name": service},
        },
        "endpoints": endpoints,
        "ports": [{"name": port, "port": 8443, "protocol": "TCP"}],
    }


def namespace(name: str, labels: dict[str, str] | None = None, **metadata: Any) -> Object:
    """A namespace as the API server stores it; labelled ours, it says since when."""
    fields: Object = {f"f:{key}": {} for key in labels or {}}
    managed = [{"manager": "kubectl-label", "time": LABELLED, "fieldsV1": {"f:metadata": {"f:labels": fields}}}]
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": name,
            "labels": {"kubernetes.io/metadata.name": name, **(labels or {})},
            "managedFields": managed,
            **metadata,
        },
    }


def enrolled_namespace(name: str = "shop", **labels: str) -> Object:
    """A namespace that somebody has enrolled."""
    return namespace(name, {INJECT: "enabled", **labels})


def pod(name: str = "web", *, created: str = SINCE, ports: tuple[int, ...] = (8080,), **metadata: Any) -> Object:
    """A running pod of namespace shop, not injected."""
    container = {"name": "app", "image": "example.test/app:1", "ports": [{"containerPort": port} for port in ports]}
    meta = {"name": name, "namespace": "shop", "creationTimestamp": created, "labels": {"app": "web"}, **metadata}
    status = {"phase": "Running", "podIPs": [{"ip": "10.1.2.3"}]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": {"containers": [container]}, "status": status}


def injected(raw: Object, *, made: NewAuthority | None = None, mode: str = "mtls") -> Object:
    """The pod as the webhook makes it, with its certificate since SINCE."""
    settings = InjectionSettings(PodSettings(image="example.test/podtls-init:1"), bundle_of(made or authority()))
    webhook = OfflineWebhook(Defaults(mode, "port"), settings, raw["metadata"]["namespace"])
    patched: Object = apply_patches(raw, webhook.admit(raw, "test"))
    annotations = patched["metadata"]["annotations"]
    annotations[STATUS] = annotations[STATUS].replace('"record":""', f'"record":"{RECORD}"')
    ended = {"terminated": {"exitCode": 0, "finishedAt": SINCE}}
    patched["status"]["initContainerStatuses"] = [{"name": INIT_CONTAINER, "state": ended}]
    return patched


def service(name: str = "web", **spec: Any) -> Object:
    """A Service of namespace shop that chooses pod()."""
    ports = [{"port": 443, "protocol": "TCP", "targetPort": "podtls"}]
    written = {"selector": {"app": "web"}, "ports": ports, "clusterIP": "10.96.0.9", **spec}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "shop"}, "spec": written}


def event(owner: str = "ReplicaSet/web-5d8f", message: str = "denied", **fields: Any) -> Object:
    """What a controller says when it could not create a pod."""
    kind, _, name = owner.partition("/")
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{name}.{abs(hash((owner, message))):x}", "namespace": "shop"},
        "involvedObject": {"kind": kind, "name": name},
        "reason": "FailedCreate",
        "message": message,
        "count": 1,
        "lastTimestamp": SINCE,
        **fields,
    }


def later(days: int) -> datetime:
    """So many days from now."""
    return NOW + timedelta(days=days)
