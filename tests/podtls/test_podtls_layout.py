"""What `podtls check` expects is what manifests/ installs."""

from collections.abc import Iterable
from typing import Any

import pytest

from podtls.check.rbac import grants
from podtls.check.webhooks import expected_entries, expected_warnings
from podtls.kubernetes import installation
from podtls.kubernetes.reader import Access
from tests.fakes import FakeApiServer
from tests.podtls.cluster_world import ENFORCE, manifests

Expected = dict[str, tuple[str, list[dict[str, Any]]]]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        pytest.param("MutatingWebhookConfiguration", expected_entries(), id="inject"),
        pytest.param("ValidatingWebhookConfiguration", expected_warnings(), id="warn"),
    ],
)
def test_expected_entries_are_those_of_the_shipped_configuration(kind: str, expected: Expected) -> None:
    (shipped,) = [each for each in manifests() if each["kind"] == kind]

    entries = {
        entry["name"]: (entry["clientConfig"]["service"]["path"], entry["namespaceSelector"]["matchExpressions"])
        for entry in shipped["webhooks"]
    }

    assert entries == expected


def test_expected_grants_are_those_of_the_shipped_roles() -> None:
    shipped = {
        (each["kind"], each["metadata"]["name"]): grants(each["rules"])
        for each in manifests()
        if each["kind"] in {"Role", "ClusterRole"}
    }

    assert {role: _shown(each) for role, each in shipped.items()} == {
        role: _shown(each) for role, each in installation.GRANTS.items()
    }


def _shown(granted: Iterable[Access]) -> list[str]:
    """As a person reads them where they differ."""
    return sorted(map(str, granted))


def test_objects_of_enforcement_are_those_of_the_shipped_component() -> None:
    shipped = manifests(ENFORCE)

    assert {(each["kind"], each["metadata"]["name"]) for each in shipped} == installation.ENFORCEMENT.keys()


def test_every_object_that_is_looked_for_is_installed_and_no_account_or_role_is_forgotten() -> None:
    kinds = ("ServiceAccount", "ClusterRole", "Role", "ClusterRoleBinding", "RoleBinding", "StatefulSet", "Deployment")
    shipped = {
        FakeApiServer.path(each["kind"], each["metadata"], each["apiVersion"])
        for each in manifests()
        if each["kind"] in kinds
    }

    expected = {*installation.ACCOUNTS.values(), *installation.ROLES.values(), *installation.BINDINGS.values()}

    assert shipped == expected | {workload.path for workload in installation.WORKLOADS}


def test_the_ports_of_our_services_have_the_names_that_are_looked_for() -> None:
    shipped = {each["metadata"]["name"]: each["spec"]["ports"] for each in manifests() if each["kind"] == "Service"}

    assert {name: [port["name"] for port in ports] for name, ports in shipped.items()} == {
        each.name: [each.service] for each in installation.WORKLOADS if each.service
    }
