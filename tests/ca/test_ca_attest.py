"""Attesting: each condition with its own reason, and what an attested pod is."""

from collections.abc import Callable
from datetime import datetime, timedelta
from ipaddress import ip_address
from typing import Any

import pytest

from ca.api.attest import Claim, Rules, SourceAddress, attest_pod, parse_lifetime
from ca.errors import Caller, PendingError, RefusedError, UnauthenticatedError, UnavailableError
from contract.names import AUDIENCE, INJECTED, LIFETIME, STATUS
from tests.ca.world import ADDRESS, IDENTITY, NOW, RECORD_ID, TRUST_DOMAIN, UID, pod_object, user_of
from tests.fakes import FakeCluster

RULES = Rules(TRUST_DOMAIN, SourceAddress.REQUIRE)
RECORD = Rules(TRUST_DOMAIN, SourceAddress.RECORD)
EXTRA = "authentication.kubernetes.io/"
CALLER = Caller("shop", "payments", "payments-1", UID, "node-1", "JTI=b5a2f1e0-1111-2222-3333-444455556666")

Change = Callable[[dict[str, Any]], None]


def test_running_injected_pod_is_attested(cluster: FakeCluster, token: str) -> None:
    pod = attest_pod(Claim(f"Bearer {token}", ADDRESS), cluster, RULES, NOW)

    assert pod.facts.identity == IDENTITY
    assert pod.caller == CALLER
    assert pod.facts.labels["app"] == "payments"
    assert pod.facts.addresses == (ip_address(ADDRESS), ip_address("fd00::3"))
    assert pod.lifetime == timedelta(hours=24)
    assert pod.patch_record == RECORD_ID
    assert (pod.facts.hostname, pod.facts.subdomain) == ("", "")
    assert cluster.asked == ["review", "pod"]


@pytest.mark.parametrize(
    ("authorization", "reason"),
    [
        pytest.param("", "no bearer token", id="nothing"),
        pytest.param("Basic cm9vdDpyb290", "not Bearer", id="Basic"),
        pytest.param("Bearer", "not Bearer", id="no token"),
        pytest.param("Bearer a b", "not Bearer", id="two tokens"),
        pytest.param("Bearer \u00e4", "not Bearer", id="foreign letter"),
    ],
)
def test_request_without_a_bearer_token_asks_nobody(authorization: str, reason: str, cluster: FakeCluster) -> None:
    with pytest.raises(UnauthenticatedError, match=reason):
        attest_pod(Claim(authorization, ADDRESS), cluster, RULES, NOW)

    assert cluster.asked == []


def test_scheme_is_read_in_any_case(cluster: FakeCluster, token: str) -> None:
    assert attest_pod(Claim(f"bEARER  {token}", ADDRESS), cluster, RULES, NOW).facts.identity == IDENTITY


def test_unknown_or_expired_token_is_not_authenticated(cluster: FakeCluster) -> None:
    with pytest.raises(UnauthenticatedError, match="does not know the token, or it has expired"):
        attest_pod(Claim("Bearer expired", ADDRESS), cluster, RULES, NOW)


def test_token_for_another_audience_is_not_authenticated(cluster: FakeCluster) -> None:
    token = cluster.issue_token(user_of(pod_object()), "https://kubernetes.default.svc")

    with pytest.raises(UnauthenticatedError, match="does not know the token"):
        attest_pod(Claim(f"Bearer {token}", ADDRESS), cluster, RULES, NOW)

    # One question, with our audience; never a second one without.
    assert cluster.asked == ["review"]


def test_answer_that_does_not_name_our_audience_is_not_believed(cluster: FakeCluster, token: str) -> None:
    cluster.ignores_audiences = True

    with pytest.raises(UnauthenticatedError, match="audience is not podtls-ca"):
        attest_pod(Claim(f"Bearer {token}", ADDRESS), cluster, RULES, NOW)


