"""The stand-in's state: what applying a manifest makes, what the kubelet may read, and what is refused."""

import base64
from typing import Any

import pytest

from lab.sandbox.apiserver.admission import Webhook
from lab.sandbox.apiserver.cluster import Cluster, encode_secret
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

    def send(self, webhook: Webhook, body: bytes) -> bytes:
        self.called.append(webhook.path)
        raise WebhookCallError(f"connection refused ({len(body)} bytes)")


@pytest.fixture
def sender() -> UnreachableWebhook:
    return UnreachableWebhook()


@pytest.fixture
def cluster(sender: UnreachableWebhook) -> Cluster:
    cluster = Cluster(sender, "the API server's certificate")
    cluster.apply(_object("Namespace", "shop", namespace=None))
    return cluster


def _object(kind: str, name: str, namespace: str | None = "shop", **fields: Any) -> dict[str, Any]:
    metadata = {"name": name} | ({} if namespace is None else {"namespace": namespace})
    return {"apiVersion": "v1", "kind": kind, "metadata": metadata, **fields}


def _pod(name: str = "one", namespace: str | None = "shop") -> dict[str, Any]:
    return _object("Pod", name, namespace, spec={"containers": [{"name": "app", "image": "app:1"}]})


def _register_webhook(cluster: Cluster) -> None:
    (configuration,) = load(FOLDER / "base" / "webhook-configuration.yaml")
    for entry in configuration["webhooks"]:
        entry["clientConfig"]["caBundle"] = base64.b64encode(b"bundle").decode()
    cluster.apply(configuration)


def test_namespace_gets_its_name_label_service_account_and_root_certificates(cluster: Cluster) -> None:
    namespace = cluster.store.get("Namespace", "", "shop")

    assert namespace["metadata"]["labels"] == {"kubernetes.io/metadata.name": "shop"}
    assert cluster.store.get("ServiceAccount", "shop", "default")["metadata"]["uid"]
    assert cluster.config_map("shop", "kube-root-ca.crt")["data"] == {"ca.crt": "the API server's certificate"}


def test_pod_is_defaulted_scheduled_and_stored(cluster: Cluster) -> None:
    (admitted,) = cluster.apply(_pod())

    assert admitted.called is None
    (stored,) = cluster.pods()
    assert stored == admitted.pod
    assert stored["metadata"]["uid"]
    assert stored["spec"]["nodeName"] == "demo-node"
    assert stored["spec"]["serviceAccountName"] == "default"
    assert stored["status"]["phase"] == "Pending"


