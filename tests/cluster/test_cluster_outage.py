"""The webhook is down: enrolled namespaces refuse pods, saying who and why; nobody else notices; then all heals."""

import json
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from contract.names import CAPTURE, INJECT, INJECTED, MODE, STATUS
from lab.cluster.cluster import Cluster
from lab.cluster.podtls_local import Podtls
from lab.cluster.processes import wait_until
from tests.cluster.api import Object, create, pod, refusal
from tests.cluster.conftest import Namespaces

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

CALLING = 'failed calling webhook "mtls-port.podtls.io": failed to call webhook: '


@contextmanager
def stopped(podtls: Podtls, *programs: str) -> Iterator[None]:
    podtls.stop(*programs)
    try:
        yield
    finally:
        podtls.stop("webhook-edge", "webhook")
        podtls.start_webhook()


def test_nobody_listens_and_the_message_names_us_and_why(podtls: Podtls, enrolled: Namespaces) -> None:
    namespace = enrolled()

    with stopped(podtls, "webhook-edge", "webhook"):
        refused = refusal(podtls.cluster, namespace, pod())

    assert CALLING in refused
    assert f'Post "https://podtls-webhook.podtls-system.svc:{podtls.ports["webhook"]}/mutate/mtls/port' in refused
    assert refused.endswith("connect: connection refused")
    assert refusal(podtls.cluster, namespace, pod()) == ""


@contextmanager
def away(path: Path) -> Iterator[None]:
    """A file that is not where it belongs."""
    elsewhere = path.rename(path.with_suffix(".away"))
    try:
        yield
    finally:
        elsewhere.rename(path)


@contextmanager
def unreachable_behind_its_edge_proxy(podtls: Podtls) -> Iterator[None]:
    """Gunicorn's socket is away, and the workers that hold kept connections are killed."""
    gunicorn = podtls.programs["webhook"].pid
    with away(podtls.folder / "webhook/app.sock"):
        for worker in Path(f"/proc/{gunicorn}/task/{gunicorn}/children").read_text().split():
            os.kill(int(worker), signal.SIGKILL)
        yield


def test_edge_proxy_alone_is_asked_until_the_time_is_up(podtls: Podtls, enrolled: Namespaces) -> None:
    """Its Retry-After carries admissions over a restart of what is behind it; the price is the reason."""
    namespace = enrolled()

    with unreachable_behind_its_edge_proxy(podtls):
        refused = refusal(podtls.cluster, namespace, pod())

    assert CALLING in refused
    assert refused.endswith("context deadline exceeded")


def test_admission_waits_for_what_is_behind_the_edge_proxy(podtls: Podtls, enrolled: Namespaces) -> None:
    namespace = enrolled()
    log = podtls.programs["webhook-edge"].log
    before = log.stat().st_size

    with ThreadPoolExecutor(1) as pool:
        with unreachable_behind_its_edge_proxy(podtls):
            creation = pool.submit(create, podtls.cluster, namespace, pod())
            wait_until("the edge proxy was asked", lambda: b"connect() to unix:" in log.read_bytes()[before:])
        stored = creation.result(timeout=60)

    assert stored["metadata"]["labels"][INJECTED] == "true"


def test_reason_that_only_the_webhook_knows_reaches_the_user(podtls: Podtls, enrolled: Namespaces) -> None:
    namespace = enrolled()
    bundle = podtls.folder / "webhook/bundle/ca.crt"

    with away(bundle):
        refused = refusal(podtls.cluster, namespace, pod())

    assert refused.endswith(f"{CALLING}podtls: trust bundle {bundle}: No such file or directory")
    assert refusal(podtls.cluster, namespace, pod()) == ""


def test_pod_whose_record_cannot_be_written_is_refused_with_the_reason(podtls: Podtls, enrolled: Namespaces) -> None:
    namespace = enrolled()
    log = podtls.folder / "webhook/evidence.jsonl"

    with away(log):
        log.mkdir()
        refused = refusal(podtls.cluster, namespace, pod())
        log.rmdir()

    assert f"{CALLING}podtls: evidence log {log}: " in refused
    assert refusal(podtls.cluster, namespace, pod()) == ""


@pytest.mark.parametrize(
    "labels",
    [
        pytest.param({}, id="namespace without labels"),
        pytest.param({INJECT: "disabled"}, id="namespace that opted out"),
        pytest.param({MODE: "mtls", CAPTURE: "redirect"}, id="namespace with other labels of ours"),
    ],
)
def test_elsewhere_nothing_changes(podtls: Podtls, labels: dict[str, str]) -> None:
    namespace = podtls.cluster.create_namespace("elsewhere", labels)

    with stopped(podtls, "webhook-edge", "webhook"):
        stored = create(podtls.cluster, namespace, pod())

    assert "initContainers" not in stored["spec"]


@pytest.mark.parametrize("namespace", ["kube-system", "kube-public", "kube-node-lease", "podtls-system"])
def test_system_namespaces_do_not_depend_on_us_even_when_labelled(podtls: Podtls, namespace: str) -> None:
    podtls.cluster.kubectl("label", "namespace", namespace, f"{INJECT}=enabled")
    # Fulfils `restricted`, which podtls-system enforces.
    restricted = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    raw = pod(securityContext={"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}})
    raw["spec"]["containers"][0]["securityContext"] = restricted
    wait_until("its service account is there", lambda: has_account(podtls.cluster, namespace))
    try:
        with stopped(podtls, "webhook-edge", "webhook"):
            refused = refusal(podtls.cluster, namespace, raw)
    finally:
        podtls.cluster.kubectl("label", "namespace", namespace, f"{INJECT}-")

    assert refused == ""


def has_account(cluster: Cluster, namespace: str) -> bool:
    return bool(cluster.kubectl("get", "serviceaccount", "default", "-n", namespace, "--ignore-not-found"))


def test_pods_that_exist_go_on_and_a_deployment_gets_its_pods_when_we_are_back(
    podtls: Podtls, enrolled: Namespaces
) -> None:
    namespace = enrolled()
    create(podtls.cluster, namespace, pod("old"))

    with stopped(podtls, "webhook-edge", "webhook"):
        podtls.cluster.apply(deployment(namespace))
        wait_until("the ReplicaSet's failure is told", lambda: CALLING in failures(podtls.cluster, namespace))
        podtls.cluster.kubectl("label", "pod", "old", "seen=yes", "-n", namespace)
        podtls.cluster.kubectl("delete", "pod", "old", "-n", namespace)

    desired = ["--for=jsonpath={.status.replicas}=3", "--timeout=90s"]
    podtls.cluster.kubectl("wait", "deployment/web", "-n", namespace, *desired)
    pods = podtls.cluster.get("pods", "-n", namespace)["items"]
    named = [json.loads(each["metadata"]["annotations"][STATUS])["record"] for each in pods]
    assert len(set(named)) == 3
    assert set(named) <= {each["id"] for each in podtls.records("webhook")}


def failures(cluster: Cluster, namespace: str) -> str:
    events = cluster.get("events", "-n", namespace)["items"]
    return "\n".join(event["message"] for event in events if event["reason"] == "FailedCreate")


def deployment(namespace: str) -> Object:
    labels = {"app": "web"}
    template = {"metadata": {"labels": labels}, "spec": pod()["spec"]}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": namespace},
        "spec": {"replicas": 3, "selector": {"matchLabels": labels}, "template": template},
    }
