"""What `podtls check` expects is what manifests/base installs."""

from podtls.cluster import layout
from podtls.cluster.webhooks import expected_entries
from tests.fakes import FakeApiServer
from tests.podtls.cluster_world import manifests


def test_expected_entries_are_those_of_the_shipped_configuration() -> None:
    (shipped,) = [each for each in manifests() if each["kind"] == "MutatingWebhookConfiguration"]

    entries = {
        entry["name"]: (entry["clientConfig"]["service"]["path"], entry["namespaceSelector"]["matchExpressions"])
        for entry in shipped["webhooks"]
    }

    assert entries == expected_entries()


def test_every_object_that_is_looked_for_is_installed_and_no_account_or_role_is_forgotten() -> None:
    kinds = ("ServiceAccount", "ClusterRole", "Role", "ClusterRoleBinding", "RoleBinding", "StatefulSet", "Deployment")
    shipped = {
        FakeApiServer.path(each["kind"], each["metadata"], each["apiVersion"])
        for each in manifests()
        if each["kind"] in kinds
    }

    expected = {*layout.ACCOUNTS.values(), *layout.ROLES.values(), *layout.BINDINGS.values()}

    assert shipped == expected | {workload.path for workload in layout.WORKLOADS}


def test_the_ports_of_our_services_have_the_names_that_are_looked_for() -> None:
    shipped = {each["metadata"]["name"]: each["spec"]["ports"] for each in manifests() if each["kind"] == "Service"}

    assert {name: [port["name"] for port in ports] for name, ports in shipped.items()} == {
        each.name: [each.service] for each in layout.WORKLOADS if each.service
    }
