"""`podtls manifests`: what it writes is what the repository has, with the images set, as real kubectl renders it."""

import subprocess
import sysconfig
from pathlib import Path
from typing import Any

import pytest
import yaml

from contract.names import VERSION
from tests.podtls.conftest import Run

REPOSITORY = Path(__file__).parents[2] / "manifests"
KUBECTL = Path(sysconfig.get_path("scripts"), "kubectl")
DIGEST = "sha256:" + "0" * 64
REGISTRY = "registry.example.test:5000/team"


def render(folder: Path) -> str:
    done = subprocess.run([KUBECTL, "kustomize", folder], capture_output=True, text=True, check=True, timeout=60)
    return done.stdout


def images(rendered: str) -> set[str]:
    """Every image of containers, and the one that the webhook injects."""

    def find(value: Any) -> list[str]:
        if isinstance(value, list):
            return [found for item in value for found in find(item)]
        if not isinstance(value, dict):
            return []
        named = [value[key] for key in ("image",) if isinstance(value.get(key), str)]
        injected = [value["value"]] if value.get("name") == "PODTLS_INIT_IMAGE" else []
        return [*named, *injected, *find(list(value.values()))]

    return set(find(list(yaml.safe_load_all(rendered))))


@pytest.mark.parametrize("overlay", ["default", "ephemeral"])
def test_overlays_without_options_are_those_of_the_repository(overlay: str, run: Run, tmp_path: Path) -> None:
    outcome = run("manifests", tmp_path / "to")

    assert outcome.code == 0
    assert render(tmp_path / "to/overlays" / overlay) == render(REPOSITORY / "overlays" / overlay)


@pytest.mark.parametrize("overlay", ["default", "ephemeral"])
def test_registry_sets_both_images_and_nothing_else(overlay: str, run: Run, tmp_path: Path) -> None:
    run("manifests", tmp_path, "--registry", REGISTRY)

    rendered = render(tmp_path / "overlays" / overlay)
    assert images(rendered) == {f"{REGISTRY}/podtls-webhook:{VERSION}", f"{REGISTRY}/podtls-init:{VERSION}"}
    local = rendered.replace(f"{REGISTRY}/podtls-", "localhost/podtls-").replace(
        f"podtls-init:{VERSION}", "podtls-init:dev"
    )
    assert local.replace(f"podtls-webhook:{VERSION}", "podtls-webhook:dev") == render(REPOSITORY / "overlays" / overlay)


def test_images_are_named_one_by_one_by_tag_or_digest(run: Run, tmp_path: Path) -> None:
    control, init = f"{REGISTRY}/own-webhook:1.2", f"{REGISTRY}/own-init@{DIGEST}"

    outcome = run("manifests", tmp_path, "--registry", "r.example.test", "--image", control, "--init-image", init)

    assert outcome.err == ""
    assert images(render(tmp_path / "overlays/default")) == {control, init}


def test_component_demands_the_image_that_was_named(run: Run, tmp_path: Path) -> None:
    run("manifests", tmp_path / "to", "--registry", REGISTRY)
    own = {"resources": ["../to/overlays/default"], "components": ["../to/components/enforce"]}
    (tmp_path / "own").mkdir()
    (tmp_path / "own/kustomization.yaml").write_text(yaml.safe_dump(own))

    assert f"'{REGISTRY}/podtls-init:{VERSION}'" in render(tmp_path / "own")


def test_comments_of_the_overlay_stay_and_only_the_images_change(run: Run, tmp_path: Path) -> None:
    run("manifests", tmp_path, "--image", f"{REGISTRY}/podtls-webhook:1.2")

    path = "overlays/default/kustomization.yaml"
    before, after = (REPOSITORY / path).read_text().splitlines(), (tmp_path / path).read_text().splitlines()
    assert [line for line in before if line not in after] == []
    assert [line for line in after if line not in before] == [
        f"    newName: {REGISTRY}/podtls-webhook",
        "    newTag: '1.2'",
    ]


def test_what_to_type_next_and_an_image_that_nobody_named_are_told(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "a b"

    outcome = run("manifests", folder, "--image", f"{REGISTRY}/podtls-webhook:1.2")

    assert outcome.out.splitlines()[1:] == [f"  kubectl apply -k '{folder}/overlays/default'", "  podtls check"]
    assert outcome.err == (
        "podtls: image localhost/podtls-init:dev stays as it is; nodes must have it, or name another\n"
    )


def test_folder_that_is_not_empty_is_left_alone_unless_forced(run: Run, tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "base/ca.yaml").write_text("mine")
    (tmp_path / "mine.yaml").write_text("mine")

    refused = run("manifests", tmp_path)
    kept = sorted(path.name for path in tmp_path.rglob("*.yaml"))
    forced = run("manifests", tmp_path, "--force")

    assert (refused.code, refused.out, kept) == (64, "", ["ca.yaml", "mine.yaml"])
    assert refused.err == f"podtls: {tmp_path}: not empty; --force writes into it all the same\n"
    assert forced.code == 0
    assert (tmp_path / "base/ca.yaml").read_bytes() == (REPOSITORY / "base/ca.yaml").read_bytes()
    assert (tmp_path / "mine.yaml").read_text() == "mine"


@pytest.mark.parametrize("image", [f"{REGISTRY}/podtls-webhook", "podtls-webhook", ":1"], ids=["port", "bare", "tag"])
def test_image_without_tag_or_digest_is_refused_and_nothing_is_written(image: str, run: Run, tmp_path: Path) -> None:
    outcome = run("manifests", tmp_path / "to", "--init-image", image)

    assert outcome.code == 64
    assert outcome.err.startswith(f"podtls: got image {image!r}, expected one with a tag or a digest")
    assert not (tmp_path / "to").exists()


def test_folder_that_cannot_be_made_is_named(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    outcome = run("manifests", tmp_path / "file")

    assert (outcome.code, outcome.err) == (64, f"podtls: {tmp_path}/file: Not a directory\n")
