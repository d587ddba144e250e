"""components/enforce on a real kube-apiserver: who must be enrolled, how strictly, and what goes on as ever.

That our containers must be as podtls writes them is in test_cluster_enforce_tampering.py.
"""

import json
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from contract import names as contract
from lab.cluster.podtls_local import ROOT, Podtls
from lab.cluster.processes import wait_until
from tests.cluster.api import Object, create, message, pod, refusal
from tests.cluster.conftest import Namespaces
from tests.cluster.enforcement import (
    BY_HAND,
    DENIED,
    ENFORCED,
    SAYS,
    as_injected,
    changed,
    in_force,
    rendered,
    set_in_both,
    with_images,
)

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

OPT_OUT = "the label podtls.io/inject=disabled is not allowed on its pods; remove the label."
NOT_ENROLLED = "it enrolls no pods, since it is not labelled podtls.io/inject=enabled; label the namespace so."
HOST_NETWORK = "pods with hostNetwork cannot be enrolled."
WINDOWS = "Windows pods cannot be enrolled."
NOT_INJECTED = "the pod does not carry podtls-init and podtls-nginx; is the webhook running?"
WEAKER = "podtls.io/mode of the pod is weaker than the namespace's mode {}; remove the annotation podtls.io/mode."
IMAGE = "the image of podtls-init and podtls-nginx must be {}."
MIRROR = {"annotations": {"kubernetes.io/config.mirror": "x"}}


@pytest.fixture(scope="module")
def enforcing(podtls: Podtls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Podtls]:
    """The cluster with the component, in force."""
    with in_force(podtls, tmp_path_factory.mktemp("enforce")) as started:
        yield started


@pytest.fixture(scope="module")
def injected(podtls: Podtls) -> Object:
    """A pod as the webhook makes it."""
    return as_injected(podtls)


def by_hand(podtls: Podtls, labels: dict[str, str] | None = None) -> str:
    """A namespace, enrolled and enforced, where nobody but the policy looks at pods."""
    return podtls.cluster.create_namespace("enforced", BY_HAND | (labels or {}))


def test_policy_has_no_expression_that_the_api_server_warns_of(enforcing: Podtls) -> None:
    policy: dict[str, Any] = {}

    def is_checked() -> bool:
        policy.update(enforcing.cluster.get("validatingadmissionpolicy", "podtls-enforce"))
        return "typeChecking" in policy.get("status", {})

    wait_until("the policy is type-checked", is_checked)

    assert policy["status"]["typeChecking"] == {}
    assert policy["status"]["observedGeneration"] == policy["metadata"]["generation"]


def test_what_is_demanded_is_what_is_injected(enforcing: Podtls, injected: Object) -> None:
    policy = enforcing.cluster.get("validatingadmissionpolicy", "podtls-enforce")

    variables = {each["name"]: each["expression"] for each in policy["spec"]["variables"]}
    environment = {each["name"]: each.get("value") for each in injected["spec"]["initContainers"][0]["env"]}
    assert variables["image"] == f"'{enforcing.init_image}'"
    assert variables["caUrl"] == f"'{environment[contract.ENV_CA_URL]}'"
    assert variables["previous"] == "[]"


def test_injected_pod_is_admitted_through_the_webhook_and_by_hand(
    enforcing: Podtls, enrolled: Namespaces, injected: Object
) -> None:
    stored = create(enforcing.cluster, enrolled(ENFORCED), pod())

    assert [container["name"] for container in stored["spec"]["initContainers"]] == ["podtls-init", "podtls-nginx"]
    assert refusal(enforcing.cluster, by_hand(enforcing), injected) == ""


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        pytest.param(pod(hostNetwork=True), HOST_NETWORK, id="host network"),
        pytest.param(pod(os={"name": "windows"}), WINDOWS, id="windows"),
        pytest.param(pod(nodeSelector={"kubernetes.io/os": "windows"}), WINDOWS, id="windows by node selector"),
        pytest.param(
            pod(metadata=MIRROR, nodeName="node", automountServiceAccountToken=False), NOT_INJECTED, id="mirror"
        ),
        pytest.param(pod(metadata={"labels": {contract.INJECT: "disabled"}}), OPT_OUT, id="opt-out"),
        pytest.param(pod(metadata={"annotations": {contract.MODE: "tls"}}), WEAKER.format("mtls"), id="weaker mode"),
    ],
)
def test_what_the_webhook_lets_pass_is_refused_where_it_is_enforced(
    enforcing: Podtls, enrolled: Namespaces, raw: Object, said: str
) -> None:
    assert refusal(enforcing.cluster, enrolled(), raw) == ""
    assert DENIED + said in message(refusal(enforcing.cluster, enrolled(ENFORCED), raw))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param(lambda raw: raw["spec"].update(hostNetwork=True), HOST_NETWORK, id="host network"),
        pytest.param(
            lambda raw: raw["spec"].update(nodeSelector={"kubernetes.io/os": "windows"}), WINDOWS, id="windows"
        ),
        pytest.param(
            lambda raw: raw["metadata"]["labels"].update({contract.INJECT: "disabled"}), OPT_OUT, id="opt-out"
        ),
    ],
)
def test_containers_written_by_hand_do_not_help_a_pod_that_the_webhook_skips(
    enforcing: Podtls, enrolled: Namespaces, injected: Object, change: Callable[[Any], object], said: str
) -> None:
    raw = changed(injected, change)

    assert refusal(enforcing.cluster, enrolled(), raw) == ""
    assert DENIED + said in message(refusal(enforcing.cluster, enrolled(ENFORCED), raw))


