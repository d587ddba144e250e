"""check_cluster(): a working installation is fine; all that can be wrong with one is found, with what to do."""

import base64
from collections.abc import Callable
from typing import Any

import pytest

from contract.names import PATH_CACERTS
from podtls.check.checks import check_cluster
from podtls.check.finding import CheckFinding, CheckReport
from podtls.errors import CredentialsError, ForbiddenError, UnreachableError
from podtls.kubernetes import installation
from podtls.kubernetes.reader import Access, ApiResponse
from podtls.manifests.shipped import excluded_namespaces
from tests.fakes import FakeApiServer
from tests.podtls.cluster_world import (
    NOW,
    bare,
    bundle_of,
    endpoint_slice,
    enrolled_namespace,
    installed,
    later,
    namespace,
    new_authority,
    publish,
)

Change = Callable[[FakeApiServer], object]


def checked(server: FakeApiServer) -> CheckReport:
    return check_cluster(server, lambda: NOW)


def objections(server: FakeApiServer) -> list[CheckFinding]:
    return [finding for finding in checked(server).findings if finding.level != "ok"]


def entry(server: FakeApiServer, name: str = "tls-port.podtls.io") -> dict[str, Any]:
    found: list[dict[str, Any]] = server.find("MutatingWebhookConfiguration", "podtls")["webhooks"]
    return next(each for each in found if each["name"] == name)


def exclude(server: FakeApiServer, *names: str) -> None:
    entry(server)["namespaceSelector"]["matchExpressions"][-1]["values"] = list(names)


def drop_entry(server: FakeApiServer) -> None:
    found = server.find("MutatingWebhookConfiguration", "podtls")
    found["webhooks"] = [each for each in found["webhooks"] if each["name"] != "mtls-port.podtls.io"]


def foreign_ca_bundle(server: FakeApiServer) -> None:
    encoded = base64.b64encode(bundle_of(new_authority()).encode()).decode()
    entry(server)["clientConfig"]["caBundle"] = encoded


def no_ca_bundle_at_all(server: FakeApiServer) -> None:
    for each in server.find("MutatingWebhookConfiguration", "podtls")["webhooks"]:
        del each["clientConfig"]["caBundle"]


def other_issuer(server: FakeApiServer) -> None:
    path = installation.CA.proxied(PATH_CACERTS)
    before = server.proxied[path]
    publish(server, new_authority())
    server.proxied[path] = before


