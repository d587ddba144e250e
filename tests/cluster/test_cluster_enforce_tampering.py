"""components/enforce on a real kube-apiserver: our containers are as podtls writes them, and their key stays theirs.

Nearly every namespace here is left out by the webhook, which would put right what these pods have wrong.
"""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from contract.names import ENV_CA_URL, ENV_MODE, ENV_PORTS, INJECT, INJECTED
from lab.cluster.errors import KubectlError
from lab.cluster.podtls_local import Podtls
from lab.cluster.processes import wait_until
from tests.cluster.api import Object, create, message, pod, refusal
from tests.cluster.conftest import Namespaces
from tests.cluster.enforcement import (
    BY_HAND,
    DENIED,
    ENFORCED,
    UNASKED,
    as_injected,
    changed,
    in_force,
    init,
    set_in_both,
    set_variable,
    sidecar,
)

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

NOT_INJECTED = "the pod does not carry podtls-init and podtls-nginx; is the webhook running?"
LABEL = "the pod does not carry the label podtls.io/injected=true."
ORDER = "podtls-init must stand before podtls-nginx."
IMAGE = "the image of podtls-init and podtls-nginx must be localhost/podtls-init:dev."
PROGRAM = (
    "what podtls-init and podtls-nginx run (command, args, workingDir, restartPolicy, lifecycle, probes) is not what "
    "podtls writes."
)
ENVIRONMENT = (
    "podtls-init and podtls-nginx must have the same environment, and no variables but those that podtls writes."
)
CA = "PODTLS_CA_URL of podtls-init and podtls-nginx must be https://podtls-ca.podtls-system.svc."
WEAKER = "podtls.io/mode of the pod is weaker than the namespace's mode mtls; remove the annotation podtls.io/mode."
RIGHT = "the securityContext of podtls-init and podtls-nginx is weaker than what podtls writes."
VOLUMES = "the volumes named podtls-*, or what podtls-init and podtls-nginx mount, are not what podtls writes."
FOREIGN = "only podtls's own containers may mount volumes named podtls-*."
PROCESSES = "shareProcessNamespace and hostPID are not allowed; they let other containers read the pod's key."
CHANGED = "the images of podtls-init and podtls-nginx may not be changed."
TAKEN_OFF = "the label podtls.io/injected=true may not be taken off."
MOUNTED = "ephemeral containers may not mount volumes named podtls-*."
TARGET = "ephemeral containers may not target podtls-init or podtls-nginx, whose processes give the pod's key away."
RUN = {"exec": {"command": ["/bin/true"]}}
OTHER = "example.test/x:1"
# More than anybody has: the API server evaluates expressions up to a cost only.
DATA = [{"name": f"data-{index}", "emptyDir": {}} for index in range(100)]
MANY: list[Object] = [
    {
        "name": f"app-{index}",
        "image": OTHER,
        "env": [{"name": f"X{number}", "value": "x"} for number in range(50)],
        "volumeMounts": [{"name": each["name"], "mountPath": f"/data/{each['name']}"} for each in DATA],
    }
    for index in range(100)
]

Change = Callable[[Any], object]


@pytest.fixture(scope="module")
def enforcing(podtls: Podtls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Podtls]:
    """The cluster with the component, in force."""
    with in_force(podtls, tmp_path_factory.mktemp("enforce")) as started:
        yield started


@pytest.fixture(scope="module")
def injected(podtls: Podtls) -> Object:
    """A pod as the webhook makes it."""
    return as_injected(podtls)


@pytest.fixture
def namespace(enforcing: Podtls) -> Iterator[str]:
    """A namespace, enrolled and enforced, where nobody but the policy looks at pods."""
    made = enforcing.cluster.create_namespace("enforced", BY_HAND)
    yield made
    enforcing.cluster.kubectl("delete", "namespace", made, "--wait=false")


def in_both(raw: Any, **fields: Any) -> None:
    init(raw).update(fields)
    sidecar(raw).update(fields)


def add_variable(raw: Any, name: str, value: str, *, both: bool = True) -> None:
    for container in (init(raw), sidecar(raw))[not both :]:
        container["env"].append({"name": name, "value": value})