@pytest.mark.parametrize(
    "labels",
    [
        pytest.param({}, id="without the label"),
        pytest.param({contract.INJECT: "disabled"}, id="disabled"),
    ],
)
def test_enforced_namespace_that_is_not_enrolled_admits_nothing_and_says_why(
    enforcing: Podtls, injected: Object, labels: dict[str, str]
) -> None:
    namespace = enforcing.cluster.create_namespace("enforced", ENFORCED | labels)

    for raw in (pod(), injected):
        assert DENIED + NOT_ENROLLED in message(refusal(enforcing.cluster, namespace, raw))


@pytest.mark.parametrize("value", ["enabled", "true", ""])
def test_any_other_value_of_the_label_enrolls_and_is_enforced(
    enforcing: Podtls, enrolled: Namespaces, value: str
) -> None:
    stored = create(enforcing.cluster, enrolled({**ENFORCED, contract.INJECT: value}), pod())

    assert stored["metadata"]["labels"][contract.INJECTED] == "true"


@pytest.mark.parametrize(
    "labels", [pytest.param({}, id="no label"), pytest.param({"podtls.io/enforce": "false"}, id="false")]
)
def test_namespaces_that_are_not_enforced_are_left_alone(enforcing: Podtls, labels: dict[str, str]) -> None:
    namespace = enforcing.cluster.create_namespace("plain", labels)

    assert refusal(enforcing.cluster, namespace, pod(hostNetwork=True, shareProcessNamespace=True)) == ""
    assert refusal(enforcing.cluster, namespace, pod(os={"name": "windows"})) == ""


MODES = {"": ("mtls",), "mtls": ("mtls",), "bogus": ("mtls",), "tls": ("mtls", "tls"), "permissive": contract.MODES}


@pytest.mark.parametrize("wanted", [pytest.param(mode, id=f"namespace {mode or 'without mode'}") for mode in MODES])
def test_pod_may_be_as_strict_as_its_namespace_or_stricter(enforcing: Podtls, injected: Object, wanted: str) -> None:
    namespace = by_hand(enforcing, {contract.MODE: wanted} if wanted else None)
    pods = {
        mode: changed(injected, partial(set_in_both, name=contract.ENV_MODE, value=mode)) for mode in contract.MODES
    }

    refused = {mode: refusal(enforcing.cluster, namespace, pods[mode]) for mode in contract.MODES}

    assert [mode for mode, why in refused.items() if not why] == list(MODES[wanted])
    assert all(WEAKER.format(wanted or "mtls") in why for why in refused.values() if why)


def test_workloads_get_their_pods_and_go_their_way(enforcing: Podtls, enrolled: Namespaces) -> None:
    namespace = enrolled(ENFORCED)
    template = {"metadata": {"labels": {"app": "web"}}, "spec": pod()["spec"]}
    deployed = {"replicas": 1, "selector": {"matchLabels": {"app": "web"}}, "template": template}
    once = {"template": {"metadata": {}, "spec": {**pod()["spec"], "restartPolicy": "Never"}}}

    create(enforcing.cluster, namespace, workload("apps/v1", "Deployment", deployed))
    create(enforcing.cluster, namespace, workload("batch/v1", "Job", once))
    enforcing.cluster.kubectl("scale", "deployment/web", "--replicas=2", "-n", namespace)
    wait_until("three pods are there", lambda: len(pods_of(enforcing, namespace)) == 3)
    (task,) = pods_of(enforcing, namespace, "job-name=web")
    # What its kubelet would say. Then the Job's controller takes its finalizer off the pod: an update.
    succeeded = json.dumps({"status": {"phase": "Succeeded"}})
    enforcing.cluster.kubectl(
        "patch", "pod", task["metadata"]["name"], "-n", namespace, "--subresource=status", "--patch", succeeded
    )

    wait_until("the Job is complete", lambda: job_of(enforcing, namespace).get("succeeded") == 1)
    found = pods_of(enforcing, namespace)
    assert {each["metadata"]["labels"][contract.INJECTED] for each in found} == {"true"}
    assert [each["metadata"].get("finalizers") for each in found] == [None, None, None]


def workload(version: str, kind: str, spec: Object) -> Object:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": "web"}, "spec": spec}


def pods_of(podtls: Podtls, namespace: str, selector: str = "") -> list[Any]:
    found: list[Any] = podtls.cluster.get("pods", "-n", namespace, "-l", selector)["items"]
    return found


def job_of(podtls: Podtls, namespace: str) -> dict[str, Any]:
    status: dict[str, Any] = podtls.cluster.get("job", "web", "-n", namespace)["status"]
    return status


