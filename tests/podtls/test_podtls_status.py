"""read_status(): enrolled pods with the names that the CA would certify and the bundle that they trust."""

from typing import Any

import pytest

from contract.names import INIT_CONTAINER, LIFETIME, STATUS
from podtls.errors import ForbiddenError, InputError
from podtls.kubernetes import installation
from podtls.kubernetes.reader import Access
from podtls.status.enrolled import EnrolledPod
from podtls.status.report import StatusReport, read_status
from tests.fakes import FakeApiServer
from tests.podtls.cluster_world import (
    RECORD,
    SINCE,
    bundle_of,
    enrolled_namespace,
    event,
    injected,
    installed,
    namespace,
    new_authority,
    pod,
    publish,
    service,
)


@pytest.fixture
def server() -> FakeApiServer:
    """A cluster with podtls and an enrolled namespace shop."""
    found = installed()
    found.add(enrolled_namespace())
    return found


def the_pod(found: StatusReport) -> EnrolledPod:
    (only,) = found.enrolled
    return only


def test_enrolled_pod_is_told_with_mode_ports_names_and_record(server: FakeApiServer) -> None:
    server.add(injected(pod()), service())

    found = read_status(server, "shop")

    assert the_pod(found) == EnrolledPod(
        namespace="shop",
        name="web",
        state="Running",
        mode="mtls",
        ports="8443=8080",
        identity="spiffe://cluster.local/ns/shop/sa/default",
        dns=("10-1-2-3.shop.pod.cluster.local", "web.shop.svc", "web.shop.svc.cluster.local"),
        since=SINCE,
        lifetime="24h",
        record=RECORD,
        trust="current",
        do="",
    )
    assert (found.namespaces, found.notes, found.plain, found.failed, found.plaintext) == (("shop",), (), (), (), ())


def test_names_follow_the_services_as_they_are_and_the_zone_of_the_ca(server: FakeApiServer) -> None:
    raw = injected(pod())
    raw["spec"] |= {"hostname": "web-0", "subdomain": "peers", "serviceAccountName": "web"}
    for variable in server.find("StatefulSet", "podtls-ca")["spec"]["template"]["spec"]["containers"][0]["env"]:
        if variable["name"] == "PODTLS_ZONE":
            variable["value"] = "corp.example"
    server.add(raw, service("peers", clusterIP="None"), service("other", selector={"app": "other"}))

    found = the_pod(read_status(server, "shop"))

    assert found.identity == "spiffe://cluster.local/ns/shop/sa/web"
    assert found.dns == (
        "10-1-2-3.shop.pod.corp.example",
        "peers.shop.svc",
        "peers.shop.svc.corp.example",
        "web-0.peers.shop.svc",
        "web-0.peers.shop.svc.corp.example",
    )


def test_pod_of_a_lost_root_is_to_be_recreated(server: FakeApiServer) -> None:
    server.add(injected(pod(), made=new_authority()))

    found = the_pod(read_status(server, None))

    assert (found.trust, found.do) == ("lost root", "to be recreated (lost root)")


def test_pod_that_trusts_one_of_two_roots_is_only_older(server: FakeApiServer) -> None:
    server.add(injected(pod()))
    server.find("ConfigMap", "podtls-bundle")["data"]["ca.crt"] += bundle_of(new_authority())

    assert the_pod(read_status(server, "shop")).trust == "older"


def test_pod_of_a_namespace_whose_label_is_gone_is_still_told_of(server: FakeApiServer) -> None:
    server.add(namespace("shop"), namespace("plain"), injected(pod()), injected(pod("own", namespace="podtls-system")))
    publish(server, new_authority())

    found = read_status(server, None)

    assert found.namespaces == ("shop",)
    assert the_pod(found).trust == "lost root"


def test_finished_pod_has_no_names_and_nothing_to_be_recreated_for(server: FakeApiServer) -> None:
    raw = injected(pod(), made=new_authority())
    raw["status"]["phase"] = "Succeeded"
    server.add(raw, service())

    found = the_pod(read_status(server, "shop"))

    assert (found.state, found.dns, found.trust, found.do) == ("Succeeded", (), "unknown", "")


def _terminated(code: int, message: str) -> dict[str, Any]:
    return {"terminated": {"exitCode": code, "message": message}}


@pytest.mark.parametrize(
    ("init", "state"),
    [
        pytest.param(None, "Pending", id="not yet"),
        pytest.param({"state": {"running": {}}}, "Pending", id="runs"),
        pytest.param({"state": _terminated(77, "refused:\n no")}, "podtls-init fails (77): refused: no", id="failed"),
        pytest.param(
            {"state": {"waiting": {}}, "lastState": _terminated(69, "CA unavailable")},
            "podtls-init fails (69): CA unavailable",
            id="waits for the next try",
        ),
    ],
)
def test_pod_without_a_certificate_says_so_and_why(
    server: FakeApiServer, init: dict[str, Any] | None, state: str
) -> None:
    raw = injected(pod())
    statuses = [{"name": INIT_CONTAINER, **init}] if init else []
    raw["status"] = {"phase": "Pending", "initContainerStatuses": statuses}
    server.add(raw)

    found = the_pod(read_status(server, "shop"))

    assert (found.state, found.since) == (state, "")