def drop_variable(raw: Any, name: str) -> None:
    for container in (init(raw), sidecar(raw)):
        container["env"] = [each for each in container["env"] if each["name"] != name]


def read_variable(raw: Any, name: str) -> None:
    """Another source for a variable, which the API server does not look into."""
    drop_variable(raw, name)
    for container in (init(raw), sidecar(raw)):
        container["env"].append({"name": name, "valueFrom": {"configMapKeyRef": {"name": "x", "key": "x"}}})


def rights(raw: Any) -> Any:
    return sidecar(raw)["securityContext"]


def make_volume(raw: Any, name: str, **source: Any) -> None:
    (found,) = [each for each in raw["spec"]["volumes"] if each["name"] == name]
    found.clear()
    found.update(name=name, **source)


def add_mount(raw: Any, place: str) -> None:
    raw["spec"]["volumes"].append({"name": "mine", "configMap": {"name": "mine"}})
    sidecar(raw)["volumeMounts"].append({"name": "mine", "mountPath": place})


def mount_in_app(raw: Any, name: str) -> None:
    raw["spec"]["containers"][0]["volumeMounts"] = [{"name": name, "mountPath": "/x"}]


def add_init(raw: Any, place: int, **fields: Any) -> None:
    raw["spec"]["initContainers"].insert(place, {"name": "mine", "image": OTHER, **fields})


