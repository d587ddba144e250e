"""check_cluster(): a namespace that is labelled for components/enforce is really enforced, and can have pods at all."""

from collections.abc import Callable
from typing import Any

import pytest

from contract import names
from contract.names import INJECT
from podtls.check.checks import check_cluster
from podtls.check.enforcement import KINDS
from podtls.check.finding import CheckFinding
from podtls.kubernetes.objects import object_path
from podtls.kubernetes.reader import Access
from podtls.manifests.shipped import ENFORCE, find_shipped
from tests.fakes import FakeApiServer
from tests.podtls.cluster_world import NOW, bare, enforce, enrolled_namespace, installed, namespace

ENFORCED = {names.ENFORCE: "true"}
POLICY, BINDING = (object_path(each) for each in find_shipped(KINDS, ENFORCE))


@pytest.fixture
def server() -> FakeApiServer:
    """A cluster with podtls, components/enforce, and a namespace that is enrolled and enforced."""
    found = installed()
    enforce(found)
    found.add(enrolled_namespace("shop", **ENFORCED))
    return found


def findings(server: FakeApiServer, check_name: str = "enforce") -> list[CheckFinding]:
    return [finding for finding in check_cluster(server, lambda: NOW).findings if finding.check == check_name]


def spec(server: FakeApiServer, path: str) -> dict[str, Any]:
    found: dict[str, Any] = server.objects[path]["spec"]
    return found


def test_enforced_namespaces_are_named_when_all_is_well(server: FakeApiServer) -> None:
    server.add(enrolled_namespace("bank", **ENFORCED), enrolled_namespace("free", **{names.ENFORCE: "false"}))

    (found,) = findings(server)

    assert (found.level, found.what) == ("ok", "enforced: bank, shop")


@pytest.mark.parametrize(
    ("removed", "what"),
    [
        pytest.param([POLICY], "ValidatingAdmissionPolicy podtls-enforce is missing: nothing is enforced", id="policy"),
        pytest.param(
            [BINDING], "ValidatingAdmissionPolicyBinding podtls-enforce is missing: nothing is enforced", id="binding"
        ),
        pytest.param(
            [POLICY, BINDING],
            "ValidatingAdmissionPolicy and ValidatingAdmissionPolicyBinding podtls-enforce is missing: "
            "nothing is enforced",
            id="all",
        ),
    ],
)
def test_label_without_what_it_asks_for_is_a_problem(server: FakeApiServer, removed: list[str], what: str) -> None:
    for path in removed:
        del server.objects[path]

    (found,) = findings(server)

    assert (found.level, found.what) == ("problem", f"shop: has podtls.io/enforce=true, but {what}")
    assert found.do == "see that your overlay has components/enforce, and apply it"


@pytest.mark.parametrize(
    ("path", "change", "what"),
    [
        pytest.param(
            *(POLICY, lambda s: s.update(failurePolicy="Ignore")),
            "failurePolicy of the policy is Ignore, shipped is Fail",
            id="fails open",
        ),
        pytest.param(
            *(BINDING, lambda s: s.update(validationActions=["Warn", "Audit"])),
            "the binding does not deny (Warn, Audit)",
            id="only warns",
        ),
        pytest.param(
            *(BINDING, lambda s: s.update(policyName="other")), "the binding is one of policy other", id="other policy"
        ),
        pytest.param(
            *(BINDING, lambda s: s["matchResources"]["namespaceSelector"].update(matchLabels={"a": "b"})),
            "the binding does not choose shop",
            id="other namespaces",
        ),
    ],
)
def test_policy_or_binding_that_somebody_weakened_is_a_problem(
    server: FakeApiServer, path: str, change: Callable[[dict[str, Any]], object], what: str
) -> None:
    change(spec(server, path))

    (found,) = findings(server)

    assert found.level == "problem"
    assert found.what == f"shop: has podtls.io/enforce=true, but {what}: not everything is enforced"


def test_binding_for_all_namespaces_enforces_ours_too(server: FakeApiServer) -> None:
    del spec(server, BINDING)["matchResources"]

    assert [found.level for found in findings(server)] == ["ok"]


@pytest.mark.parametrize("labels", [{}, {INJECT: "disabled"}], ids=["absent", "disabled"])
def test_enforced_namespace_that_nobody_enrolled_is_a_warning(server: FakeApiServer, labels: dict[str, str]) -> None:
    server.add(namespace("shop", {**ENFORCED, **labels}))

    (found, _) = findings(server)

    assert (found.level, found.do) == ("warning", "kubectl label namespace shop podtls.io/inject=enabled --overwrite")
    assert found.what == (
        "shop: has podtls.io/enforce=true, but is not enrolled: nobody injects its pods, and the policy refuses them"
    )


def test_enforced_namespace_that_is_never_enrolled_is_a_problem(server: FakeApiServer) -> None:
    server.add(namespace("podtls-system", ENFORCED))

    (found, _) = findings(server)

    assert (found.level, found.do) == ("problem", "kubectl label namespace podtls-system podtls.io/enforce-")
    assert found.what == "podtls-system: has podtls.io/enforce=true, but is never enrolled: no pod of it can be created"


def test_cluster_in_which_nobody_enforces_is_not_asked_for_policies() -> None:
    server = installed()
    server.denied = {Access("get", "validatingadmissionpolicies", "admissionregistration.k8s.io")}

    assert findings(server) == []
    assert [found.level for found in findings(server, "access")] == ["ok"]
    assert not {POLICY, BINDING} & set(server.asked)


@pytest.mark.parametrize("made", [installed, bare])
def test_policy_that_may_not_be_read_is_told_as_not_checked(made: Callable[[], FakeApiServer]) -> None:
    server = made()
    server.add(enrolled_namespace("shop", **ENFORCED))
    server.denied = {Access("get", "validatingadmissionpolicies", "admissionregistration.k8s.io")}

    (found,) = findings(server, "access")

    may_not = "you may not get validatingadmissionpolicies.admissionregistration.k8s.io/podtls-enforce: not checked"
    assert (found.level, found.what) == ("problem", may_not)
    assert findings(server) == []


def test_enforced_namespace_is_a_problem_where_podtls_is_not_installed() -> None:
    server = bare()
    server.add(enrolled_namespace("shop", **ENFORCED))

    (found,) = findings(server)

    assert found.level == "problem"
    assert found.what.endswith("podtls-enforce is missing: nothing is enforced")
