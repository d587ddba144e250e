"""read_status(): why a pod is not enrolled, which pods nobody could create, and which Services bypass TLS."""

from typing import Any

import pytest

from contract.names import INJECT, INJECTED, MODE, STATUS
from podtls.status.report import read_status
from podtls.status.services import FailedCreate, PlaintextPort
from podtls.status.unenrolled import UnenrolledPod
from tests.fakes import FakeApiServer
from tests.podtls.cluster_world import SINCE, enrolled_namespace, event, injected, installed, namespace, pod, service

BEFORE_THE_WEBHOOK = "2025-12-31T23:59:59Z"
BEFORE_THE_LABEL = "2026-01-15T00:00:00Z"


@pytest.fixture
def server() -> FakeApiServer:
    """A cluster with podtls and an enrolled namespace shop."""
    found = installed()
    found.add(enrolled_namespace())
    return found


def why(server: FakeApiServer, raw: dict[str, Any]) -> UnenrolledPod:
    server.add(raw)
    (found,) = read_status(server, "shop").plain
    return found


def _with(raw: dict[str, Any], **spec: Any) -> dict[str, Any]:
    raw["spec"] |= spec
    return raw


@pytest.mark.parametrize(
    ("raw", "reason", "do"),
    [
        pytest.param(
            pod(labels={INJECT: "disabled"}),
            *("label podtls.io/inject=disabled opts out", ""),
            id="opted out",
        ),
        pytest.param(
            _with(pod(), hostNetwork=True),
            *("hostNetwork pods share the node's ports and addresses", ""),
            id="hostNetwork",
        ),
        pytest.param(_with(pod(), os={"name": "windows"}), "Windows pods are not supported", "", id="windows"),
        pytest.param(
            pod(annotations={"kubernetes.io/config.mirror": "x"}), "mirror pods cannot be changed", "", id="mirror"
        ),
        pytest.param(pod(created=BEFORE_THE_WEBHOOK), "older than the webhook configuration", "recreate it", id="old"),
        pytest.param(
            pod(created=BEFORE_THE_LABEL), "older than the namespace's label", "recreate it", id="before the label"
        ),
        pytest.param(
            pod(),
            "the webhook was bypassed",
            "recreate it, and see who created it in the API server's audit log",
            id="bypassed",
        ),
        pytest.param(
            pod(created=BEFORE_THE_LABEL, annotations={MODE: "plain"}),
            "older than the namespace's label",
            "recreate it; as it is, it will be refused: annotation podtls.io/mode: 'plain' is not allowed; "
            "allowed: mtls, tls, permissive",
            id="will be refused",
        ),
        pytest.param(
            pod(labels={INJECTED: "true"}),
            "has only part of what podtls adds: somebody changed it, and the CA refuses it",
            "recreate it",
            id="only the label",
        ),
        pytest.param(
            _with(pod(), containers=[{"name": 5}]),
            "podtls cannot parse this pod: not a Pod: Expected `str | null`, got `int` - "
            "at `$.spec.containers[0].name`",
            "please report it",
            id="no pod",
        ),
    ],
)
def test_pod_without_tls_says_why_and_what_to_do(
    server: FakeApiServer, raw: dict[str, Any], reason: str, do: str
) -> None:
    assert why(server, raw) == UnenrolledPod("shop", "web", reason, do)


NOT_OURS = "; its containers named podtls-... are not the webhook's"


def _without_status(raw: dict[str, Any]) -> dict[str, Any]:
    del raw["metadata"]["annotations"][STATUS]
    return raw


def _by_hand(**labels: str) -> dict[str, Any]:
    """A pod with our containers and our label, whoever wrote them."""
    raw = injected(pod())
    raw["metadata"]["labels"].update(labels)
    return raw


