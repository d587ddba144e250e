"""What `kubectl apply` prints for a workload whose pods podtls will refuse, skip or warn of: on the real thing."""

import json

import pytest

from contract.names import INJECT
from lab.cluster.podtls_local import Podtls
from tests.cluster.api import Object, pod, stderr_of
from tests.cluster.conftest import Namespaces

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

LABELS = {"app": "web"}


def workload(kind: str, namespace: str, *, labels: dict[str, str] | None = None, **annotations: str) -> Object:
    written = {f"podtls.io/{key}": value for key, value in annotations.items()}
    metadata = {"labels": LABELS | (labels or {}), "annotations": written}
    template = {"metadata": metadata, "spec": pod()["spec"]}
    spec: Object = {"template": template}
    if kind in {"Job", "CronJob"}:
        template["spec"] = {**template["spec"], "restartPolicy": "Never"}
    else:
        spec |= {"selector": {"matchLabels": LABELS}}
    if kind == "StatefulSet":
        spec |= {"serviceName": "web"}
    if kind == "CronJob":
        spec = {"schedule": "@yearly", "jobTemplate": {"spec": spec}}
    group = "batch/v1" if kind in {"Job", "CronJob"} else "apps/v1"
    return {"apiVersion": group, "kind": kind, "metadata": {"name": "web", "namespace": namespace}, "spec": spec}


def applied(podtls: Podtls, raw: Object) -> list[str]:
    """The warnings that kubectl prints."""
    printed = stderr_of(podtls.cluster, "apply", "-f", "-", input=json.dumps(raw)).splitlines()
    return [line.removeprefix("Warning: ") for line in printed if line.startswith("Warning: ")]


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob"])
def test_applying_a_workload_whose_pods_will_be_refused_prints_why(
    podtls: Podtls, enrolled: Namespaces, kind: str
) -> None:
    namespace = enrolled()
    before = len(podtls.records("webhook"))

    warnings = applied(podtls, workload(kind, namespace, mode="plaintext"))

    said = "annotation podtls.io/mode: 'plaintext' is not allowed; allowed: mtls, tls, permissive"
    assert warnings == [f"podtls: pods of this {kind} will be refused: {said}"]
    assert podtls.cluster.get(kind, "web", "-n", namespace)["metadata"]["name"] == "web"
    # Its controller's attempts are recorded, as pods; the workload itself is not.
    assert {each["reason"] for each in podtls.records("webhook")[before:] if each["namespace"] == namespace} <= {said}


def test_change_that_makes_it_worse_is_warned_of_and_one_that_mends_it_is_not(
    podtls: Podtls, enrolled: Namespaces
) -> None:
    namespace = enrolled()

    created = applied(podtls, workload("Deployment", namespace))
    broken = applied(podtls, workload("Deployment", namespace, ports="none"))
    mended = applied(podtls, workload("Deployment", namespace))

    assert (created, mended) == ([], [])
    assert broken[0].startswith("podtls: pods of this Deployment will be refused: annotation podtls.io/ports: 'none'")


def test_opt_out_and_weaker_mode_are_told(podtls: Podtls, enrolled: Namespaces) -> None:
    namespace = enrolled()

    opted_out = applied(podtls, workload("Deployment", namespace, labels={INJECT: "disabled"}))
    weaker = applied(podtls, workload("Deployment", namespace, mode="tls"))

    assert opted_out == ["podtls: not injected: label podtls.io/inject=disabled opts out"]
    assert weaker == ["podtls: mode tls of the pod is weaker than mode mtls of its namespace"]


def test_namespace_that_is_not_enrolled_is_left_alone(podtls: Podtls) -> None:
    namespace = podtls.cluster.create_namespace("plain")

    assert applied(podtls, workload("Deployment", namespace, mode="plaintext")) == []


def test_workload_is_applied_without_a_word_while_the_webhook_is_down(podtls: Podtls, enrolled: Namespaces) -> None:
    namespace = enrolled()
    podtls.stop("webhook-edge", "webhook")
    try:
        warnings = applied(podtls, workload("CronJob", namespace, mode="plaintext"))
    finally:
        podtls.start_webhook()

    assert [warning for warning in warnings if "plaintext" in warning] == []
    assert podtls.cluster.get("cronjob", "web", "-n", namespace)["metadata"]["name"] == "web"