DAMAGES = [
    pytest.param(
        lambda s: setattr(s, "version", "v1.32.9"), "problem", "is v1.32.9, podtls needs v1.33", "upgrade", id="old"
    ),
    pytest.param(lambda s: setattr(s, "version", "gke"), "warning", "its version is 'gke'", "make sure", id="strange"),
    pytest.param(lambda s: setattr(s, "date", ""), "warning", "does not say what time", "by hand", id="no date"),
    pytest.param(lambda s: setattr(s, "date", "x"), "warning", "does not say what time", "by hand", id="bad date"),
    pytest.param(
        lambda s: s.remove("MutatingWebhookConfiguration", "podtls"),
        *("problem", "MutatingWebhookConfiguration podtls is missing", "kubectl apply -k"),
        id="no webhook",
    ),
    pytest.param(
        lambda s: s.remove("ValidatingWebhookConfiguration", "podtls"),
        *("warning", "ValidatingWebhookConfiguration podtls is missing", "kubectl apply -k"),
        id="no warnings",
    ),
    pytest.param(drop_entry, "problem", "entry mtls-port.podtls.io is missing", "kubectl apply -k", id="no entry"),
    pytest.param(
        lambda s: entry(s).update(failurePolicy="Ignore"),
        *("problem", "tls-port.podtls.io: failurePolicy is Ignore, shipped is Fail", "find out who"),
        id="fails open",
    ),
    pytest.param(
        lambda s: entry(s).update(objectSelector={"matchLabels": {"a": "b"}}),
        *("problem", "tls-port.podtls.io: objectSelector is", "find out who"),
        id="object selector",
    ),
    pytest.param(
        lambda s: entry(s).update(matchConditions=[{"name": "x", "expression": "false"}]),
        *("problem", "tls-port.podtls.io: matchConditions is", "find out who"),
        id="match conditions",
    ),
    pytest.param(
        lambda s: entry(s)["clientConfig"]["service"].update(path="/mutate/mtls/port"),
        *("problem", "tls-port.podtls.io: clientConfig.service is", "find out who"),
        id="path",
    ),
    pytest.param(
        lambda s: entry(s)["clientConfig"]["service"].update(port=46169),
        *("problem", 'tls-port.podtls.io: clientConfig.service is {"namespace": "podtls-system"', "find out who"),
        id="port",
    ),
    pytest.param(
        lambda s: entry(s).update(rules=[]), "problem", "tls-port.podtls.io: rules is []", "find out", id="rules"
    ),
    pytest.param(
        lambda s: entry(s).update(timeoutSeconds=30),
        *("warning", "timeoutSeconds is 30, shipped is 5", "find out who"),
        id="timeout",
    ),
    pytest.param(
        lambda s: entry(s)["namespaceSelector"]["matchExpressions"].pop(0),
        *("problem", "tls-port.podtls.io: namespaceSelector is not the one shipped", "find out who"),
        id="selector",
    ),
    pytest.param(
        lambda s: exclude(s, *excluded_namespaces(), "payments"),
        *("warning", "tls-port.podtls.io excludes more namespaces than shipped: payments", "see that nobody"),
        id="more excluded",
    ),
    pytest.param(
        lambda s: exclude(s, "kube-system"),
        *("problem", "does not exclude kube-node-lease, kube-public, podtls-system", "find out who"),
        id="less excluded",
    ),
    pytest.param(
        lambda s: s.find("MutatingWebhookConfiguration", "podtls")["webhooks"].append(
            {**entry(s), "name": "spy.example.test", "namespaceSelector": {"matchLabels": {"a": "b"}}}
        ),
        *("warning", "entries that podtls does not ship: spy.example.test", "find out who"),
        id="stranger",
    ),
    pytest.param(
        lambda s: s.remove("ConfigMap", "podtls-bundle"),
        *("problem", "ConfigMap podtls-bundle is missing", "logs deployment/podtls-controller"),
        id="no bundle",
    ),
    pytest.param(
        lambda s: s.find("ConfigMap", "podtls-bundle").update(data={"ca.crt": "no PEM"}),
        *("problem", "ConfigMap podtls-bundle holds no certificates", "logs deployment/podtls-controller"),
        id="bad bundle",
    ),
    pytest.param(
        lambda s: entry(s)["clientConfig"].pop("caBundle"),
        *("problem", "MutatingWebhookConfiguration: caBundle is missing in tls-port.podtls.io", "GitOps"),
        id="no caBundle",
    ),
    pytest.param(
        no_ca_bundle_at_all,
        *("problem", "MutatingWebhookConfiguration: caBundle is missing in all entries", "GitOps"),
        id="no caBundle at all",
    ),
    pytest.param(
        foreign_ca_bundle,
        *("problem", "caBundle is not the trust bundle in tls-port.podtls.io", "GitOps"),
        id="other caBundle",
    ),
    pytest.param(
        lambda s: entry(s)["clientConfig"].update(caBundle="bm8gUEVN"),
        *("problem", "caBundle is not the trust bundle in tls-port.podtls.io", "GitOps"),
        id="bad caBundle",
    ),
    pytest.param(
        lambda s: s.find("StatefulSet", "podtls-ca").pop("status"),
        *("problem", "StatefulSet podtls-ca: 0 of 2 ready: no enrolled pod can start", "describe statefulset"),
        id="no CA",
    ),
    pytest.param(
        lambda s: s.find("Deployment", "podtls-controller")["status"].update(readyReplicas=1),
        *("warning", "Deployment podtls-controller: 1 of 2 ready", "describe deployment"),
        id="half",
    ),
    pytest.param(
        lambda s: s.remove("StatefulSet", "podtls-webhook"),
        *("problem", "StatefulSet podtls-webhook is missing", "kubectl apply -k"),
        id="no workload",
    ),
    pytest.param(
        lambda s: s.add(endpoint_slice("podtls-webhook", ready=False)),
        *("problem", "Service podtls-webhook has no ready endpoint: no pod can be created", "get endpointslices"),
        id="no endpoints",
    ),
    pytest.param(
        lambda s: s.add(endpoint_slice("podtls-ca", port="http")),
        *("problem", "Service podtls-ca has no ready endpoint", "get endpointslices"),
        id="other port",
    ),
    pytest.param(
        lambda s: s.remove("ServiceAccount", "podtls-ca"),
        *("problem", "ServiceAccount podtls-ca is missing", "kubectl apply -k"),
        id="no account",
    ),
    pytest.param(
        lambda s: s.remove("RoleBinding", "podtls-controller"),
        *("problem", "RoleBinding podtls-controller is missing", "kubectl apply -k"),
        id="no binding",
    ),
    pytest.param(
        lambda s: s.find("ClusterRoleBinding", "podtls-ca")["roleRef"].update(name="view"),
        *("problem", "ClusterRoleBinding podtls-ca does not give ServiceAccount podtls-ca its role", "delete"),
        id="other role",
    ),
    pytest.param(
        lambda s: s.find("RoleBinding", "podtls-controller")["subjects"].append({"kind": "User", "name": "eve"}),
        *("warning", "RoleBinding podtls-controller gives its role to others, too: 2 subjects", "remove"),
        id="guest",
    ),
    pytest.param(
        lambda s: s.proxied.pop(installation.WEBHOOK.proxied("/readyz")),
        *("problem", "podtls-webhook cannot be reached through the API server: 503 no endpoints", "logs"),
        id="webhook silent",
    ),
    pytest.param(
        lambda s: s.proxied.update({installation.CA.proxied("/readyz"): UnreachableError("read timed out")}),
        *("problem", "podtls-ca cannot be reached through the API server: 504 read timed out", "logs"),
        id="CA hangs",
    ),
    pytest.param(
        lambda s: s.proxied.update({installation.CA.proxied("/readyz"): ApiResponse(503, b"podtls: log is full\n")}),
        *("problem", "podtls-ca cannot be reached through the API server: 503 podtls: log is full", "logs"),
        id="CA not ready",
    ),
    pytest.param(
        lambda s: s.proxied.update({installation.CA.proxied(PATH_CACERTS): ApiResponse(200, b"?")}),
        *("problem", "the CA serves /cacerts without its issuing CA", "logs statefulset/podtls-ca"),
        id="no issuing",
    ),
    pytest.param(
        other_issuer,
        *("problem", "the CA signs under another root than the trust bundle has", "rollout restart"),
        id="other issuer",
    ),
]