def _user(change: Change) -> dict[str, Any]:
    user = user_of(pod_object())
    change(user)
    return user


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        pytest.param(lambda user: user.update(username="admin"), "expected system:serviceaccount", id="a human"),
        pytest.param(
            lambda user: user["extra"].pop(EXTRA + "pod-name"), "not bound to a pod: pod-name is missing", id="no name"
        ),
        pytest.param(
            lambda user: user["extra"].pop(EXTRA + "pod-uid"), "not bound to a pod: pod-uid is missing", id="no uid"
        ),
        pytest.param(
            lambda user: user["extra"].update({EXTRA + "pod-uid": ["a", "b"]}), "pod-uid is missing", id="two uids"
        ),
        pytest.param(lambda user: user.pop("extra"), "pod-name is missing", id="no extras at all"),
        pytest.param(
            lambda user: user["extra"].update({EXTRA + "pod-name": ["payments-2"]}), "payments-2 is gone", id="gone"
        ),
        pytest.param(
            lambda user: user["extra"].update({EXTRA + "pod-uid": ["other"]}), "the uid differs", id="another uid"
        ),
        pytest.param(
            lambda user: user.update(username="system:serviceaccount:shop:orders"),
            "runs under another service account than the token's",
            id="another service account",
        ),
        pytest.param(
            lambda user: user["extra"].update({EXTRA + "node-name": ["node-2"]}),
            "runs on another node than the token's",
            id="another node",
        ),
        pytest.param(
            lambda user: user["extra"].pop(EXTRA + "node-name"), "runs on another node than the token's", id="no node"
        ),
    ],
)
def test_token_that_does_not_fit_its_pod_is_refused(change: Change, reason: str, cluster: FakeCluster) -> None:
    token = cluster.issue_token(_user(change), AUDIENCE)

    with pytest.raises(RefusedError, match=reason):
        attest_pod(Claim(f"Bearer {token}", ADDRESS), cluster, RULES, NOW)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        pytest.param({"metadata__uid": "new"}, "the uid differs", id="made again under the same name"),
        pytest.param({"spec__serviceAccountName": None}, "another service account", id="default service account"),
        pytest.param({"metadata__deletionTimestamp": "2030-05-01T11:59:59Z"}, "is terminating", id="terminating"),
        pytest.param({"status__phase": "Succeeded"}, "has finished: Succeeded", id="succeeded"),
        pytest.param({"status__phase": "Failed"}, "has finished: Failed", id="failed"),
        pytest.param({"metadata__labels": {}}, "is not injected: no label", id="no label"),
        pytest.param({"metadata__labels": {INJECTED: "yes"}}, "is not injected: no label", id="label differs"),
        pytest.param({"spec__initContainers": None}, "no init container podtls-init", id="no init containers"),
        pytest.param({"spec__initContainers": [{"name": "x"}]}, "no init container podtls-init", id="others only"),
    ],
)
def test_pod_that_we_do_not_certify_is_refused(
    changes: dict[str, Any], reason: str, cluster: FakeCluster, token: str
) -> None:
    cluster.pods["shop", "payments-1"] = pod_object(**changes)

    with pytest.raises(RefusedError, match=reason) as caught:
        attest_pod(Claim(f"Bearer {token}", ADDRESS), cluster, RULES, NOW)

    assert caught.value.caller == CALLER


@pytest.mark.parametrize(
    "source",
    [
        pytest.param(ADDRESS, id="IPv4"),
        pytest.param("fd00:0::3", id="IPv6 in another spelling"),
        pytest.param(f"::ffff:{ADDRESS}", id="IPv4 seen by a dual-stack listener"),
    ],
)
def test_any_address_of_the_pod_will_do(source: str, cluster: FakeCluster, token: str) -> None:
    assert attest_pod(Claim(f"Bearer {token}", source), cluster, RULES, NOW).facts.identity == IDENTITY


def test_request_without_a_source_address_is_refused(cluster: FakeCluster, token: str) -> None:
    with pytest.raises(RefusedError, match="source address '' is not an address: the edge proxy must send it"):
        attest_pod(Claim(f"Bearer {token}", ""), cluster, RULES, NOW)


@pytest.mark.parametrize(
    ("status", "age", "expected"),
    [
        pytest.param({"podIPs": None}, 1, PendingError, id="no address yet"),
        pytest.param({"podIPs": [{"ip": "10.9.9.9"}]}, 1, PendingError, id="another address, young pod"),
        pytest.param({"podIPs": [{"ip": "10.9.9.9"}]}, 30, PendingError, id="30 seconds"),
        pytest.param({"podIPs": [{"ip": "10.9.9.9"}]}, 31, RefusedError, id="31 seconds"),
        pytest.param({"podIPs": None}, 31, RefusedError, id="no address for too long"),
    ],
)
def test_address_is_waited_for_and_then_refused(
    status: dict[str, Any], age: int, expected: type[Exception], cluster: FakeCluster, token: str
) -> None:
    created = _before(age)
    cluster.pods["shop", "payments-1"] = pod_object(metadata__creationTimestamp=created, **_status(status))

    with pytest.raises(
        expected, match=r"source address 10\.1\.2\.3 is not the pod's, the API server shows (none|10\.)"
    ):
        attest_pod(Claim(f"Bearer {token}", ADDRESS), cluster, RULES, NOW)


