"""Manifests: ours are built as kubectl builds them, and a user's file is refused with file, object and field named."""

from pathlib import Path

import kubernetes_validate
import pytest

from lab.sandbox.errors import ManifestError
from lab.sandbox.manifests import FOLDER, SHOP, build, load, load_workloads

POD = "apiVersion: v1\nkind: Pod\nmetadata: {name: one}\nspec: {containers: [{name: a, image: a, command: [sleep]}]}\n"
SERVICE = "apiVersion: v1\nkind: Service\nmetadata: {name: one}\nspec: {ports: %s}\n"


def _write(folder: Path, text: str) -> Path:
    path = folder / "yours.yaml"
    path.write_text(text)
    return path


SHIPPED = [path for path in sorted(FOLDER.rglob("*.yaml")) if path.name != "kustomization.yaml"]
# A component is built as a part of an overlay only.
BUILT = sorted(path.parent for path in FOLDER.rglob("kustomization.yaml") if "components" not in path.parts)


@pytest.mark.parametrize("path", [pytest.param(path, id=path.name) for path in SHIPPED])
def test_every_manifest_we_ship_is_valid_strictly(path: Path) -> None:
    for raw in load(path):
        kubernetes_validate.validate(raw, "1.37", strict=True)


@pytest.mark.parametrize("folder", [pytest.param(folder, id=folder.name) for folder in BUILT])
def test_every_overlay_can_be_built(folder: Path) -> None:
    assert {"Namespace", "StatefulSet"} <= {raw["kind"] for raw in build(folder)}


def test_shop_is_something_the_demo_can_run() -> None:
    objects = {(raw["kind"], raw["metadata"]["name"]): raw for raw in load_workloads(SHOP)}

    assert ("Deployment", "checkout") in objects
    assert "podtls.io/inject" not in objects["Namespace", "shop"]["metadata"]["labels"]
    (port,) = objects["Service", "payments"]["spec"]["ports"]
    assert (port["port"], port["targetPort"]) == (443, "podtls")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param("a: [", "yours.yaml: not YAML", id="not YAML"),
        pytest.param("\x00", "yours.yaml: not YAML", id="a control character"),
        pytest.param("- 1", "#1: a Kubernetes object is a mapping, got list", id="no mapping"),
        pytest.param("kind: Pod", "#1: apiVersion is missing", id="no apiVersion"),
        pytest.param("apiVersion: v1\nkind: 7", "#1: kind is missing or not a text", id="kind is a number"),
        pytest.param("apiVersion: v1\nkind: Pod\nmetadata: x", "metadata.name is missing", id="metadata is a text"),
        pytest.param(POD + "---\nkind: Pod", "#2: apiVersion is missing", id="the second document"),
        pytest.param("", "nothing to run: no Deployment, Pod, StatefulSet", id="empty"),
        pytest.param(POD.replace("Pod", "CronJob"), "CronJob one: the demo has no CronJob", id="unknown kind"),
        pytest.param(
            POD.replace("{name: one}", "{name: one, namespace: podtls-system}"), "podtls's own", id="our namespace"
        ),
        pytest.param(
            POD + "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: podtls-system}",
            "podtls's own",
            id="our namespace itself",
        ),
        pytest.param(POD.replace(", command: [sleep]", ""), "container a has no command", id="no command"),
        pytest.param(POD.replace(", image: a", ""), "Pod one: not a Pod: KeyError\\('image'\\)", id="no image"),
        pytest.param(POD.replace("containers:", "boxes:"), "spec.containers is empty", id="no containers"),
        pytest.param(POD.replace("Pod", "Service").replace("spec", "x"), "not a Service: KeyError", id="no spec"),
        pytest.param(SERVICE % "[1]", "not a Service: TypeError", id="a port that is no mapping"),
        pytest.param(
            SERVICE % "[{port: https}]", r"each port is a number, got \['https'\]", id="a port without number"
        ),
        pytest.param(POD.replace("Pod", "Deployment"), "not a Deployment: KeyError", id="no template"),
    ],
)
def test_file_that_cannot_be_run_is_refused_with_the_place(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(ManifestError, match=reason):
        load_workloads(_write(tmp_path, text))


def test_what_an_anchor_repeats_is_not_shared(tmp_path: Path) -> None:
    text = POD.replace("spec: {", "spec: {initContainers: [{name: b, image: a, command: [x], env: &e [{name: X}]}], ")
    (pod,) = load(_write(tmp_path, text.replace("{name: a, image", "{name: a, env: *e, image")))

    pod["spec"]["containers"][0]["env"].append({"name": "Y"})

    assert pod["spec"]["initContainers"][0]["env"] == [{"name": "X"}]


def test_folder_without_a_kustomization_says_what_is_needed(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="runs from a checkout of the repository"):
        build(tmp_path)
