"""Events of refusals: what `kubectl describe pod` will show, once for each pod and reason, behind answer and record."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from flask.testing import FlaskClient

from audit.log import EvidenceLog, read
from audit.record import CertificateRecord
from ca.api import events, kube
from ca.errors import Caller, RefusedError, UnavailableError
from contract.names import AUDIENCE, PATH_ENROLL, PATH_NAMES
from lab.sandbox.apiserver.standalone import StandaloneServer
from tests.ca.world import NOW, UID, pod_object
from tests.fakes import FakeCluster

CALLER = Caller("shop", "payments", "payments-1", UID, "node-1", "JTI=1")
GONE = RefusedError("pod shop/payments-1 is gone", CALLER)


def refuse(client: FlaskClient, headers: dict[str, str], body: bytes) -> tuple[int, str]:
    """Ask for a certificate, read the answer, and close it as the server does when it is sent."""
    answer = client.post(PATH_ENROLL, headers=headers, data=body)
    told = answer.text
    answer.close()
    return answer.status_code, told


def test_event_of_a_refusal_describes_the_tokens_pod() -> None:
    event = events.build_refusal_event(GONE, NOW)

    name = event["metadata"].pop("name")
    assert name.startswith(f"podtls-{UID}-")
    assert event == {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"namespace": "shop"},
        "involvedObject": {"apiVersion": "v1", "kind": "Pod", "namespace": "shop", "name": "payments-1", "uid": UID},
        "type": "Warning",
        "reason": "PodTLSEnrollmentRefused",
        "message": "pod shop/payments-1 is gone",
        "source": {"component": "podtls-ca"},
        "firstTimestamp": "2030-05-01T12:00:00Z",
        "lastTimestamp": "2030-05-01T12:00:00Z",
        "count": 1,
    }


@pytest.mark.parametrize(
    ("other", "same"),
    [
        pytest.param(RefusedError("pod shop/payments-1 is gone", CALLER), True, id="the same again"),
        pytest.param(RefusedError("pod shop/payments-1 is terminating", CALLER), False, id="another reason"),
        pytest.param(
            RefusedError(str(GONE), Caller("shop", "payments", "payments-1", "another")), False, id="another pod"
        ),
    ],
)
def test_event_has_a_name_of_its_own_for_each_pod_and_reason(other: RefusedError, same: bool) -> None:
    names = [events.build_refusal_event(error, NOW)["metadata"]["name"] for error in (GONE, other)]

    assert (names[0] == names[1]) == same


def test_message_ends_where_the_api_server_would_refuse_it() -> None:
    event = events.build_refusal_event(RefusedError("x" * 5000, CALLER), NOW)

    assert event["message"] == "x" * 1024


def test_refused_pod_has_one_event_with_the_reason_of_answer_and_record(
    client: FlaskClient, headers: dict[str, str], body: bytes, cluster: FakeCluster, log: EvidenceLog
) -> None:
    cluster.pods["shop", "payments-1"] = pod_object(metadata__labels={})

    answers = [refuse(client, headers, body) for _ in range(3)]

    (event,) = cluster.events.values()
    reasons = {record.reason for record in read(log.path) if isinstance(record, CertificateRecord)}
    assert reasons == {event["message"]}
    assert answers == [(403, f"podtls: {event['message']}\n")] * 3
    assert cluster.asked.count("event") == 3


def test_event_is_posted_when_answer_and_record_are_done(
    client: FlaskClient, headers: dict[str, str], body: bytes, cluster: FakeCluster, log: EvidenceLog
) -> None:
    cluster.pods.clear()

    with client.post(PATH_ENROLL, headers=headers, data=body) as answer:
        before = (answer.status_code, len(list(read(log.path))), len(cluster.events))

    assert before == (403, 1, 0)
    assert len(cluster.events) == 1


def test_event_that_cannot_be_posted_is_logged_and_changes_nothing(
    client: FlaskClient,
    headers: dict[str, str],
    body: bytes,
    cluster: FakeCluster,
    log: EvidenceLog,
    caplog: pytest.LogCaptureFixture,
) -> None:
    cluster.pods.clear()

    with client.post(PATH_ENROLL, headers=headers, data=body) as answer:
        cluster.down = UnavailableError("the API server answers 403 to an Event")

    (said,) = [orjson.loads(record.getMessage()) for record in caplog.records if record.name == "ca.api.events"]
    assert (answer.status_code, len(list(read(log.path)))) == (403, 1)
    assert said["lost"] == "the API server answers 403 to an Event"
    assert said["event"].startswith(f"podtls-{UID}-")


def test_refusal_that_could_not_be_recorded_has_no_event(
    client_with_log: Callable[[EvidenceLog], FlaskClient], headers: dict[str, str], body: bytes, cluster: FakeCluster
) -> None:
    cluster.pods.clear()

    status, said = refuse(client_with_log(EvidenceLog(Path("/dev/full"))), headers, body)

    assert (status, "No space left on device" in said) == (503, True)
    assert cluster.events == {}


def test_pod_that_waits_for_its_address_has_no_event(
    client: FlaskClient, headers: dict[str, str], body: bytes, cluster: FakeCluster
) -> None:
    cluster.pods["shop", "payments-1"] = pod_object(
        metadata__creationTimestamp="2030-05-01T11:59:59Z", status__podIPs=None
    )

    assert refuse(client, headers, body)[0] == 202
    assert cluster.events == {}


def test_question_for_names_that_is_refused_has_no_event(
    client: FlaskClient, headers: dict[str, str], cluster: FakeCluster
) -> None:
    cluster.pods.clear()

    with client.get(PATH_NAMES, headers=headers) as answer:
        assert answer.status_code == 403

    assert cluster.events == {}


@pytest.mark.parametrize(
    "extra",
    [
        pytest.param({}, id="bound to nothing"),
        pytest.param({"authentication.kubernetes.io/pod-name": ["payments-1"]}, id="no uid"),
    ],
)
def test_token_that_is_bound_to_no_pod_has_no_event(
    extra: dict[str, Any], client: FlaskClient, headers: dict[str, str], body: bytes, cluster: FakeCluster
) -> None:
    user = {"username": "system:serviceaccount:shop:payments", "extra": extra}
    token = cluster.issue_token(user, AUDIENCE)

    status, said = refuse(client, {**headers, "Authorization": f"Bearer {token}"}, body)

    assert (status, "the token is not bound to a pod" in said) == (403, True)
    assert cluster.events == {}


# --- over HTTPS ------------------------------------------------------------------------------------------------------


def test_event_goes_over_the_kept_connection_and_its_repeat_is_no_failure(
    api: kube.KubernetesAPI, server: StandaloneServer, caplog: pytest.LogCaptureFixture
) -> None:
    api.pod("shop", "payments-1")

    for _ in range(2):
        events.report_refusal(api, GONE, NOW)

    (stored,) = server.api.store.list("Event", "shop")
    posted = events.build_refusal_event(GONE, NOW)
    assert {**stored, "metadata": {key: stored["metadata"][key] for key in posted["metadata"]}} == posted
    assert server.listener.asked()[1:] == [("POST", "/api/v1/namespaces/shop/events")] * 2
    assert server.listener.connections == 1
    assert [record for record in caplog.records if record.name == "ca.api.events"] == []


@pytest.mark.parametrize("status", [403, 404, 422, 429, 500])
def test_answer_that_is_no_success_is_said_by_its_status(
    status: int, api: kube.KubernetesAPI, server: StandaloneServer
) -> None:
    server.listener.faults.status = status

    with pytest.raises(UnavailableError, match=f"^the API server answers {status} to an Event$"):
        api.create_event("shop", events.build_refusal_event(GONE, NOW))


def test_nobody_listening_is_only_logged(server: StandaloneServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, logger="ca.api.events")
    nowhere = kube.connect({"KUBECONFIG": str(server.write_kubeconfig("https://127.0.0.1:1"))})

    events.report_refusal(nowhere, GONE, NOW)

    assert "the API server does not answer" in caplog.text
