"""components/enforce on a real kube-apiserver: every rule allows and refuses, and none of them needs the webhook."""

import copy
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from injector import contract
from tests.cluster.api import Object, create, message, pod, refusal
from tests.cluster.conftest import Namespaces
from tests.cluster.errors import KubectlError
from tests.cluster.installation import MANIFESTS, find, render
from tests.cluster.podtls_local import Podtls
from tests.cluster.processes import wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

ENFORCED = {"podtls.io/enforce": "true"}
SAYS = "podtls.io/enforce=true on the namespace: "
OPT_OUT = f"{SAYS}the label podtls.io/inject=disabled is not allowed on its pods; remove the label."
NOT_INJECTED = f"{SAYS}the pod does not carry podtls-init and podtls-nginx as podtls injects them"
WEAKER = (
    f"{SAYS}podtls.io/mode of the pod is weaker than the namespace's mode {{}}; remove the annotation podtls.io/mode."
)
MOUNTS = f"{SAYS}only podtls's own containers may mount volumes named podtls-*."
IMAGES = f"{SAYS}the images of podtls-init and podtls-nginx may not be changed."
EPHEMERAL = f"{SAYS}ephemeral containers may not mount volumes named podtls-*."
KUSTOMIZATION = """\
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [{default}]
components: [{enforce}]
"""


def rendered(folder: Path) -> list[Object]:
    """What somebody gets who adds the component on top of overlays/default."""
    paths = {"default": MANIFESTS / "overlays/default", "enforce": MANIFESTS / "components/enforce"}
    relative = {name: os.path.relpath(path, folder) for name, path in paths.items()}
    (folder / "kustomization.yaml").write_text(KUSTOMIZATION.format(**relative))
    return render(folder)


@pytest.fixture(scope="module")
def enforcing(podtls: Podtls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Podtls]:
    """The cluster with the component, in force."""
    objects = rendered(tmp_path_factory.mktemp("enforce"))
    added = [each for each in objects if each["metadata"]["name"] == "podtls-enforce"]
    podtls.cluster.apply(*added)
    namespace = podtls.cluster.create_namespace("enforced", ENFORCED)
    wait_until("the policy is in force", lambda: SAYS in refusal(podtls.cluster, namespace, pod()))
    yield podtls
    for each in added:
        where = ["-n", each["metadata"]["namespace"]] if "namespace" in each["metadata"] else []
        podtls.cluster.kubectl("delete", each["kind"], each["metadata"]["name"], *where)


@pytest.fixture(scope="module")
def injected(podtls: Podtls) -> Object:
    """A pod as the webhook makes it, to be written by hand where no webhook is asked."""
    namespace = podtls.cluster.create_namespace("shop", {contract.INJECT: "enabled"})
    stored = create(podtls.cluster, namespace, pod(automountServiceAccountToken=False), dry_run=True)
    kept = ("name", "labels", "annotations")
    metadata = {key: value for key, value in stored["metadata"].items() if key in kept}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": stored["spec"]}


@pytest.fixture
def enforced(enforcing: Podtls) -> Iterator[Namespaces]:
    """Makes enforced namespaces that are not enrolled: nobody but the policy looks at their pods."""
    made: list[str] = []

    def make(labels: dict[str, str] | None = None) -> str:
        made.append(enforcing.cluster.create_namespace("enforced", ENFORCED | (labels or {})))
        return made[-1]

    yield make
    enforcing.cluster.kubectl("delete", "namespace", *made, "--wait=false")


def changed(raw: Object, change: Callable[[Any], object]) -> Object:
    copied = copy.deepcopy(raw)
    change(copied)
    return copied


def init(raw: Any, place: int) -> Any:
    return raw["spec"]["initContainers"][place]


def with_mode(raw: Object, mode: str) -> Object:
    def change(copied: Any) -> None:
        for container in copied["spec"]["initContainers"]:
            (variable,) = [each for each in container["env"] if each["name"] == contract.ENV_MODE]
            variable["value"] = mode

    return changed(raw, change)