@pytest.mark.parametrize(
    "status",
    [
        pytest.param({"startTime": "2030-05-01T11:59:50Z"}, id="started late"),
        pytest.param(
            {
                "startTime": "2030-05-01T11:00:01Z",
                "conditions": [{"type": "Initialized"}, {"lastTransitionTime": "2030-05-01T11:59:50Z"}],
            },
            id="lost its sandbox a moment ago",
        ),
    ],
)
def test_old_pod_that_changed_a_moment_ago_is_waited_for(
    status: dict[str, Any], cluster: FakeCluster, token: str
) -> None:
    cluster.pods["shop", "payments-1"] = pod_object(**_status({"podIPs": [{"ip": "10.9.9.9"}], **status}))

    with pytest.raises(PendingError, match=r"is not the pod's, the API server shows 10\.9\.9\.9$"):
        attest_pod(Claim(f"Bearer {token}", ADDRESS), cluster, RULES, NOW)


@pytest.mark.parametrize("source", ["10.9.9.9", ""])
def test_address_is_only_recorded_when_the_installation_says_so(source: str, cluster: FakeCluster, token: str) -> None:
    assert attest_pod(Claim(f"Bearer {token}", source), cluster, RECORD, NOW).facts.identity == IDENTITY


def test_address_that_is_none_is_the_api_servers_fault(cluster: FakeCluster, token: str) -> None:
    cluster.pods["shop", "payments-1"] = pod_object(status__podIPs=[{"ip": "garbage"}])

    with pytest.raises(UnavailableError, match="a pod address that cannot be parsed"):
        attest_pod(Claim(f"Bearer {token}", ADDRESS), cluster, RULES, NOW)


def test_api_server_that_is_down_attests_nobody(cluster: FakeCluster, token: str) -> None:
    cluster.down = UnavailableError("the API server does not answer")

    with pytest.raises(UnavailableError, match="does not answer"):
        attest_pod(Claim(f"Bearer {token}", ADDRESS), cluster, RULES, NOW)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        pytest.param("", 86400, id="absent"),
        pytest.param("90s", 90, id="seconds"),
        pytest.param("5m", 300, id="minutes"),
        pytest.param("12h", 43200, id="hours"),
        pytest.param("7d", 604800, id="the longest"),
        pytest.param("60s", 60, id="the shortest"),
        pytest.param("8d", 86400, id="too long"),
        pytest.param("59s", 86400, id="too short"),
        pytest.param("0h", 86400, id="zero"),
        pytest.param("1 h", 86400, id="spaces"),
        pytest.param("1w", 86400, id="unknown unit"),
        pytest.param("\u0661h", 86400, id="foreign digit"),
        pytest.param("9" * 100_000 + "d", 86400, id="100 kB"),
    ],
)
def test_lifetime_is_the_pods_within_the_bounds(text: str, seconds: int) -> None:
    assert parse_lifetime(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "status",
    [
        pytest.param(None, id="absent"),
        pytest.param("no JSON", id="not ours"),
    ],
)
def test_status_without_a_record_id_points_nowhere(status: str | None, cluster: FakeCluster, token: str) -> None:
    annotations = {} if status is None else {STATUS: status}
    cluster.pods["shop", "payments-1"] = pod_object(metadata__annotations=annotations or None)

    assert attest_pod(Claim(f"Bearer {token}", ADDRESS), cluster, RULES, NOW).patch_record == ""


def test_lifetime_hostname_and_subdomain_come_from_the_pod(cluster: FakeCluster, token: str) -> None:
    cluster.pods["shop", "payments-1"] = pod_object(
        metadata__annotations={LIFETIME: "1h"}, spec__hostname="db-0", spec__subdomain="db"
    )

    pod = attest_pod(Claim(f"Bearer {token}", ADDRESS), cluster, RULES, NOW)

    assert (pod.lifetime, pod.facts.hostname, pod.facts.subdomain) == (timedelta(hours=1), "db-0", "db")


def _before(seconds: int) -> str:
    return (NOW - timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _status(status: dict[str, Any]) -> dict[str, Any]:
    return {f"status__{key}": value for key, value in status.items()}


def test_clock_of_the_tests_is_aware() -> None:
    assert datetime.fromisoformat(_before(0)) == NOW