def test_pod_from_before_the_policy_can_still_be_changed(enforcing: Podtls) -> None:
    namespace = enforcing.cluster.create_namespace("later")
    create(enforcing.cluster, namespace, pod(shareProcessNamespace=True))
    enforcing.cluster.kubectl("label", "namespace", namespace, "podtls.io/enforce=true")
    wait_until("the policy looks here", lambda: SAYS in refusal(enforcing.cluster, namespace, pod("second")))

    enforcing.cluster.kubectl("label", "pod", "web", "seen=yes", "-n", namespace)
    enforcing.cluster.kubectl("set", "image", "pod/web", "app=example.test/app:2", "-n", namespace)
    enforcing.cluster.kubectl("debug", "web", "--image=example.test/debug:1", "--attach=false", "-n", namespace)

    found = enforcing.cluster.get("pod", "web", "-n", namespace)
    assert found["metadata"]["labels"] == {"seen": "yes"}
    assert len(found["spec"]["ephemeralContainers"]) == 1


def test_upgrade_as_the_guide_says_admits_pods_of_both_versions(
    enforcing: Podtls, enrolled: Namespaces, injected: Object, tmp_path: Path
) -> None:
    section = (ROOT / "docs/install.md").read_text().partition("## Upgrade\n")[2].partition("\n## ")[0]
    (patches,) = re.findall(r"```yaml\n(.*?)```", section, re.DOTALL)
    old, new = enforcing.init_image, "example.test:5000/podtls-init:0.2.0"
    released = with_images(tmp_path, "example.test:5000", "0.2.0")
    asked, unasked = enrolled(ENFORCED), by_hand(enforcing)
    upgraded = changed(injected, lambda raw: [each.update(image=new) for each in raw["spec"]["initContainers"]])
    beside = re.sub("REGISTRY/podtls-init:[0-9.]+", old, patches)
    try:
        apply(enforcing, rendered(tmp_path, manifests=released, patches=beside))
        wait_until("the new image is admitted", lambda: not refusal(enforcing.cluster, unasked, upgraded))
        through_the_old_webhook = refusal(enforcing.cluster, asked, pod())
        third = refusal(enforcing.cluster, unasked, changed(upgraded, with_another_image))
        apply(enforcing, rendered(tmp_path, manifests=released))
        wait_until("the old image is refused", lambda: bool(refusal(enforcing.cluster, asked, pod())))
        refused = refusal(enforcing.cluster, asked, pod())
    finally:
        apply(enforcing, rendered(tmp_path))
        wait_until("all is as before", lambda: not refusal(enforcing.cluster, asked, pod()))

    assert through_the_old_webhook == ""
    assert IMAGE.format(f"{new} or {old}") in third
    assert IMAGE.format(new) in refused


def with_another_image(raw: Any) -> None:
    raw["spec"]["initContainers"][0].update(image="example.test/x:1")


def apply(podtls: Podtls, objects: list[Object]) -> None:
    """`kubectl apply` as the guide has it, which merges with what is there."""
    podtls.cluster.kubectl("apply", "-f", "-", input=listed(objects))


def listed(objects: list[Object]) -> str:
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})


def test_component_that_was_deleted_enforces_again_once_it_is_applied_again(
    enforcing: Podtls, enrolled: Namespaces, injected: Object, tmp_path: Path
) -> None:
    # With a ConfigMap as its parameter it would not: https://github.com/kubernetes/kubernetes/issues/130887.
    asked, unasked = enrolled(ENFORCED), by_hand(enforcing)
    component = rendered(tmp_path)
    try:
        enforcing.cluster.kubectl("delete", "-f", "-", input=listed(component))
        wait_until("plain pods are admitted", lambda: not refusal(enforcing.cluster, unasked, pod()))
    finally:
        enforcing.cluster.apply(*component)
    wait_until("plain pods are refused", lambda: bool(refusal(enforcing.cluster, unasked, pod())))

    refused = refusal(enforcing.cluster, unasked, pod())
    tampered = refusal(enforcing.cluster, unasked, changed(injected, with_another_image))
    stored = create(enforcing.cluster, asked, pod())

    assert DENIED + NOT_INJECTED in message(refused)
    assert DENIED + IMAGE.format(enforcing.init_image) in message(tampered)
    assert refusal(enforcing.cluster, unasked, injected) == ""
    assert stored["metadata"]["labels"][contract.INJECTED] == "true"


def test_policy_holds_while_the_webhook_is_down(enforcing: Podtls, enrolled: Namespaces, injected: Object) -> None:
    namespace, asked = by_hand(enforcing), enrolled(ENFORCED)
    enforcing.stop("webhook-edge", "webhook")
    try:
        refused = refusal(enforcing.cluster, namespace, pod())
        unasked = refusal(enforcing.cluster, asked, pod())
        admitted = create(enforcing.cluster, namespace, injected)
    finally:
        enforcing.start_webhook()

    assert DENIED + NOT_INJECTED in refused
    assert 'failed calling webhook "mtls-port.podtls.io"' in unasked
    assert admitted["metadata"]["name"] == "web"
