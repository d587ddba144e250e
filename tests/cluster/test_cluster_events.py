"""What `kubectl describe pod` says of a pod that the CA has refused: the CA's own words, once."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from ca.api.events import REASON
from injector.enroll import certificate, est
from injector.errors import RefusedError
from lab.cluster.endpoint import give_address, pod_token
from lab.cluster.podtls_local import Podtls
from lab.cluster.processes import wait_until
from tests.cluster.api import create, pod

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]


@pytest.fixture
def namespace(podtls: Podtls) -> Iterator[str]:
    """A namespace that is not enrolled, with a pod `web` that asks all the same."""
    name = podtls.cluster.create_namespace("plain")
    create(podtls.cluster, name, pod(terminationGracePeriodSeconds=0))
    give_address(podtls.cluster, name, "web")
    yield name
    podtls.cluster.kubectl("delete", "namespace", name, "--wait=false")


def refused(podtls: Podtls, namespace: str) -> str:
    """What the record says of a refusal that was just answered."""
    request = certificate.make_request(certificate.make_key())
    token = pod_token(podtls.cluster, namespace, "web")
    with pytest.raises(RefusedError, match="is not injected"):
        est.enroll(podtls.endpoint("ca"), request, token=token, deadline=time.monotonic() + 20)
    records = [each for each in podtls.records("ca") if each["namespace"] == namespace]
    return str(records[-1]["reason"])


def events(podtls: Podtls, namespace: str) -> list[Any]:
    found = podtls.cluster.get("events", "-n", namespace, "--field-selector", f"reason={REASON}")
    return list(found["items"])


def test_refused_pod_says_why_in_kubectl_describe(podtls: Podtls, namespace: str) -> None:
    reason = refused(podtls, namespace)

    wait_until("the Event is there", lambda: bool(events(podtls, namespace)), seconds=20)
    (event,) = events(podtls, namespace)
    stored = podtls.cluster.get("pod", "web", "-n", namespace)
    assert (event["type"], event["message"]) == ("Warning", reason)
    assert event["involvedObject"]["uid"] == stored["metadata"]["uid"]
    described = podtls.cluster.kubectl("describe", "pod", "web", "-n", namespace).partition("\nEvents:")[2]
    (line,) = [line.split() for line in described.splitlines() if REASON in line]
    assert line[:2] == ["Warning", REASON]
    assert " ".join(line[3:]) == f"podtls-ca {reason}"


def test_pod_that_asks_again_and_again_has_one_event(podtls: Podtls, namespace: str) -> None:
    for _ in range(5):
        refused(podtls, namespace)

    wait_until("the Event is there", lambda: bool(events(podtls, namespace)), seconds=20)
    assert len(events(podtls, namespace)) == 1
    assert len([each for each in podtls.records("ca") if each["namespace"] == namespace]) == 5
