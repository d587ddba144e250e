"""Where the demo's API server finds the webhook."""

from typing import Any

import pytest

from lab.demo.cluster import resolve
from lab.sandbox.apiserver.admission import WebhookEntry
from lab.sandbox.apiserver.apiserver import APIServer
from lab.sandbox.errors import WebhookCallError


class NoWebhook:
    """A ReviewSender that nobody should ask."""

    def send(self, webhook: WebhookEntry, body: bytes) -> bytes:
        raise AssertionError(f"{webhook.name} was asked about {len(body)} bytes")


@pytest.fixture
def cluster() -> APIServer:
    cluster = APIServer(NoWebhook(), "a certificate")
    ports = [{"port": 443, "targetPort": 8443}]
    spec = {"selector": {"app": "webhook"}, "ports": ports, "clusterIP": "10.96.0.9"}
    cluster.apply(_object("Service", "webhook", {}, spec))
    return cluster


def _object(kind: str, name: str, labels: dict[str, str], spec: dict[str, Any]) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "default", "labels": labels}
    return {"apiVersion": "v1", "kind": kind, "metadata": metadata, "spec": spec}


def _ready_pod(cluster: APIServer) -> None:
    spec = {"containers": [{"name": "app", "image": "app:1"}]}
    cluster.apply(_object("Pod", "webhook-0", {"app": "webhook"}, spec))
    ready = {"podIP": "10.244.0.7", "conditions": [{"type": "Ready", "status": "True"}]}
    cluster.update_pod_status("default", "webhook-0", ready)


def test_webhook_is_dialled_at_its_services_address(cluster: APIServer) -> None:
    _ready_pod(cluster)

    assert resolve(cluster, "default", "webhook", 443) == ("10.96.0.9", 443)


def test_service_without_ready_pods_has_no_endpoints(cluster: APIServer) -> None:
    with pytest.raises(WebhookCallError, match='no endpoints available for service "webhook"'):
        resolve(cluster, "default", "webhook", 443)


def test_service_that_is_not_there_is_named(cluster: APIServer) -> None:
    with pytest.raises(WebhookCallError, match='failed to call webhook: Service "other" not found'):
        resolve(cluster, "default", "other", 443)