SHAPE = [
    pytest.param(NOT_INJECTED, lambda raw: raw["spec"].pop("initContainers"), id="nothing of ours"),
    pytest.param(NOT_INJECTED, lambda raw: raw["spec"]["initContainers"].pop(0), id="no init container"),
    pytest.param(NOT_INJECTED, lambda raw: raw["spec"]["initContainers"].pop(), id="no sidecar"),
    pytest.param(LABEL, lambda raw: raw["metadata"].pop("labels"), id="no labels"),
    pytest.param(LABEL, lambda raw: raw["metadata"]["labels"].update({INJECTED: "no"}), id="another label"),
    pytest.param(ORDER, lambda raw: raw["spec"]["initContainers"].reverse(), id="wrong order"),
    pytest.param(IMAGE, lambda raw: init(raw).update(image=OTHER), id="init of another image"),
    pytest.param(IMAGE, lambda raw: sidecar(raw).update(image=OTHER), id="sidecar of another image"),
]
PROGRAMS = [
    pytest.param(PROGRAM, lambda raw: init(raw).update(command=["/bin/true"]), id="another init command"),
    pytest.param(PROGRAM, lambda raw: init(raw).pop("command"), id="no init command"),
    pytest.param(PROGRAM, lambda raw: sidecar(raw).update(command=["/bin/true"]), id="another sidecar command"),
    pytest.param(PROGRAM, lambda raw: sidecar(raw).pop("command"), id="no sidecar command"),
    pytest.param(PROGRAM, lambda raw: init(raw).update(args=["x"]), id="init with arguments"),
    pytest.param(PROGRAM, lambda raw: sidecar(raw).update(args=["ready"]), id="sidecar with arguments"),
    pytest.param(PROGRAM, lambda raw: init(raw).update(workingDir="/x"), id="init in another folder"),
    pytest.param(PROGRAM, lambda raw: init(raw).update(restartPolicy="Always"), id="init that never ends"),
    pytest.param(
        PROGRAM,
        lambda raw: [sidecar(raw).pop(name) for name in ("restartPolicy", "startupProbe")],
        id="sidecar that does not stay",
    ),
    pytest.param(PROGRAM, lambda raw: sidecar(raw).update(lifecycle={"postStart": RUN}), id="hook"),
    pytest.param(PROGRAM, lambda raw: sidecar(raw).update(livenessProbe=RUN), id="liveness probe"),
    pytest.param(PROGRAM, lambda raw: sidecar(raw).update(readinessProbe=RUN), id="readiness probe"),
    pytest.param(PROGRAM, lambda raw: sidecar(raw).update(startupProbe=RUN), id="another startup probe"),
    pytest.param(PROGRAM, lambda raw: sidecar(raw).pop("startupProbe"), id="no startup probe"),
]
SETTINGS = [
    pytest.param(ENVIRONMENT, lambda raw: add_variable(raw, "LD_PRELOAD", "/x"), id="variable of the loader"),
    pytest.param(ENVIRONMENT, lambda raw: add_variable(raw, "PODTLS_EDGE", "ca"), id="edge proxy"),
    pytest.param(ENVIRONMENT, lambda raw: in_both(raw, envFrom=[{"secretRef": {"name": "x"}}]), id="envFrom"),
    pytest.param(ENVIRONMENT, lambda raw: set_variable(init(raw), ENV_MODE, "tls"), id="weaker mode in init"),
    pytest.param(ENVIRONMENT, lambda raw: init(raw).pop("env"), id="init without environment"),
    pytest.param(ENVIRONMENT, lambda raw: sidecar(raw).pop("env"), id="sidecar without environment"),
    pytest.param(ENVIRONMENT, lambda raw: add_variable(raw, ENV_PORTS, "", both=False), id="ports shut off"),
    pytest.param(CA, lambda raw: set_in_both(raw, ENV_CA_URL, "https://ca.test"), id="another CA"),
    pytest.param(CA, lambda raw: add_variable(raw, ENV_CA_URL, "https://ca.test"), id="a second CA"),
    pytest.param(CA, lambda raw: read_variable(raw, ENV_CA_URL), id="CA from a ConfigMap"),
    pytest.param(CA, lambda raw: [each.pop("env") for each in (init(raw), sidecar(raw))], id="no environment"),
    pytest.param(WEAKER, lambda raw: set_in_both(raw, ENV_MODE, "tls"), id="weaker mode"),
    pytest.param(WEAKER, lambda raw: add_variable(raw, ENV_MODE, "permissive"), id="mode given twice"),
    pytest.param(WEAKER, lambda raw: read_variable(raw, ENV_MODE), id="mode from a ConfigMap"),
    pytest.param(WEAKER, lambda raw: drop_variable(raw, ENV_MODE), id="no mode"),
]
PRIVILEGED = {"privileged": True, "allowPrivilegeEscalation": True}
RIGHTS = [
    pytest.param(RIGHT, lambda raw: sidecar(raw).pop("securityContext"), id="no securityContext"),
    pytest.param(RIGHT, lambda raw: rights(raw).update(PRIVILEGED), id="privileged"),
    pytest.param(RIGHT, lambda raw: rights(raw).update(allowPrivilegeEscalation=True), id="may escalate"),
    pytest.param(RIGHT, lambda raw: rights(raw).pop("allowPrivilegeEscalation"), id="may escalate by default"),
    pytest.param(RIGHT, lambda raw: rights(raw).pop("capabilities"), id="all usual capabilities"),
    pytest.param(RIGHT, lambda raw: rights(raw)["capabilities"].update(add=["SYS_PTRACE"]), id="one capability"),
    pytest.param(RIGHT, lambda raw: rights(raw).update(readOnlyRootFilesystem=False), id="writable programs"),
    pytest.param(RIGHT, lambda raw: rights(raw).pop("runAsNonRoot"), id="may be root"),
    pytest.param(RIGHT, lambda raw: init(raw)["securityContext"].pop("runAsNonRoot"), id="init may be root"),
]
KEY = [
    pytest.param(VOLUMES, lambda raw: add_mount(raw, "/opt/podtls/bin"), id="mount over our programs"),
    pytest.param(VOLUMES, lambda raw: init(raw)["volumeMounts"].pop(0), id="init without the key's volume"),
    pytest.param(VOLUMES, lambda raw: init(raw).pop("volumeMounts"), id="init that mounts nothing"),
    pytest.param(VOLUMES, lambda raw: sidecar(raw)["volumeMounts"][0].update(subPath="x"), id="part of a volume"),
    pytest.param(
        VOLUMES, lambda raw: sidecar(raw)["volumeMounts"][0].update(subPathExpr="$(PODTLS_MODE)"), id="computed part"
    ),
    pytest.param(
        VOLUMES, lambda raw: make_volume(raw, "podtls-run", hostPath={"path": "/x"}), id="key on the node's disk"
    ),
    pytest.param(VOLUMES, lambda raw: make_volume(raw, "podtls-run", emptyDir={}), id="key not in memory"),
    pytest.param(
        VOLUMES, lambda raw: make_volume(raw, "podtls-token", secret={"secretName": "x"}), id="token of a Secret"
    ),
    pytest.param(
        VOLUMES, lambda raw: make_volume(raw, "podtls-no-api", hostPath={"path": "/"}), id="node in place of no token"
    ),
    pytest.param(
        VOLUMES, lambda raw: raw["spec"]["volumes"].append({"name": "podtls-x", "emptyDir": {}}), id="a volume more"
    ),
    pytest.param(FOREIGN, lambda raw: mount_in_app(raw, "podtls-run"), id="app mounts the key"),
    pytest.param(
        FOREIGN,
        lambda raw: add_init(raw, 2, volumeMounts=[{"name": "podtls-token", "mountPath": "/x"}]),
        id="init container mounts the token",
    ),
    pytest.param(PROCESSES, lambda raw: raw["spec"].update(shareProcessNamespace=True), id="shared processes"),
    pytest.param(PROCESSES, lambda raw: raw["spec"].update(hostPID=True), id="processes of the node"),
]