def test_deployment_is_stored_and_its_pods_are_named(cluster: Cluster) -> None:
    template = {"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{"name": "a", "image": "a:1"}]}}

    admitted = cluster.apply(_object("Deployment", "payments", spec={"replicas": 2, "template": template}))

    names = [each.pod["metadata"]["name"] for each in admitted]
    assert len(set(names)) == 2
    assert all(name.startswith("payments-") for name in names)
    assert cluster.store.get("Deployment", "shop", "payments")["metadata"]["uid"]


def test_object_without_a_namespace_goes_to_default(cluster: Cluster) -> None:
    (admitted,) = cluster.apply(_pod(namespace=None))

    assert admitted.pod["metadata"]["namespace"] == "default"


def test_services_get_addresses_of_their_own_and_defaults(cluster: Cluster) -> None:
    for name in ("one", "two"):
        cluster.apply(_object("Service", name, spec={"ports": [{"port": 80}]}))
    cluster.apply(_object("Service", "headless", spec={"clusterIP": "None"}))
    cluster.apply(_object("Service", "outside", spec={"type": "ExternalName", "externalName": "example.org"}))

    api, one, two, headless, outside = cluster.services()

    assert api["spec"]["clusterIP"] == "10.96.0.1"
    assert one["spec"]["clusterIP"] != two["spec"]["clusterIP"]
    assert one["spec"]["ports"] == [{"port": 80, "targetPort": 80, "protocol": "TCP"}]
    assert one["spec"]["type"] == "ClusterIP"
    assert headless["spec"]["clusterIP"] == "None"
    assert "clusterIP" not in outside["spec"]


def test_secret_is_kept_in_base64(cluster: Cluster) -> None:
    cluster.apply(_object("Secret", "issuing", data=encode_secret({"tls.key": b"a key"})))

    assert cluster.secret("shop", "issuing")["data"] == {"tls.key": "YSBrZXk="}


def test_pod_status_is_replaced_and_a_pod_that_is_gone_is_no_error(cluster: Cluster) -> None:
    cluster.apply(_pod())

    cluster.update_pod_status("shop", "one", {"podIP": "10.244.0.2"})
    cluster.update_pod_status("shop", "gone", {"podIP": "10.244.0.3"})

    (pod,) = cluster.pods()
    assert pod["status"] == {"podIP": "10.244.0.2"}


def test_token_is_good_until_its_pod_is_gone_or_replaced(cluster: Cluster) -> None:
    (admitted,) = cluster.apply(_pod())
    token = cluster.create_token(admitted.pod, "podtls-ca", 600)

    assert cluster.authenticate(token, ["podtls-ca"]).audiences == ("podtls-ca",)

    cluster.store.delete("Pod", "shop", "one")
    with pytest.raises(UnauthorizedError, match="its pod is gone"):
        cluster.authenticate(token, ["podtls-ca"])

    cluster.apply(_pod())
    with pytest.raises(UnauthorizedError, match="its pod was replaced"):
        cluster.authenticate(token, ["podtls-ca"])


def test_labels_of_the_namespace_decide_whether_the_webhook_is_asked(
    cluster: Cluster, sender: UnreachableWebhook
) -> None:
    _register_webhook(cluster)
    cluster.apply(_pod("before"))

    cluster.label_namespace("shop", {"podtls.io/inject": "enabled", "podtls.io/mode": "tls"})
    with pytest.raises(AdmissionError, match=r'failed calling webhook "tls-port\.podtls\.io": connection refused'):
        cluster.apply(_pod("after"))
    cluster.label_namespace("shop", {"podtls.io/inject": None})
    cluster.apply(_pod("later"))

    assert sender.called == ["/mutate/tls/port"]
    assert [pod["metadata"]["name"] for pod in cluster.pods()] == ["before", "later"]


@pytest.mark.parametrize(
    ("manifest", "error", "reason"),
    [
        pytest.param(_object("CronJob", "x"), ManifestError, "kind 'CronJob': the demo knows", id="unknown kind"),
        pytest.param(_pod(namespace="nowhere"), NotFoundError, 'Namespace "nowhere" not found', id="no namespace"),
        pytest.param(_object("Namespace", "shop", None), ConflictError, '"shop" already exists', id="there already"),
    ],
)
def test_what_cannot_be_applied_is_refused(
    cluster: Cluster, manifest: dict[str, Any], error: type[Exception], reason: str
) -> None:
    with pytest.raises(error, match=reason):
        cluster.apply(manifest)


def test_pod_of_a_missing_service_account_is_refused(cluster: Cluster) -> None:
    pod = _pod()
    pod["spec"]["serviceAccountName"] = "nobody"

    with pytest.raises(NotFoundError, match='ServiceAccount "nobody" not found in namespace shop'):
        cluster.apply(pod)


def test_what_the_store_gives_is_a_copy(cluster: Cluster) -> None:
    cluster.apply(_object("ConfigMap", "settings", data={"a": "1"}))

    cluster.config_map("shop", "settings")["data"]["a"] = "changed"

    assert cluster.config_map("shop", "settings")["data"] == {"a": "1"}


def test_every_change_gets_a_new_resource_version(cluster: Cluster) -> None:
    cluster.apply(_pod())
    before = cluster.pods()[0]["metadata"]["resourceVersion"]

    cluster.update_pod_status("shop", "one", {})

    assert int(cluster.pods()[0]["metadata"]["resourceVersion"]) > int(before)