@pytest.mark.parametrize(
    ("raw", "reason", "do"),
    [
        pytest.param(
            _with(_by_hand(), hostNetwork=True),
            *("hostNetwork pods share the node's ports and addresses" + NOT_OURS,),
            "take them out of its manifest, and recreate it",
            id="hostNetwork",
        ),
        pytest.param(
            _with(_by_hand(), os={"name": "windows"}),
            *("Windows pods are not supported" + NOT_OURS, "take them out of its manifest, and recreate it"),
            id="windows",
        ),
        pytest.param(
            _by_hand(**{INJECT: "disabled"}),
            f"label podtls.io/inject=disabled opts out{NOT_OURS}, unless the label is newer",
            "remove the label, and recreate it",
            id="opted out",
        ),
        pytest.param(
            _without_status(_by_hand()),
            "has no annotation podtls.io/status: somebody removed it, or wrote the containers by hand",
            "recreate it, without containers named podtls-... in its manifest",
            id="no status",
        ),
        pytest.param(
            _with(_by_hand(), containers=[{"name": 5}]),
            "podtls cannot parse this pod: not a Pod: Expected `str | null`, got `int` - "
            "at `$.spec.containers[0].name`",
            "please report it",
            id="no pod",
        ),
    ],
)
def test_pod_with_containers_of_our_names_that_the_webhook_cannot_have_written_is_plain(
    server: FakeApiServer, raw: dict[str, Any], reason: str, do: str
) -> None:
    server.add(raw, service(ports=[_port(8080)]))

    found = read_status(server, "shop")

    assert found.plain == (UnenrolledPod("shop", "web", reason, do),)
    assert (found.enrolled, found.plaintext) == ((), ())


def test_pods_of_our_own_need_no_status_that_the_webhook_writes(server: FakeApiServer) -> None:
    server.add(namespace("podtls-system"), _without_status(injected(pod("own", namespace="podtls-system"))))

    assert [each.name for each in read_status(server, "podtls-system").enrolled] == ["own"]


def test_later_writes_to_the_namespace_that_leave_its_label_alone_do_not_count(server: FakeApiServer) -> None:
    fields: dict[str, Any] = {"f:metadata": {"f:annotations": {"f:owner": {}}}}
    written = server.find("Namespace", "shop")["metadata"]["managedFields"]
    written.append({"manager": "kubectl-annotate", "time": "2027-01-01T00:00:00Z", "fieldsV1": fields})

    assert why(server, pod()).reason == "the webhook was bypassed"


def test_pod_that_terminates_needs_nothing_any_more(server: FakeApiServer) -> None:
    raw = pod(created=BEFORE_THE_LABEL, deletionTimestamp=SINCE)

    assert why(server, raw) == UnenrolledPod("shop", "web", "older than the namespace's label; it is terminating", "")


def test_injected_pod_whose_label_somebody_removed_is_not_enrolled(server: FakeApiServer) -> None:
    raw = injected(pod())
    del raw["metadata"]["labels"][INJECTED]

    assert why(server, raw).reason.startswith("has only part of what podtls adds")


def test_pod_of_a_namespace_that_nobody_enrolled_says_how_to(server: FakeApiServer) -> None:
    server.add(namespace("shop", {INJECT: "disabled"}))

    found = why(server, pod())

    assert found.reason == "its namespace is not enrolled"
    assert found.do == "kubectl label namespace shop podtls.io/inject=enabled"


def test_namespace_that_does_not_say_when_it_was_labelled_counts_as_labelled_last(server: FakeApiServer) -> None:
    server.add(enrolled_namespace())
    del server.find("Namespace", "shop")["metadata"]["managedFields"]

    assert why(server, pod()).reason == "older than the namespace's label"


def test_pod_says_when_podtls_is_not_there_at_all(server: FakeApiServer) -> None:
    server.remove("MutatingWebhookConfiguration", "podtls")

    assert why(server, pod()).reason == "podtls is not installed"


def test_pod_says_when_no_entry_sees_its_namespace(server: FakeApiServer) -> None:
    server.find("MutatingWebhookConfiguration", "podtls")["webhooks"] = []

    assert why(server, pod()).reason == "no entry of the webhook configuration sees its namespace"


def test_finished_pod_needs_no_tls_any_more(server: FakeApiServer) -> None:
    raw = pod()
    raw["status"]["phase"] = "Failed"
    server.add(raw)

    assert read_status(server, "shop").plain == ()


