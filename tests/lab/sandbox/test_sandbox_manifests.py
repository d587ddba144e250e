"""Manifests: ours are built as kubectl builds them, and a user's file is refused with file, object and field named."""

import subprocess
import sysconfig
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from lab.sandbox.errors import ManifestError
from lab.sandbox.manifests import CONTROL_PLANE, FOLDER, SHOP, build, load, load_workloads

POD = "apiVersion: v1\nkind: Pod\nmetadata: {name: one}\nspec: {containers: [{name: a, image: a, command: [sleep]}]}\n"
SERVICE = "apiVersion: v1\nkind: Service\nmetadata: {name: one}\nspec: {ports: %s}\n"


def _write(folder: Path, text: str) -> Path:
    path = folder / "yours.yaml"
    path.write_text(text)
    return path


def _by_name(objects: list[dict[str, Any]]) -> dict[tuple[str, str], dict[str, Any]]:
    return {(raw["kind"], raw["metadata"]["name"]): raw for raw in objects}


def test_control_plane_is_built_as_kubectl_builds_it() -> None:
    kubectl = subprocess.run(
        [str(Path(sysconfig.get_path("scripts"), "kubectl")), "kustomize", str(CONTROL_PLANE)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )

    ours = build(CONTROL_PLANE)

    assert _by_name(ours) == _by_name(list(yaml.safe_load_all(kubectl.stdout)))


@pytest.mark.parametrize("path", [pytest.param(path, id=path.name) for path in sorted(FOLDER.rglob("*.yaml"))])
def test_every_manifest_we_ship_is_valid_strictly(path: Path) -> None:
    if path.name == "kustomization.yaml":
        assert build(path.parent)
        return

    for raw in load(path):
        kubernetes_validate.validate(raw, "1.37", strict=True)


def test_shop_is_something_the_demo_can_run() -> None:
    objects = _by_name(load_workloads(SHOP))

    assert ("Deployment", "checkout") in objects
    assert "podtls.io/inject" not in objects["Namespace", "shop"]["metadata"]["labels"]
    (port,) = objects["Service", "payments"]["spec"]["ports"]
    assert (port["port"], port["targetPort"]) == (443, "podtls")


def test_list_is_taken_apart_and_empty_documents_are_skipped(tmp_path: Path) -> None:
    items = [{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}} for name in ("a", "b")]
    path = _write(tmp_path, "---\n---\n" + yaml.safe_dump({"apiVersion": "v1", "kind": "List", "items": items}))

    assert [raw["metadata"]["name"] for raw in load(path)] == ["a", "b"]


def test_object_without_a_namespace_is_in_default(tmp_path: Path) -> None:
    (pod,) = load_workloads(_write(tmp_path, POD))

    assert pod["metadata"]["namespace"] == "default"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param("a: [", "yours.yaml: line 2: not YAML", id="not YAML"),
        pytest.param("a: 1\na: 2", "yours.yaml: line 2: key 'a' stands twice", id="a key twice"),
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


def test_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"missing\.yaml: No such file or directory"):
        load(tmp_path / "missing.yaml")


def test_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "yours.yaml"
    path.write_bytes(b"\xff\xfe")

    with pytest.raises(ManifestError, match=r"yours\.yaml: not UTF-8"):
        load(path)


def test_what_an_anchor_repeats_is_not_shared(tmp_path: Path) -> None:
    text = POD.replace("spec: {", "spec: {initContainers: [{name: b, image: a, command: [x], env: &e [{name: X}]}], ")
    (pod,) = load(_write(tmp_path, text.replace("{name: a, image", "{name: a, env: *e, image")))

    pod["spec"]["containers"][0]["env"].append({"name": "Y"})

    assert pod["spec"]["initContainers"][0]["env"] == [{"name": "X"}]


def test_folder_without_a_kustomization_says_what_is_needed(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="runs from a checkout of the repository"):
        build(tmp_path)


@pytest.mark.parametrize(
    ("patch", "reason"),
    [
        pytest.param("{kind: Service}", "no object for the patch", id="chooses nothing"),
        pytest.param("{kind: Pod}", "does not fit", id="does not fit"),
    ],
)
def test_patch_that_does_nothing_is_refused(tmp_path: Path, patch: str, reason: str) -> None:
    _write(tmp_path, POD)
    operation = "[{op: replace, path: /spec/nothing, value: 1}]"
    (tmp_path / "kustomization.yaml").write_text(
        f"resources: [yours.yaml]\npatches:\n- target: {patch}\n  patch: '{operation}'\n"
    )

    with pytest.raises(ManifestError, match=reason):
        build(tmp_path)
