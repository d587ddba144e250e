"""The controller on a real API server: one authority whoever is first, caBundle that stays, and recovery of it all."""

import base64
import copy
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest
from cryptography import x509

from ca.controller.kubernetes import KubernetesControlPlane, TimedClient
from ca.controller.reconcile import Outcome, reconcile_authority
from ca.kubeconfig import load_configuration
from contract.identity import TrustDomain
from contract.names import CONTROLLER_NAME, ENV_TRUST_BUNDLE, INJECT, ISSUING_SECRET, ROOT_SECRET
from injector.enroll import certificate, est
from lab.cluster.endpoint import SECONDS, give_address, pod_token
from lab.cluster.installation import CONFIGURATION, CONFIGURATIONS, MANIFESTS, NAMESPACE, account_kubeconfig
from lab.cluster.launch import running_control_plane
from lab.cluster.podtls_local import Podtls, prepared
from lab.cluster.processes import is_running, wait_until
from tests.cluster.api import Object, create, pod, refusal
from tests.cluster.conftest import skip_unless_complete

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

RACERS = 4
REACHED = "--for=jsonpath={{.status.replicas}}={}"
WORKLOADS = {"statefulset/podtls-webhook": 2, "statefulset/podtls-ca": 2, "deployment/podtls-controller": 2}


@pytest.fixture(scope="module")
def alone(request: pytest.FixtureRequest) -> Iterator[Podtls]:
    """podtls's objects in a cluster of this module's own, with none of its programs."""
    skip_unless_complete("control-plane")
    with running_control_plane(keep_logs=lambda: request.session.testsfailed > 0) as cluster:
        podtls = prepared(cluster)
        yield podtls
        podtls.stop()


def test_plain_apply_of_the_manifests_is_what_the_readme_says(alone: Podtls) -> None:
    for overlay in ("default", "ephemeral"):
        folder = str(MANIFESTS / "overlays" / overlay)

        said = alone.cluster.kubectl("apply", "--dry-run=server", "-k", folder)

        assert "statefulset.apps/podtls-webhook" in said


def test_pod_security_lets_all_of_our_own_pods_be_created(alone: Podtls) -> None:
    for workload, count in WORKLOADS.items():
        alone.cluster.kubectl("wait", workload, "-n", NAMESPACE, REACHED.format(count), "--timeout=30s")

    labels = alone.cluster.get("namespace", NAMESPACE)["metadata"]["labels"]
    pods = alone.cluster.get("pods", "-n", NAMESPACE)["items"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    assert len(pods) == sum(WORKLOADS.values())
    assert {each["spec"]["priorityClassName"] for each in pods} == {"podtls"}


@pytest.mark.parametrize("workload", ["podtls-webhook", "podtls-ca"])
def test_pods_of_which_none_is_ready_can_be_evicted(alone: Podtls, workload: str) -> None:
    pods = [f"{workload}-{number}" for number in range(2)]
    alone.cluster.kubectl("wait", f"statefulset/{workload}", "-n", NAMESPACE, REACHED.format(2), "--timeout=30s")
    for each in pods:
        # As the kubelet has it when containers run and their probes fail; without conditions it is not ready.
        running = ["--subresource=status", "--type=merge", "--patch", '{"status": {"phase": "Running"}}']
        alone.cluster.kubectl("patch", "pod", each, "-n", NAMESPACE, *running)
    wait_until("the budget has seen them", lambda: "expectedPods" in budget(alone, workload))
    assert (budget(alone, workload)["currentHealthy"], budget(alone, workload)["disruptionsAllowed"]) == (0, 0)

    said = [json.loads(evict(alone, each)) for each in pods]

    assert [each["status"] for each in said] == ["Success"] * 2


def budget(podtls: Podtls, name: str) -> Object:
    status: Object = podtls.cluster.get("poddisruptionbudget", name, "-n", NAMESPACE).get("status", {})
    return status


def evict(podtls: Podtls, pod: str) -> str:
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": NAMESPACE}}
    path = f"/api/v1/namespaces/{NAMESPACE}/pods/{pod}/eviction"
    return podtls.cluster.kubectl("create", "--raw", path, "-f", "-", input=json.dumps(body))


def test_controllers_that_all_believe_to_lead_make_one_authority_and_publish_the_same(alone: Podtls) -> None:
    hands = [KubernetesControlPlane(client_of(alone, f"racer-{number}"), NAMESPACE) for number in range(RACERS)]
    outcomes: list[Outcome] = []
    gate = threading.Barrier(RACERS)

    def race(cluster: KubernetesControlPlane) -> None:
        gate.wait(timeout=30)
        outcomes.append(reconcile_authority(cluster, TrustDomain("cluster.local"), "cluster.local", datetime.now(UTC)))

    for _round in range(5):
        forget(alone)
        outcomes.clear()
        threads = [threading.Thread(target=race, args=(each,)) for each in hands]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=60)

        root = secret(alone, ROOT_SECRET)
        assert len(outcomes) == RACERS
        assert len(set(outcomes)) == 1
        assert alone.bundle == root["tls.crt"] == secret(alone, ISSUING_SECRET)["ca.crt"]
        assert alone.ca_bundles() == {root["tls.crt"]}


def client_of(podtls: Podtls, name: str) -> TimedClient:
    path = account_kubeconfig(podtls.cluster, "podtls-controller", podtls.folder / f"{name}.kubeconfig")
    return TimedClient(load_configuration(str(path)))


def forget(podtls: Podtls) -> None:
    names = [f"secret/{ROOT_SECRET}", f"secret/{ISSUING_SECRET}", "configmap/podtls-bundle"]
    podtls.cluster.kubectl("delete", *names, "-n", NAMESPACE, "--ignore-not-found")