def test_refused_pods_of_controllers_are_told_once_for_each_owner_with_the_last_reason(server: FakeApiServer) -> None:
    server.add(
        event(message="first", lastTimestamp="2026-03-01T00:00:00Z", count=3),
        event(message="last", lastTimestamp="2026-03-01T00:00:09Z"),
        event("Job/report", "quota", lastTimestamp=None, series={"count": 7, "lastObservedTime": SINCE}),
        event("Pod/web", "no controller"),
        event("ReplicaSet/fine", "started", reason="SuccessfulCreate"),
    )

    found = read_status(server, "shop").failed

    assert found == (
        FailedCreate("shop", "Job/report", 7, SINCE, "quota"),
        FailedCreate("shop", "ReplicaSet/web-5d8f", 4, "2026-03-01T00:00:09Z", "last"),
    )


def test_event_without_any_time_is_told_too(server: FakeApiServer) -> None:
    server.add(event(lastTimestamp=None, count=None))

    (found,) = read_status(server, "shop").failed

    assert (found.times, found.last) == (1, "")


def _port(target: int | str | None, **more: Any) -> dict[str, Any]:
    return {"port": 80, **({} if target is None else {"targetPort": target}), **more}


@pytest.mark.parametrize(
    ("port", "target", "do"),
    [
        pytest.param(_port(8080), "8080", "set targetPort: podtls", id="number"),
        pytest.param(_port(9090), "9090", "set targetPort: podtls-2", id="second"),
        pytest.param(_port("http"), "http", "set targetPort: podtls", id="name"),
        pytest.param(_port(None), "80", "it has no TLS port; list it in the pod's", id="port alone"),
        pytest.param(_port("admin"), "admin", "it has no TLS port; list it in the pod's", id="unknown name"),
    ],
)
def test_service_that_leads_to_a_plaintext_port_is_told_with_what_to_write(
    server: FakeApiServer, port: dict[str, Any], target: str, do: str
) -> None:
    raw = pod(ports=(8080, 9090))
    raw["spec"]["containers"][0]["ports"][0]["name"] = "http"
    server.add(injected(raw), service(ports=[port]))

    (found,) = read_status(server, "shop").plaintext

    assert (found.service, found.port, found.target) == ("web", 80, target)
    assert found.do.startswith(do)


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param({"ports": [_port("podtls"), _port("podtls-2"), _port(8443)]}, id="TLS ports"),
        pytest.param({"ports": [_port(8080, protocol="UDP")]}, id="UDP"),
        pytest.param({"ports": [_port(8080)], "selector": {"app": "other"}}, id="other pods"),
        pytest.param({"ports": [_port(8080)], "selector": None}, id="no selector"),
        pytest.param({"ports": [_port(8080)], "type": "ExternalName"}, id="ExternalName"),
        pytest.param({"ports": None}, id="no ports"),
    ],
)
def test_service_that_leads_to_no_plaintext_port_of_ours_is_not_told(
    server: FakeApiServer, spec: dict[str, Any]
) -> None:
    server.add(injected(pod(ports=(8080, 9090))), service(**spec))

    assert read_status(server, "shop").plaintext == ()


def test_only_pods_that_are_enrolled_and_run_make_a_service_plaintext(server: FakeApiServer) -> None:
    done = injected(pod("done"))
    done["status"]["phase"] = "Succeeded"
    server.add(done, pod("plain"), service(ports=[_port(8080)]))

    assert read_status(server, "shop").plaintext == ()


def test_one_of_several_pods_behind_a_service_is_enough(server: FakeApiServer) -> None:
    other = injected(pod("other", ports=(9000,)))
    other["spec"]["initContainers"][1]["ports"] = []
    server.add(injected(pod()), other, service(ports=[_port(8443)]))

    assert read_status(server, "shop").plaintext == (
        PlaintextPort("shop", "web", 80, "8443", "it has no TLS port; list it in the pod's annotation podtls.io/ports"),
    )


@pytest.mark.parametrize(
    ("target", "told"),
    [
        pytest.param("podtls-2", [], id="one pod has it"),
        pytest.param("podtls-3", ["no pod has a port of this name; they have podtls"], id="no pod has it"),
    ],
)
def test_name_of_ours_is_wrong_only_where_no_pod_has_it(server: FakeApiServer, target: str, told: list[str]) -> None:
    server.add(injected(pod("one")), injected(pod("two", ports=(8080, 9090))), service(ports=[_port(target)]))

    assert [each.do for each in read_status(server, "shop").plaintext] == told