@pytest.mark.parametrize(("said", "change"), [*SHAPE, *PROGRAMS, *SETTINGS, *RIGHTS, *KEY])
def test_pod_that_is_not_as_podtls_makes_it_is_refused(
    enforcing: Podtls, namespace: str, injected: Object, said: str, change: Change
) -> None:
    refused = message(refusal(enforcing.cluster, namespace, changed(injected, change)))

    assert DENIED + said in refused


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda raw: in_both(raw, imagePullPolicy="Always"), id="AlwaysPullImages"),
        pytest.param(lambda raw: in_both(raw, resources={"limits": {"memory": "128Mi"}}), id="LimitRanger"),
        pytest.param(lambda raw: [rights(raw).pop(name) for name in ("runAsUser", "runAsGroup")], id="platform's uid"),
        pytest.param(
            lambda raw: raw["spec"].update(shareProcessNamespace=False, os={"name": "linux"}), id="defaults spelt out"
        ),
        pytest.param(lambda raw: raw["spec"].update(nodeSelector={"kubernetes.io/os": "linux"}), id="linux nodes"),
        pytest.param(lambda raw: add_init(raw, 0, command=["/x"]), id="init container of the app before ours"),
        pytest.param(
            lambda raw: add_init(raw, 1, restartPolicy="Always", livenessProbe=RUN), id="sidecar of the app between"
        ),
        pytest.param(
            lambda raw: raw["spec"]["containers"][0].update(
                args=["x"], workingDir="/x", lifecycle={"postStart": RUN}, envFrom=[{"secretRef": {"name": "x"}}]
            ),
            id="app has what ours may not have",
        ),
        pytest.param(
            lambda raw: raw["spec"].update(
                volumes=[*raw["spec"]["volumes"], {"name": "data", "hostPath": {"path": "/x"}}],
                containers=[{**raw["spec"]["containers"][0], "volumeMounts": [{"name": "data", "mountPath": "/x"}]}],
            ),
            id="app has a volume of its own",
        ),
        pytest.param(
            lambda raw: raw["spec"].update(containers=MANY, volumes=[*raw["spec"]["volumes"], *DATA]), id="big"
        ),
    ],
)
def test_pod_may_differ_in_what_is_its_own(enforcing: Podtls, namespace: str, injected: Object, change: Change) -> None:
    assert refusal(enforcing.cluster, namespace, changed(injected, change)) == ""


def test_our_images_cannot_be_changed_and_the_apps_can(enforcing: Podtls, namespace: str, injected: Object) -> None:
    create(enforcing.cluster, namespace, injected)

    enforcing.cluster.kubectl("set", "image", "pod/web", "app=example.test/app:2", "-n", namespace)

    for name in ("podtls-init", "podtls-nginx"):
        assert CHANGED in refused_command(enforcing, "set", "image", "pod/web", f"{name}={OTHER}", "-n", namespace)