def test_terminating_pod_says_so(server: FakeApiServer) -> None:
    raw = injected(pod())
    raw["metadata"]["deletionTimestamp"] = SINCE
    server.add(raw)

    assert the_pod(read_status(server, "shop")).state == "Terminating"


@pytest.mark.parametrize(
    ("written", "shown"), [("1m", "1m"), ("90s", "90s"), ("7d", "168h"), ("8d", "24h"), ("soon", "24h")]
)
def test_lifetime_is_the_one_that_the_ca_grants(server: FakeApiServer, written: str, shown: str) -> None:
    raw = injected(pod())
    raw["metadata"]["annotations"][LIFETIME] = written
    server.add(raw)

    assert the_pod(read_status(server, "shop")).lifetime == shown


@pytest.mark.parametrize("written", ["", "{}", "[]", '{"record": 5}', '{"record": "x"}'])
def test_record_that_is_none_is_not_shown(server: FakeApiServer, written: str) -> None:
    raw = injected(pod())
    raw["metadata"]["annotations"][STATUS] = written
    server.add(raw)

    assert the_pod(read_status(server, "shop")).record == ""


def test_variables_that_somebody_took_away_leave_identity_and_trust_unknown(server: FakeApiServer) -> None:
    raw = injected(pod())
    del raw["spec"]["initContainers"][0]["env"]
    server.add(raw, service())

    found = the_pod(read_status(server, "shop"))

    assert (found.identity, found.dns, found.trust, found.mode, found.ports) == ("", (), "unknown", "", "")


def test_all_that_a_long_list_has_is_told(server: FakeApiServer) -> None:
    server.page = 2
    server.add(*(injected(pod(f"web-{number}")) for number in range(5)))

    found = read_status(server, None)

    assert [each.name for each in found.enrolled] == [f"web-{number}" for number in range(5)]


def test_what_may_not_be_read_is_noted_and_the_rest_is_told(server: FakeApiServer) -> None:
    server.denied = {
        Access("get", "namespaces"),
        Access("get", "configmaps"),
        Access("get", "statefulsets", "apps"),
        Access("get", "mutatingwebhookconfigurations", "admissionregistration.k8s.io"),
        Access("list", "services"),
        Access("list", "events"),
    }
    server.add(injected(pod()), pod("plain"), event())

    found = read_status(server, "shop")

    assert the_pod(found).trust == "unknown"
    assert [each.reason for each in found.plain] == [
        "older than label or webhook, or not seen by it (you may not read which)"
    ]
    assert found.notes == (
        f"you may not read {installation.BUNDLE}: no bundle of a pod can be compared",
        f"you may not read {installation.MUTATING}: why a pod is not enrolled is not always known",
        f"you may not read {installation.CA.path}: names are computed for the zone cluster.local",
        "you may not read /api/v1/namespaces/shop: whether it is enrolled is not known",
        "you may not list /api/v1/namespaces/shop/services: names and plaintext ports are not known",
        "you may not list /api/v1/namespaces/shop/events: refused pods are not shown",
    )


@pytest.mark.parametrize(("resource", "namespace"), [("pods", "shop"), ("namespaces", None)])
def test_nothing_can_be_told_without_pods_or_namespaces(
    server: FakeApiServer, resource: str, namespace: str | None
) -> None:
    server.denied = {Access("list", resource)}

    with pytest.raises(ForbiddenError, match=f"you cannot list {resource}"):
        read_status(server, namespace)


def test_namespace_that_is_not_there_is_an_error(server: FakeApiServer) -> None:
    with pytest.raises(InputError, match="--namespace: there is no namespace 'shp'"):
        read_status(server, "shp")


@pytest.mark.parametrize("name", ["", "shop/pods", "..", "Shop"])
def test_namespace_that_no_namespace_can_be_is_never_asked_for(server: FakeApiServer, name: str) -> None:
    with pytest.raises(InputError, match="expected an RFC 1123 label"):
        read_status(server, name)

    assert not [path for path in server.asked if installation.NAMESPACE not in path and path != installation.MUTATING]


def test_cluster_without_podtls_is_noted() -> None:
    server = FakeApiServer()

    found = read_status(server, None)

    assert found.notes == ("podtls is not installed in this cluster, or not completely: podtls check",)


def test_json_has_every_part(server: FakeApiServer) -> None:
    server.add(injected(pod()), pod("plain"), event())

    values = read_status(server, "shop").to_json()

    assert list(values) == ["namespaces", "notes", "enrolled", "plain", "failed", "plaintext"]
    assert values["enrolled"][0]["trust"] == "current"
