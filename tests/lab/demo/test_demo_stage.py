"""What the stage does besides starting things: finding the webhook's address, and running podtls-ca."""

from typing import Any

import pytest

from lab.demo.stage import resolve, run_ca
from lab.sandbox.apiserver.admission import Webhook
from lab.sandbox.apiserver.cluster import Cluster
from lab.sandbox.errors import DemoError, WebhookCallError


class NoWebhook:
    """A ReviewSender that nobody should ask."""

    def send(self, webhook: Webhook, body: bytes) -> bytes:
        raise AssertionError(f"{webhook.name} was asked about {len(body)} bytes")


@pytest.fixture
def cluster() -> Cluster:
    cluster = Cluster(NoWebhook(), "a certificate")
    ports = [{"port": 443, "targetPort": 8443}]
    spec = {"selector": {"app": "webhook"}, "ports": ports, "clusterIP": "10.96.0.9"}
    cluster.apply(_object("Service", "webhook", {}, spec))
    return cluster


def _object(kind: str, name: str, labels: dict[str, str], spec: dict[str, Any]) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "default", "labels": labels}
    return {"apiVersion": "v1", "kind": kind, "metadata": metadata, "spec": spec}


def _ready_pod(cluster: Cluster) -> None:
    spec = {"containers": [{"name": "app", "image": "app:1"}]}
    cluster.apply(_object("Pod", "webhook-0", {"app": "webhook"}, spec))
    ready = {"podIP": "10.244.0.7", "conditions": [{"type": "Ready", "status": "True"}]}
    cluster.update_pod_status("default", "webhook-0", ready)


def test_webhook_is_dialled_at_its_services_address(cluster: Cluster) -> None:
    _ready_pod(cluster)

    assert resolve(cluster, "default", "webhook", 443) == ("10.96.0.9", 443)


def test_service_without_ready_pods_has_no_endpoints(cluster: Cluster) -> None:
    with pytest.raises(WebhookCallError, match='no endpoints available for service "webhook"'):
        resolve(cluster, "default", "webhook", 443)


def test_port_that_the_service_lacks_has_no_endpoints(cluster: Cluster) -> None:
    _ready_pod(cluster)

    with pytest.raises(WebhookCallError, match='no endpoints available for service "webhook"'):
        resolve(cluster, "default", "webhook", 8443)


def test_service_that_is_not_there_is_named(cluster: Cluster) -> None:
    with pytest.raises(WebhookCallError, match='failed to call webhook: Service "other" not found'):
        resolve(cluster, "default", "other", 443)


def test_podtls_ca_that_fails_is_quoted() -> None:
    with pytest.raises(DemoError, match=r"podtls-ca nonsense: .*invalid choice"):
        run_ca("nonsense")