def test_policy_has_no_expression_that_the_api_server_warns_of(enforcing: Podtls) -> None:
    policy: dict[str, Any] = {}

    def is_checked() -> bool:
        policy.update(enforcing.cluster.get("validatingadmissionpolicy", "podtls-enforce"))
        return "typeChecking" in policy.get("status", {})

    wait_until("the policy is type-checked", is_checked)

    assert policy["status"]["typeChecking"] == {}
    assert policy["status"]["observedGeneration"] == policy["metadata"]["generation"]


def test_image_that_is_demanded_is_the_one_that_is_injected(enforcing: Podtls, tmp_path: Path) -> None:
    parameters = find(rendered(tmp_path), "ConfigMap", "podtls-enforce")

    assert parameters["data"] == {"image": enforcing.init_image}


def test_injected_pod_is_admitted_through_the_webhook_and_by_hand(
    enforcing: Podtls, enrolled: Namespaces, enforced: Namespaces, injected: Object
) -> None:
    stored = create(enforcing.cluster, enrolled(ENFORCED), pod())

    assert [container["name"] for container in stored["spec"]["initContainers"]] == ["podtls-init", "podtls-nginx"]
    assert refusal(enforcing.cluster, enforced(), injected) == ""


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param(
            lambda raw: raw["metadata"]["labels"].update({contract.INJECT: "disabled"}), OPT_OUT, id="opt-out"
        ),
        pytest.param(lambda raw: raw["spec"].pop("initContainers"), NOT_INJECTED, id="the label says injected"),
        pytest.param(lambda raw: raw["spec"]["initContainers"].pop(0), NOT_INJECTED, id="no init container"),
        pytest.param(lambda raw: raw["spec"]["initContainers"].pop(), NOT_INJECTED, id="no sidecar"),
        pytest.param(
            lambda raw: init(raw, 0).update(image="example.test/x:1"), NOT_INJECTED, id="init of another image"
        ),
        pytest.param(
            lambda raw: init(raw, 1).update(image="example.test/x:1"), NOT_INJECTED, id="another sidecar image"
        ),
        pytest.param(lambda raw: init(raw, 0).update(command=["/bin/true"]), NOT_INJECTED, id="another init command"),
        pytest.param(
            lambda raw: init(raw, 1).update(command=["/bin/true"]), NOT_INJECTED, id="another sidecar command"
        ),
        pytest.param(lambda raw: init(raw, 1).pop("command"), NOT_INJECTED, id="no sidecar command"),
        pytest.param(lambda raw: init(raw, 0).update(args=["x"]), NOT_INJECTED, id="init with arguments"),
        pytest.param(lambda raw: init(raw, 1).update(args=["ready"]), NOT_INJECTED, id="sidecar with arguments"),
        pytest.param(
            lambda raw: (init(raw, 1).pop("restartPolicy"), init(raw, 1).pop("startupProbe")),
            NOT_INJECTED,
            id="sidecar that does not stay",
        ),
        pytest.param(
            lambda raw: raw["spec"]["containers"][0].update(volumeMounts=[{"name": "podtls-run", "mountPath": "/x"}]),
            MOUNTS,
            id="app mounts the key",
        ),
        pytest.param(
            lambda raw: raw["spec"]["initContainers"].append(
                {"name": "thief", "image": "x", "volumeMounts": [{"name": "podtls-token", "mountPath": "/x"}]}
            ),
            MOUNTS,
            id="init container mounts the token",
        ),
        pytest.param(
            lambda raw: init(raw, 1)["env"].append({"name": contract.ENV_MODE, "value": "permissive"}),
            WEAKER.format("mtls"),
            id="mode given twice",
        ),
    ],
)
def test_pod_that_is_not_as_injected_is_refused(
    enforcing: Podtls, enforced: Namespaces, injected: Object, change: Callable[[Any], object], said: str
) -> None:
    refused = message(refusal(enforcing.cluster, enforced(), changed(injected, change)))

    assert "ValidatingAdmissionPolicy 'podtls-enforce' with binding 'podtls-enforce' denied request: " + said in refused


MODES = {"": ("mtls",), "mtls": ("mtls",), "bogus": ("mtls",), "tls": ("mtls", "tls"), "permissive": contract.MODES}