def test_working_installation_is_ok_in_every_part() -> None:
    report = checked(installed())

    assert [finding for finding in report.findings if finding.level != "ok"] == []
    assert {finding.check for finding in report.findings} == {
        *("version", "clock", "access", "rbac", "webhook", "trust"),
        *("certificates", "workloads", "endpoints", "ca", "namespaces"),
    }
    assert "caBundle of every entry is the trust bundle" in {finding.what for finding in report.findings}
    assert report.installed


def test_cluster_without_podtls_says_what_to_type_and_is_no_problem() -> None:
    report = checked(bare())

    (found,) = [finding for finding in report.findings if finding.level != "ok"]
    assert not report.installed
    assert (found.level, found.what) == ("warning", "not installed")
    assert found.do == "kubectl apply -k manifests/overlays/default"


@pytest.mark.parametrize("traces", [[], ["podtls-system"]], ids=["not installed", "half removed"])
def test_caller_who_may_list_namespaces_but_not_get_one_is_told_whether_podtls_is_there(traces: list[str]) -> None:
    server = bare()
    server.denied = {Access("get", "namespaces")}
    server.add(*map(namespace, traces))

    report = checked(server)

    assert report.installed == bool(traces)
    assert not [finding for finding in report.findings if finding.check == "access" and finding.level != "ok"]


def test_labelled_namespace_is_a_problem_where_podtls_is_not_installed() -> None:
    server = bare()
    server.add(enrolled_namespace())

    (_, found) = objections(server)

    assert found.level == "problem"
    assert found.what == "shop: is labelled, but podtls is not installed: its pods are created without TLS"


@pytest.mark.parametrize(("change", "level", "what", "do"), DAMAGES)
def test_what_is_wrong_is_found_with_what_to_do(change: Change, level: str, what: str, do: str) -> None:
    server = installed()
    change(server)

    (found,) = [finding for finding in objections(server) if what in finding.what]

    assert found.level == level
    assert do in found.do