def test_our_label_cannot_be_taken_off_and_others_can(enforcing: Podtls, namespace: str, injected: Object) -> None:
    create(enforcing.cluster, namespace, injected)

    for label in ("tier=front", "tier=back", "tier-"):
        enforcing.cluster.kubectl("label", "pod", "web", label, "--overwrite", "-n", namespace)

    for label in ("podtls.io/injected-", "podtls.io/injected=false"):
        refused = refused_command(enforcing, "label", "pod", "web", label, "--overwrite", "-n", namespace)
        assert TAKEN_OFF in refused


def test_debugger_may_look_at_the_app_and_not_at_our_processes(
    enforcing: Podtls, namespace: str, injected: Object
) -> None:
    create(enforcing.cluster, namespace, injected)
    debug = ["debug", "web", "--image=example.test/debug:1", "--attach=false", "-n", namespace]

    enforcing.cluster.kubectl(*debug)
    enforcing.cluster.kubectl(*debug, "--target=app")

    for name in ("podtls-init", "podtls-nginx"):
        assert TARGET in refused_command(enforcing, *debug, f"--target={name}")
    stored = enforcing.cluster.get("pod", "web", "-n", namespace)["spec"]["ephemeralContainers"]
    assert [each.get("targetContainerName") for each in stored] == [None, "app"]


def test_copy_to_debug_is_admitted_where_it_does_not_share_processes(enforcing: Podtls, enrolled: Namespaces) -> None:
    asked = enrolled(ENFORCED)
    create(enforcing.cluster, asked, pod())
    copy = ["debug", "web", "--copy-to=copy", "--image=example.test/debug:1", "--attach=false", "-n", asked]

    assert PROCESSES in refused_command(enforcing, *copy)
    enforcing.cluster.kubectl(*copy, "--share-processes=false")

    stored = enforcing.cluster.get("pod", "copy", "-n", asked)
    assert stored["metadata"]["labels"][INJECTED] == "true"


@pytest.mark.parametrize("volume", ["podtls-run", "podtls-token", "podtls-no-api"])
def test_ephemeral_container_may_not_mount_our_volumes(
    enforcing: Podtls, namespace: str, injected: Object, volume: str
) -> None:
    create(enforcing.cluster, namespace, injected)
    thief = {"name": "thief", "image": "x", "volumeMounts": [{"name": volume, "mountPath": "/stolen"}]}
    patch = json.dumps({"spec": {"ephemeralContainers": [thief]}})

    refused = refused_command(
        enforcing, "patch", "pod", "web", "-n", namespace, "--subresource=ephemeralcontainers", "--patch", patch
    )

    assert MOUNTED in refused


def test_debugger_from_before_the_label_does_not_keep_a_pod_from_being_changed(
    enforcing: Podtls, injected: Object
) -> None:
    namespace = enforcing.cluster.create_namespace("later", {INJECT: "enabled", **UNASKED})
    create(enforcing.cluster, namespace, injected)
    debug = ["debug", "web", "--image=example.test/debug:1", "--attach=false", "-n", namespace]
    enforcing.cluster.kubectl(*debug, "--target=podtls-nginx")
    enforcing.cluster.kubectl("label", "namespace", namespace, "podtls.io/enforce=true")
    bare = changed(injected, lambda raw: raw["spec"].pop("initContainers"))
    wait_until("the policy looks here", lambda: NOT_INJECTED in refusal(enforcing.cluster, namespace, bare))

    enforcing.cluster.kubectl("label", "pod", "web", "seen=yes", "-n", namespace)
    enforcing.cluster.kubectl(*debug)

    assert TARGET in refused_command(enforcing, *debug, "--target=podtls-nginx")


def refused_command(podtls: Podtls, *arguments: str) -> str:
    with pytest.raises(KubectlError) as refused:
        podtls.cluster.kubectl(*arguments)
    return str(refused.value)
