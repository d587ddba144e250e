"""components/enforce put in force in a cluster, and pods to hold against it. Knows no rule of the policy."""

import copy
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import yaml

from contract.names import INJECT
from lab.cluster.installation import CONFIGURATION, MANIFESTS, render
from lab.cluster.podtls_local import Podtls
from lab.cluster.processes import wait_until
from tests.cluster.api import Object, create, pod, refusal

ENFORCED: Final = {"podtls.io/enforce": "true"}
# A namespace with this label is left out by the webhook configuration, for as long as the component is in force here.
UNASKED: Final = {"podtls.test/unasked": "true"}
# Enrolled and enforced, and nobody but the policy looks at its pods.
BY_HAND: Final = {INJECT: "enabled", **ENFORCED, **UNASKED}
SAYS: Final = "podtls.io/enforce=true on the namespace: "
DENIED: Final = f"ValidatingAdmissionPolicy 'podtls-enforce' with binding 'podtls-enforce' denied request: {SAYS}"
KUSTOMIZATION: Final = """\
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [{default}]
components: [{enforce}]
{patches}
"""
_SELECTOR: Final = {"key": "podtls.test/unasked", "operator": "DoesNotExist"}


def rendered(folder: Path, *, manifests: Path = MANIFESTS, patches: str = "") -> list[Object]:
    """Policy and binding, as somebody gets them who adds the component on top of overlays/default, with patches."""
    paths = {"default": manifests / "overlays/default", "enforce": manifests / "components/enforce"}
    relative = {name: os.path.relpath(path, folder) for name, path in paths.items()}
    (folder / "kustomization.yaml").write_text(KUSTOMIZATION.format(**relative, patches=patches))
    return [each for each in render(folder) if each["metadata"]["name"] == "podtls-enforce"]


def with_images(folder: Path, registry: str, tag: str) -> Path:
    """A copy of our manifests in this folder, its images set as for a release."""
    manifests = shutil.copytree(MANIFESTS, folder / "manifests")
    path = manifests / "overlays/default/kustomization.yaml"
    kustomization = yaml.safe_load(path.read_text())
    for image in kustomization["images"]:
        image |= {"newName": image["name"].replace("localhost", registry), "newTag": tag}
    path.write_text(yaml.safe_dump(kustomization))
    return manifests


@contextmanager
def in_force(podtls: Podtls, folder: Path) -> Iterator[Podtls]:
    """The cluster with the component, and with a webhook that leaves namespaces labelled UNASKED to the policy.

    The component stays in the cluster: no namespace of other tests has its label.
    """
    podtls.cluster.apply(*rendered(folder))
    _select(podtls, lambda place, _: {"op": "add", "path": f"{place}/-", "value": _SELECTOR})
    try:
        namespace = podtls.cluster.create_namespace("enforced", BY_HAND)
        wait_until("the policy alone looks", lambda: SAYS in refusal(podtls.cluster, namespace, pod()))
        yield podtls
    finally:
        _select(podtls, lambda place, count: {"op": "remove", "path": f"{place}/{count - 1}"})


def as_injected(podtls: Podtls) -> Object:
    """A pod as the webhook makes it, to be written by hand where no webhook is asked."""
    namespace = podtls.cluster.create_namespace("shop", {INJECT: "enabled"})
    stored = create(podtls.cluster, namespace, pod(automountServiceAccountToken=False), dry_run=True)
    kept = ("name", "labels", "annotations")
    metadata = {key: value for key, value in stored["metadata"].items() if key in kept}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": stored["spec"]}


def changed(raw: Object, change: Callable[[Any], object]) -> Object:
    """A copy of the pod, changed."""
    copied = copy.deepcopy(raw)
    change(copied)
    return copied


def init(raw: Any) -> Any:
    """podtls-init in a pod as the webhook makes it."""
    return raw["spec"]["initContainers"][0]


def sidecar(raw: Any) -> Any:
    """podtls-nginx in a pod as the webhook makes it."""
    return raw["spec"]["initContainers"][1]


def set_in_both(raw: Any, name: str, value: str) -> None:
    """Give an environment variable of our two containers another value."""
    for container in (init(raw), sidecar(raw)):
        set_variable(container, name, value)


def set_variable(container: Any, name: str, value: str) -> None:
    """Give an environment variable of one container another value."""
    (variable,) = [each for each in container["env"] if each["name"] == name]
    variable["value"] = value


def _select(podtls: Podtls, operation: Callable[[str, int], Object]) -> None:
    patch = json.dumps([operation(place, count) for place, count in _places(podtls).items()])
    podtls.cluster.kubectl("patch", "mutatingwebhookconfiguration", CONFIGURATION, "--type", "json", "--patch", patch)


def _places(podtls: Podtls) -> dict[str, int]:
    """The namespaceSelector of every entry, as a JSON pointer, with the number of its expressions."""
    entries = podtls.cluster.get("mutatingwebhookconfiguration", CONFIGURATION)["webhooks"]
    return {
        f"/webhooks/{index}/namespaceSelector/matchExpressions": len(entry["namespaceSelector"]["matchExpressions"])
        for index, entry in enumerate(entries)
    }
