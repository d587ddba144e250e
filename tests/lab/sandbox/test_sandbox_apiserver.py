"""The stand-in API server's objects: what applying a manifest makes, whom it asks, and what it refuses."""

import base64
from typing import Any

import pytest

from lab.sandbox.apiserver.admission import WebhookEntry
from lab.sandbox.apiserver.apiserver import APIServer
from lab.sandbox.errors import (
    AdmissionError,
    ConflictError,
    ManifestError,
    NotFoundError,
    UnauthorizedError,
    WebhookCallError,
)
from lab.sandbox.manifests import FOLDER, load


class UnreachableWebhook:
    """A ReviewSender whose webhook is down; remembers which entries were called."""

    def __init__(self) -> None:
        self.called: list[str] = []

    def send(self, webhook: WebhookEntry, body: bytes) -> bytes:
        self.called.append(webhook.path)
        raise WebhookCallError(f"connection refused ({len(body)} bytes)")


@pytest.fixture
def sender() -> UnreachableWebhook:
    return UnreachableWebhook()


@pytest.fixture
def api(sender: UnreachableWebhook) -> APIServer:
    api = APIServer(sender, "the API server's certificate")
    api.apply(_object("Namespace", "shop", namespace=None))
    return api


def _object(kind: str, name: str, namespace: str | None = "shop", **fields: Any) -> dict[str, Any]:
    metadata = {"name": name} | ({} if namespace is None else {"namespace": namespace})
    return {"apiVersion": "v1", "kind": kind, "metadata": metadata, **fields}


def _pod(name: str = "one", namespace: str | None = "shop") -> dict[str, Any]:
    return _object("Pod", name, namespace, spec={"containers": [{"name": "app", "image": "app:1"}]})


def _register_webhook(api: APIServer) -> None:
    (configuration,) = load(FOLDER / "base" / "webhook-configuration.yaml")
    for entry in configuration["webhooks"]:
        entry["clientConfig"]["caBundle"] = base64.b64encode(b"bundle").decode()
    api.apply(configuration)


def test_namespace_gets_its_name_label_service_account_and_root_certificates(api: APIServer) -> None:
    namespace = api.store.get("Namespace", "", "shop")

    assert namespace["metadata"]["labels"] == {"kubernetes.io/metadata.name": "shop"}
    assert api.store.get("ServiceAccount", "shop", "default")["metadata"]["uid"]
    assert api.config_map("shop", "kube-root-ca.crt")["data"] == {"ca.crt": "the API server's certificate"}


def test_pod_is_defaulted_scheduled_and_stored(api: APIServer) -> None:
    (admitted,) = api.apply(_pod())

    assert admitted.called is None
    (stored,) = api.pods()
    assert stored == admitted.pod
    assert stored["metadata"]["uid"]
    assert stored["spec"]["nodeName"] == "demo-node"
    assert stored["spec"]["serviceAccountName"] == "default"
    assert stored["status"]["phase"] == "Pending"


def test_services_get_addresses_of_their_own_and_defaults(api: APIServer) -> None:
    for name in ("one", "two"):
        api.apply(_object("Service", name, spec={"ports": [{"port": 80}]}))
    api.apply(_object("Service", "headless", spec={"clusterIP": "None"}))
    api.apply(_object("Service", "outside", spec={"type": "ExternalName", "externalName": "example.org"}))

    kubernetes, one, two, headless, outside = api.services()

    assert kubernetes["spec"]["clusterIP"] == "10.96.0.1"
    assert one["spec"]["clusterIP"] != two["spec"]["clusterIP"]
    assert one["spec"]["ports"] == [{"port": 80, "targetPort": 80, "protocol": "TCP"}]
    assert one["spec"]["type"] == "ClusterIP"
    assert headless["spec"]["clusterIP"] == "None"
    assert "clusterIP" not in outside["spec"]


def test_labels_of_the_namespace_decide_whether_the_webhook_is_asked(
    api: APIServer, sender: UnreachableWebhook
) -> None:
    _register_webhook(api)
    api.apply(_pod("before"))

    api.label_namespace("shop", {"podtls.io/inject": "enabled", "podtls.io/mode": "tls"})
    with pytest.raises(AdmissionError, match=r'failed calling webhook "tls-port\.podtls\.io": connection refused'):
        api.apply(_pod("after"))
    api.label_namespace("shop", {"podtls.io/inject": None})
    api.apply(_pod("later"))

    assert sender.called == ["/mutate/tls/port"]
    assert [pod["metadata"]["name"] for pod in api.pods()] == ["before", "later"]


@pytest.mark.parametrize(
    ("manifest", "error", "reason"),
    [
        pytest.param(_object("CronJob", "x"), ManifestError, "kind 'CronJob': the demo knows", id="unknown kind"),
        pytest.param(_pod(namespace="nowhere"), NotFoundError, 'Namespace "nowhere" not found', id="no namespace"),
        pytest.param(_object("Namespace", "shop", None), ConflictError, '"shop" already exists', id="there already"),
    ],
)
def test_what_cannot_be_applied_is_refused(
    api: APIServer, manifest: dict[str, Any], error: type[Exception], reason: str
) -> None:
    with pytest.raises(error, match=reason):
        api.apply(manifest)


def test_pod_of_a_missing_service_account_is_refused(api: APIServer) -> None:
    pod = _pod()
    pod["spec"]["serviceAccountName"] = "nobody"

    with pytest.raises(NotFoundError, match='ServiceAccount "nobody" not found in namespace shop'):
        api.apply(pod)


def test_token_is_good_until_its_pod_was_replaced(api: APIServer) -> None:
    (admitted,) = api.apply(_pod())
    token = api.create_token(admitted.pod, "podtls-ca", 600)

    assert api.authenticate(token, ["podtls-ca"]).audiences == ("podtls-ca",)

    api.store.merge("Pod", "shop", "one", {"metadata": {"uid": "another"}})
    with pytest.raises(UnauthorizedError, match="its pod was replaced"):
        api.authenticate(token, ["podtls-ca"])