def secret(podtls: Podtls, name: str) -> dict[str, bytes]:
    data = podtls.cluster.get("secret", name, "-n", NAMESPACE)["data"]
    return {key: base64.b64decode(value) for key, value in data.items()}


@pytest.mark.parametrize("kind", CONFIGURATIONS)
@pytest.mark.parametrize("way", ["server-side", "client-side"])
def test_applying_the_manifests_again_does_not_touch_ca_bundle(alone: Podtls, kind: str, way: str) -> None:
    hands = KubernetesControlPlane(client_of(alone, "publisher"), NAMESPACE)
    reconcile_authority(hands, TrustDomain("cluster.local"), "cluster.local", datetime.now(UTC))
    body = json.dumps({"apiVersion": "v1", "kind": "List", "items": alone.objects})
    flags = ["--server-side", "--field-manager=tests"] if way == "server-side" else ["--warnings-as-errors=false"]

    for _twice in range(2):
        alone.cluster.kubectl("apply", *flags, "-f", "-", input=body)

    owners = ca_bundle_owners(alone.cluster.get(kind, CONFIGURATION, "--show-managed-fields"))
    assert alone.ca_bundles() == {alone.bundle}
    assert owners == {CONTROLLER_NAME: 6}


def ca_bundle_owners(configuration: Object) -> dict[str, int]:
    """Who owns clientConfig.caBundle, in how many entries."""
    owners: dict[str, int] = {}
    for each in configuration["metadata"]["managedFields"]:
        entries = each["fieldsV1"].get("f:webhooks", {}).values()
        owned = sum("f:caBundle" in entry.get("f:clientConfig", {}) for entry in entries)
        owners |= {each["manager"]: owned} if owned else {}
    return owners


def test_second_replica_takes_over_when_the_first_is_killed(alone: Podtls) -> None:
    first = alone.start_controller("podtls-controller-a")
    wait_until("the first leads", lambda: "podtls-controller-a: leads" in first.log.read_text(), watched=[first])
    second = alone.start_controller("podtls-controller-b")
    wait_until("the second waits", lambda: "a candidate" in second.log.read_text(), watched=[second])
    root = secret(alone, ROOT_SECRET)

    os.kill(first.pid, signal.SIGKILL)
    wait_until("the first is gone", lambda: not is_running(first))
    alone.cluster.kubectl("delete", "configmap", "podtls-bundle", "-n", NAMESPACE)

    wait_until("the second leads", lambda: "podtls-controller-b: leads" in second.log.read_text(), watched=[second])
    alone.await_authority()
    assert secret(alone, ROOT_SECRET) == root
    assert alone.bundle == root["tls.crt"]
    alone.stop()


def test_another_zone_takes_a_new_issuing_ca_under_the_same_root(alone: Podtls) -> None:
    alone.start_controller()
    alone.await_authority()
    bundle, root, before = alone.bundle, secret(alone, ROOT_SECRET), secret(alone, ISSUING_SECRET)
    alone.stop()

    with in_zone(alone, "corp.internal"):
        alone.start_controller()
        wait_until("the issuing CA is another one", lambda: secret(alone, ISSUING_SECRET) != before)
        alone.start_ca()
        names = enrolled_names(alone)

    assert "podtls-webhook.podtls-system.svc.corp.internal" in names
    assert (alone.bundle, secret(alone, ROOT_SECRET)) == (bundle, root)
    assert alone.ca_bundles() == {bundle}


@contextmanager
def in_zone(podtls: Podtls, zone: str) -> Iterator[None]:
    """Programs that start meanwhile have this PODTLS_ZONE; all are stopped at the end."""
    shipped, podtls.objects = podtls.objects, copy.deepcopy(podtls.objects)
    specs = [
        each["spec"]["template"]["spec"] for each in podtls.objects if each["kind"] in {"StatefulSet", "Deployment"}
    ]
    containers = [each for spec in specs for each in (*spec.get("initContainers", ()), *spec["containers"])]
    for variable in (each for container in containers for each in container["env"] if each["name"] == "PODTLS_ZONE"):
        variable["value"] = zone
    try:
        yield
    finally:
        podtls.stop()
        podtls.objects = shipped


def enrolled_names(podtls: Podtls) -> list[str]:
    """The DNS names that the CA gives a pod of the webhook."""
    give_address(podtls.cluster, NAMESPACE, "podtls-webhook-0")
    token = pod_token(podtls.cluster, NAMESPACE, "podtls-webhook-0", account="podtls-webhook")
    request = certificate.make_request(certificate.make_key())
    leaf, *_ = est.enroll(podtls.endpoint("ca"), request, token=token, deadline=time.monotonic() + SECONDS)
    alternative = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return alternative.get_values_for_type(x509.DNSName)


def test_deleting_our_namespace_and_applying_again_recovers_without_hands(alone: Podtls) -> None:
    enrolled = alone.cluster.create_namespace("shop", {INJECT: "enabled"})
    alone.start_controller()
    alone.await_authority()
    lost = alone.bundle

    alone.cluster.kubectl("delete", "namespace", NAMESPACE, "--timeout=120s")
    # What was its pod ends with it, and comes again with the namespace.
    alone.stop()
    assert 'service "podtls-webhook" not found' in refusal(alone.cluster, enrolled, pod())
    assert alone.ca_bundles() == {lost}
    alone.cluster.apply(*alone.objects)
    alone.start_controller()
    alone.await_authority()

    assert alone.bundle != lost
    assert alone.ca_bundles() == {alone.bundle}
    alone.start_ca()
    alone.admit_webhook()
    stored = create(alone.cluster, enrolled, pod())
    variables = {each["name"]: each.get("value") for each in stored["spec"]["initContainers"][0]["env"]}
    assert variables[ENV_TRUST_BUNDLE] == alone.bundle.decode()
