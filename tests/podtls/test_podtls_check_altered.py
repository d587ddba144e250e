"""check_cluster(): roles and the entries that warn, altered by somebody, are found with what is different."""

from collections.abc import Callable
from typing import Any

import pytest

from podtls.check.checks import check_cluster
from podtls.check.finding import CheckFinding
from tests.fakes import FakeApiServer
from tests.podtls.cluster_world import NOW, installed

Object = dict[str, Any]
WARNS = "ValidatingWebhookConfiguration"


def objections(server: FakeApiServer) -> list[CheckFinding]:
    return [finding for finding in check_cluster(server, lambda: NOW).findings if finding.level != "ok"]


def rules(server: FakeApiServer, kind: str, name: str) -> list[Object]:
    """The rules of a role of ours, to be changed in place."""
    (found,) = [
        each
        for key, each in server.objects.items()
        if each["kind"] == kind and key.endswith(f"/{kind.lower()}s/{name}")
    ]
    written: list[Object] = found["rules"]
    return written


def entry(server: FakeApiServer) -> Object:
    """An entry that warns, to be changed in place."""
    found: Object = server.find(WARNS, "podtls")["webhooks"][2]
    return found


ROLES = [
    pytest.param(
        lambda s: rules(s, "ClusterRole", "podtls-ca").clear(),
        *("problem", "ClusterRole podtls-ca does not grant what is shipped: create events, "),
        *("create tokenreviews.authentication.k8s.io, get pods, list services",),
        id="none",
    ),
    pytest.param(
        lambda s: rules(s, "ClusterRole", "podtls-controller")[0].update(
            resourceNames=["other", "podtls"], verbs=["get"]
        ),
        *("problem", "ClusterRole podtls-controller does not grant what is shipped: "),
        "patch mutatingwebhookconfigurations.admissionregistration.k8s.io/podtls, "
        "patch validatingwebhookconfigurations.admissionregistration.k8s.io/podtls",
        id="less",
    ),
    pytest.param(
        lambda s: rules(s, "ClusterRole", "podtls-ca")[2].update(resourceNames=["web"]),
        *("problem", "ClusterRole podtls-ca does not grant what is shipped: ", "list services"),
        id="only by name",
    ),
    pytest.param(
        lambda s: rules(s, "ClusterRole", "podtls-ca").append(
            {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "list"]}
        ),
        *("warning", "ClusterRole podtls-ca grants more than shipped: ", "get secrets, list secrets"),
        id="more",
    ),
    pytest.param(
        lambda s: rules(s, "ClusterRole", "podtls-ca").append({"nonResourceURLs": ["/metrics"], "verbs": ["get"]}),
        *("warning", "ClusterRole podtls-ca grants more than shipped: ", "get URL/metrics"),
        id="URL",
    ),
    pytest.param(
        lambda s: rules(s, "Role", "podtls-controller").append(
            {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]},
        ),
        *("warning", "Role podtls-controller grants more than shipped: ", "* *.*"),
        id="everything",
    ),
]


@pytest.mark.parametrize(("change", "level", "what", "listed"), ROLES)
def test_role_that_grants_other_things_than_shipped_is_found(
    change: Callable[[FakeApiServer], object], level: str, what: str, listed: str
) -> None:
    server = installed()
    change(server)

    (found, *more) = [finding for finding in objections(server) if finding.check == "rbac"]

    assert (found.level, found.what) == (level, what + listed)
    assert found.do == "find out who changed it, then: kubectl apply -k manifests/overlays/default"
    assert {each.level for each in more} <= {"warning"}


def test_wildcard_that_covers_what_is_shipped_lacks_nothing() -> None:
    server = installed()
    rules(server, "ClusterRole", "podtls-ca")[:] = [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]

    (found,) = objections(server)

    assert (found.level, found.what) == ("warning", "ClusterRole podtls-ca grants more than shipped: * *.*")


@pytest.mark.parametrize(
    ("change", "level", "what"),
    [
        pytest.param(
            lambda e: e.update(failurePolicy="Fail"),
            *("problem", "failurePolicy is Fail, shipped is Ignore: workloads may be refused"),
            id="fails closed",
        ),
        pytest.param(
            lambda e: e["clientConfig"]["service"].update(name="other"),
            *("problem", 'clientConfig.service is {"namespace": "podtls-system", "name": "other", '),
            id="other service",
        ),
        pytest.param(
            lambda e: e["clientConfig"]["service"].update(port=8443), "problem", "clientConfig.service is", id="port"
        ),
        pytest.param(
            lambda e: e["rules"].pop(), "warning", 'rules is [{"operations": ["CREATE", "UPDATE"]', id="rules"
        ),
        pytest.param(
            lambda e: e.update(timeoutSeconds=30), "warning", "timeoutSeconds is 30, shipped is 2", id="timeout"
        ),
        pytest.param(
            lambda e: e["namespaceSelector"].update(matchLabels={"a": "b"}),
            *("warning", "namespaceSelector is not the one shipped: some are not warned, or twice"),
            id="selector",
        ),
        pytest.param(
            lambda e: e.pop("namespaceSelector"), "warning", "namespaceSelector is not the one", id="no selector"
        ),
    ],
)
def test_entry_that_warns_and_is_altered_is_found(change: Callable[[Object], object], level: str, what: str) -> None:
    server = installed()
    change(entry(server))

    (found,) = objections(server)

    assert found.level == level
    assert found.what.startswith(f"entry tls-port.warn.podtls.io: {what}")
    assert found.do.startswith("find out who changed it")


def test_entry_that_warns_and_is_missing_or_not_ours_is_a_warning() -> None:
    server = installed()
    entry(server)["name"] = "spy.example.test"

    found = objections(server)

    assert [(each.level, each.what) for each in found] == [
        ("warning", "entry tls-port.warn.podtls.io is missing: nobody is warned in its namespaces"),
        ("warning", f"{WARNS} podtls has entries that podtls does not ship: spy.example.test"),
    ]


def test_namespaces_that_an_admin_excludes_from_warnings_are_his_choice() -> None:
    server = installed()
    entry(server)["namespaceSelector"]["matchExpressions"][-1]["values"].append("payments")

    assert objections(server) == []
