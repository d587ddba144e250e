"""What the commands know of an installation by name is what manifests/ ships."""

import pytest

from podtls.kubernetes import installation
from podtls.kubernetes.objects import object_path
from podtls.manifests.shipped import excluded_namespaces, find_shipped, load_shipped


def test_workloads_of_the_control_plane_are_the_shipped_ones() -> None:
    shipped = [object_path(each) for each in find_shipped(["StatefulSet", "Deployment"])]

    assert sorted(shipped) == sorted(workload.path for workload in installation.WORKLOADS)


def test_ports_of_services_have_the_names_that_the_api_server_is_asked_for() -> None:
    shipped = {each["metadata"]["name"]: each["spec"]["ports"] for each in find_shipped(["Service"])}

    assert {name: [port["name"] for port in ports] for name, ports in shipped.items()} == {
        each.name: [each.service] for each in installation.WORKLOADS if each.service
    }


@pytest.mark.parametrize("path", [installation.MUTATING, installation.VALIDATING])
def test_webhook_configurations_are_read_where_they_are_applied(path: str) -> None:
    assert path in [object_path(each) for each in load_shipped()]


def test_every_entry_excludes_the_same_namespaces() -> None:
    configurations = find_shipped(["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"])
    selectors = [entry["namespaceSelector"] for each in configurations for entry in each["webhooks"]]

    assert len(selectors) == 12
    assert {tuple(each["matchExpressions"][-1]["values"]) for each in selectors} == {excluded_namespaces()}


@pytest.mark.parametrize(
    ("kind", "version", "namespace", "path"),
    [
        pytest.param("Pod", "v1", "shop", "/api/v1/namespaces/shop/pods/x", id="core"),
        pytest.param("Namespace", "v1", "", "/api/v1/namespaces/x", id="cluster"),
        pytest.param("Deployment", "apps/v1", "shop", "/apis/apps/v1/namespaces/shop/deployments/x", id="group"),
        pytest.param("NetworkPolicy", "g/v1", "shop", "/apis/g/v1/namespaces/shop/networkpolicies/x", id="ies"),
    ],
)
def test_path_of_an_object_follows_its_kind(kind: str, version: str, namespace: str, path: str) -> None:
    metadata = {"name": "x", "namespace": namespace} if namespace else {"name": "x"}

    assert object_path({"apiVersion": version, "kind": kind, "metadata": metadata}) == path