@pytest.mark.parametrize("wanted", [pytest.param(mode, id=f"namespace {mode or 'without mode'}") for mode in MODES])
def test_pod_may_be_as_strict_as_its_namespace_or_stricter(
    enforcing: Podtls, enforced: Namespaces, injected: Object, wanted: str
) -> None:
    namespace = enforced({contract.MODE: wanted} if wanted else None)

    refused = {mode: refusal(enforcing.cluster, namespace, with_mode(injected, mode)) for mode in contract.MODES}

    assert [mode for mode, why in refused.items() if not why] == list(MODES[wanted])
    assert all(WEAKER.format(wanted or "mtls") in why for why in refused.values() if why)


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        pytest.param(pod(hostNetwork=True), NOT_INJECTED, id="host network"),
        pytest.param(pod(metadata={"labels": {contract.INJECT: "disabled"}}), OPT_OUT, id="opt-out"),
        pytest.param(pod(metadata={"annotations": {contract.MODE: "tls"}}), WEAKER.format("mtls"), id="weaker mode"),
    ],
)
def test_what_the_webhook_lets_pass_is_refused_where_it_is_enforced(
    enforcing: Podtls, enrolled: Namespaces, raw: Object, said: str
) -> None:
    assert refusal(enforcing.cluster, enrolled(), raw) == ""
    assert said in refusal(enforcing.cluster, enrolled(ENFORCED), raw)


def test_our_images_cannot_be_changed_and_the_apps_can(
    enforcing: Podtls, enforced: Namespaces, injected: Object
) -> None:
    namespace = enforced()
    create(enforcing.cluster, namespace, injected)

    enforcing.cluster.kubectl("set", "image", "pod/web", "app=example.test/app:2", "-n", namespace)
    enforcing.cluster.kubectl("label", "pod", "web", "tier=front", "-n", namespace)
    for name in ("podtls-init", "podtls-nginx"):
        with pytest.raises(KubectlError) as refused:
            enforcing.cluster.kubectl("set", "image", "pod/web", f"{name}=example.test/x:1", "-n", namespace)
        assert IMAGES in str(refused.value)


def test_pod_from_before_the_policy_can_still_be_labelled(enforcing: Podtls) -> None:
    namespace = enforcing.cluster.create_namespace("later")
    create(enforcing.cluster, namespace, pod())
    enforcing.cluster.kubectl("label", "namespace", namespace, "podtls.io/enforce=true")
    wait_until("the policy looks here", lambda: SAYS in refusal(enforcing.cluster, namespace, pod("second")))

    enforcing.cluster.kubectl("label", "pod", "web", "seen=yes", "-n", namespace)

    assert enforcing.cluster.get("pod", "web", "-n", namespace)["metadata"]["labels"] == {"seen": "yes"}


def test_ephemeral_container_is_allowed_but_not_with_our_volumes(
    enforcing: Podtls, enforced: Namespaces, injected: Object
) -> None:
    namespace = enforced()
    create(enforcing.cluster, namespace, injected)

    debug(enforcing, namespace, {"name": "debugger", "image": "example.test/debug:1"})
    for volume in ("podtls-run", "podtls-token"):
        mounts = [{"name": volume, "mountPath": "/stolen"}]
        with pytest.raises(KubectlError) as refused:
            debug(enforcing, namespace, {"name": "thief", "image": "x", "volumeMounts": mounts})
        assert EPHEMERAL in str(refused.value)


def debug(podtls: Podtls, namespace: str, container: Object) -> None:
    patch = json.dumps({"spec": {"ephemeralContainers": [container]}})
    podtls.cluster.kubectl(
        "patch", "pod", "web", "-n", namespace, "--subresource=ephemeralcontainers", "--patch", patch
    )


def test_policy_holds_while_the_webhook_is_down(
    enforcing: Podtls, enforced: Namespaces, enrolled: Namespaces, injected: Object
) -> None:
    namespace, asked = enforced(), enrolled(ENFORCED)
    enforcing.stop("webhook-front", "webhook")
    try:
        refused = refusal(enforcing.cluster, namespace, pod())
        unasked = refusal(enforcing.cluster, asked, pod())
        admitted = create(enforcing.cluster, namespace, injected)
    finally:
        enforcing.start_webhook()

    assert NOT_INJECTED in refused
    assert 'failed calling webhook "mtls-port.podtls.io"' in unasked
    assert admitted["metadata"]["name"] == "web"