def test_caller_who_may_not_look_is_told_what_was_not_checked() -> None:
    server = installed()
    server.denied = {
        Access("list", "namespaces"),
        Access("get", "configmaps"),
        Access("get", "statefulsets", "apps"),
        Access("list", "endpointslices", "discovery.k8s.io"),
        Access("get", "clusterroles", "rbac.authorization.k8s.io"),
        Access("get", "mutatingwebhookconfigurations", "admissionregistration.k8s.io"),
        Access("get", "services/proxy"),
    }

    report = checked(server)

    assert report.installed
    assert [(finding.level, finding.what) for finding in report.findings if finding.check == "access"] == [
        ("problem", f"you may not {each}: not checked")
        for each in (
            "get clusterroles.rbac.authorization.k8s.io",
            "get configmaps/podtls-bundle -n podtls-system",
            "get mutatingwebhookconfigurations.admissionregistration.k8s.io/podtls",
            "get services/https:podtls-ca:https --subresource=proxy -n podtls-system",
            "get services/https:podtls-webhook:https --subresource=proxy -n podtls-system",
            "get statefulsets.apps -n podtls-system",
            "list endpointslices.discovery.k8s.io -n podtls-system",
            "list namespaces",
        )
    ]
    assert {finding.check for finding in report.findings} == {"version", "clock", "access"}


def test_webhook_configuration_that_may_not_be_read_leaves_the_bundle_checked() -> None:
    server = installed()
    server.denied = {Access("get", "mutatingwebhookconfigurations", "admissionregistration.k8s.io")}

    report = checked(server)

    assert [finding.what for finding in report.findings if finding.check == "trust"] == [
        "the trust bundle has 1 root(s)"
    ]


def test_bundle_that_may_not_be_read_leaves_the_reach_of_the_ca_checked() -> None:
    server = installed()
    server.denied = {Access("get", "configmaps")}

    report = checked(server)

    assert [finding.what for finding in report.findings if finding.check == "ca"] == [
        "podtls-ca answers through the API server, and is ready"
    ]
    assert any("issuing CA" in finding.what for finding in report.findings if finding.check == "certificates")


@pytest.mark.parametrize(
    ("days", "objected"),
    [
        pytest.param(0, [], id="fresh"),
        pytest.param(340, [("warning", "issuing")], id="issuing late"),
        pytest.param(366, [("problem", "issuing")], id="issuing ended"),
        pytest.param(3300, [("warning", "root"), ("problem", "issuing")], id="root late"),
        pytest.param(3651, [("problem", "root"), ("problem", "issuing")], id="root ended"),
        pytest.param(-1, [("problem", "root"), ("problem", "issuing")], id="not yet"),
    ],
)
def test_dates_are_judged_by_the_clock_of_the_api_server(days: int, objected: list[tuple[str, str]]) -> None:
    server = installed()
    server.date = later(days).strftime("%a, %d %b %Y %H:%M:%S GMT")

    found = [finding for finding in objections(server) if finding.check == "certificates"]

    assert [(finding.level, finding.what.split()[0]) for finding in found] == objected


@pytest.mark.parametrize(
    ("seconds", "level"),
    [(0, "ok"), (10, "ok"), (11, "warning"), (60, "warning"), (61, "problem"), (-61, "problem")],
)
def test_clocks_that_are_apart_are_a_warning_and_then_a_problem(seconds: int, level: str) -> None:
    server = installed()

    report = check_cluster(server, lambda: NOW.fromtimestamp(NOW.timestamp() + seconds, NOW.tzinfo))

    (found,) = [finding for finding in report.findings if finding.check == "clock"]
    assert found.level == level


@pytest.mark.parametrize(
    ("status", "error"),
    [(401, CredentialsError), (403, ForbiddenError), (500, UnreachableError)],
)
def test_api_server_that_does_not_let_anybody_ask_ends_the_check(status: int, error: type[Exception]) -> None:
    server = installed()
    server.status = status

    with pytest.raises(error, match="as the test wants it"):
        checked(server)


def test_nothing_is_read_that_holds_a_secret() -> None:
    server = installed()

    checked(server)

    assert not [path for path in server.asked if "secret" in path]
