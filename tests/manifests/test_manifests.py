"""The manifests as real `kubectl kustomize` renders them: valid, labelled, and with their images set in one place."""

import copy
import os
import re
import shutil
import subprocess
import sysconfig
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from contract.names import AUDIENCE, CAPTURES, EDGE_PORT, MODES, PORT_NAME

FOLDER = Path(__file__).parents[2] / "manifests"
INSTALL = Path(__file__).parents[2] / "docs/install.md"
KUBECTL = Path(sysconfig.get_path("scripts"), "kubectl")
OVERLAYS = sorted(path.parent.name for path in FOLDER.glob("overlays/*/kustomization.yaml"))
COMPONENTS = sorted(path.parent.name for path in FOLDER.glob("components/*/kustomization.yaml"))
SCHEMAS = ("1.33", "1.37")
REGISTRY = "registry.example.test:5000/team"
LABELS = {"app.kubernetes.io/name": "podtls", "app.kubernetes.io/part-of": "podtls"}
SECURE = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}

Object = dict[str, Any]


def kustomize(folder: Path) -> list[Object]:
    rendered = subprocess.run(
        [KUBECTL, "kustomize", folder], capture_output=True, text=True, check=True, timeout=60
    ).stdout
    return list(yaml.safe_load_all(rendered))


@cache
def overlay(name: str) -> list[Object]:
    return kustomize(FOLDER / "overlays" / name)


def with_components(manifests: Path, folder: Path) -> list[Object]:
    """overlays/default with every component on top, as somebody's own overlay would have it."""
    folder.mkdir(exist_ok=True)
    resources = [os.path.relpath(manifests / "overlays/default", folder)]
    components = [os.path.relpath(manifests / "components" / name, folder) for name in COMPONENTS]
    (folder / "kustomization.yaml").write_text(yaml.safe_dump({"resources": resources, "components": components}))
    return kustomize(folder)


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory) -> list[Object]:
    return with_components(FOLDER, tmp_path_factory.mktemp("complete"))


def named(objects: list[Object], kind: str, name: str) -> Object:
    (found,) = [each for each in objects if (each["kind"], each["metadata"]["name"]) == (kind, name)]
    return found


def specs(objects: list[Object]) -> dict[str, Any]:
    """The pod specs of our workloads, by name."""
    return {
        each["metadata"]["name"]: each["spec"]["template"]["spec"]
        for each in objects
        if each["kind"] in {"StatefulSet", "Deployment", "DaemonSet"}
    }


def containers(objects: list[Object]) -> dict[str, Any]:
    """All containers of our workloads, as workload/container."""
    return {
        f"{name}/{container['name']}": container
        for name, spec in specs(objects).items()
        for container in (*spec.get("initContainers", ()), *spec["containers"])
    }


def test_there_is_something_to_test() -> None:
    assert {"default", "ephemeral", "demo"} <= set(OVERLAYS)
    assert "enforce" in COMPONENTS


@pytest.mark.parametrize("name", OVERLAYS)
def test_every_object_is_valid_strictly_and_labelled(name: str) -> None:
    assert_valid_and_labelled(overlay(name))


def test_every_object_of_the_components_is_valid_strictly_and_labelled(complete: list[Object]) -> None:
    assert len(complete) > len(overlay("default"))
    assert_valid_and_labelled(complete)


def assert_valid_and_labelled(objects: list[Object]) -> None:
    for each in objects:
        for version in SCHEMAS:
            kubernetes_validate.validate(each, version, strict=True)
        labels = each["metadata"].get("labels", {})
        assert labels.items() >= LABELS.items(), (each["kind"], each["metadata"]["name"], labels)


@pytest.mark.parametrize("name", OVERLAYS)
def test_no_object_is_written_twice(name: str) -> None:
    keys = [(each["kind"], each["metadata"].get("namespace"), each["metadata"]["name"]) for each in overlay(name)]

    assert len(keys) == len(set(keys))


@pytest.mark.parametrize("kind", ["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"])
def test_ca_bundle_is_left_to_the_controller(kind: str) -> None:
    entries = named(overlay("default"), kind, "podtls")["webhooks"]

    assert [entry["name"] for entry in entries if "caBundle" in entry["clientConfig"]] == []
    assert len(entries) == len(MODES) * len(CAPTURES)


def test_warnings_look_where_injection_looks_and_can_refuse_nothing() -> None:
    objects = overlay("default")
    injecting = named(objects, "MutatingWebhookConfiguration", "podtls")["webhooks"]
    warning = named(objects, "ValidatingWebhookConfiguration", "podtls")["webhooks"]

    for inject, warn in zip(injecting, warning, strict=True):
        mode, capture = inject["clientConfig"]["service"]["path"].split("/")[2:]
        assert warn["name"] == inject["name"].replace(".podtls.io", ".warn.podtls.io")
        assert warn["clientConfig"]["service"]["path"] == f"/warn/{mode}/{capture}"
        assert warn["namespaceSelector"] == inject["namespaceSelector"]
        assert (inject["failurePolicy"], warn["failurePolicy"]) == ("Fail", "Ignore")
        assert inject["sideEffects"] == warn["sideEffects"] == "None"


@pytest.mark.parametrize("name", OVERLAYS)
def test_what_is_injected_is_the_image_that_the_webhooks_own_pod_runs(name: str) -> None:
    every = containers(overlay(name))

    (variable,) = [each for each in every["podtls-webhook/webhook"]["env"] if each["name"] == "PODTLS_INIT_IMAGE"]
    assert variable["value"] == every["podtls-webhook/podtls-init"]["image"]


def test_images_are_set_in_one_place(tmp_path: Path) -> None:
    manifests = tmp_path / "manifests"
    shutil.copytree(FOLDER, manifests)
    control, init = f"{REGISTRY}/podtls-webhook:9.9", f"{REGISTRY}/podtls-init:9.9"
    edit_images(manifests / "overlays/default/kustomization.yaml")

    objects = with_components(manifests, tmp_path / "mine")

    images = {name: container["image"] for name, container in containers(objects).items()}
    settings = {each["name"]: each.get("value") for each in containers(objects)["podtls-webhook/webhook"]["env"]}
    assert set(images.values()) == {control, init}
    assert images["podtls-webhook/podtls-init"] == images["podtls-ca/podtls-nginx"] == init
    assert images["podtls-ca/podtls-bootstrap"] == images["podtls-controller/controller"] == control
    assert settings["PODTLS_INIT_IMAGE"] == init
    assert demanded(objects)["image"] == f"'{init}'"
    assert "localhost/" not in yaml.safe_dump(objects)
    assert "localhost/" not in yaml.safe_dump(kustomize(manifests / "overlays/ephemeral"))


def test_image_of_an_overlay_of_ones_own_is_demanded_where_it_repeats_the_replacements(tmp_path: Path) -> None:
    digest = "sha256:" + "0" * 64
    own = {
        "resources": [os.path.relpath(FOLDER / "overlays/default", tmp_path)],
        "components": [os.path.relpath(FOLDER / "components/enforce", tmp_path)],
        "images": [{"name": "localhost/podtls-init", "newName": f"{REGISTRY}/podtls-init", "digest": digest}],
        "replacements": [
            each
            for folder in ("overlays/default", "components/enforce")
            for each in yaml.safe_load((FOLDER / folder / "kustomization.yaml").read_text())["replacements"]
        ],
    }
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(own))

    objects = kustomize(tmp_path)

    settings = {each["name"]: each.get("value") for each in containers(objects)["podtls-webhook/webhook"]["env"]}
    assert settings["PODTLS_INIT_IMAGE"] == f"{REGISTRY}/podtls-init@{digest}"
    assert demanded(objects)["image"] == f"'{REGISTRY}/podtls-init@{digest}'"


def test_nothing_of_the_policy_is_filled_in_but_image_and_ca(complete: list[Object]) -> None:
    written = next(yaml.safe_load_all((FOLDER / "components/enforce/policy.yaml").read_text()))
    settings = {each["name"]: each.get("value") for each in containers(complete)["podtls-webhook/webhook"]["env"]}

    filled = {"image": f"'{settings['PODTLS_INIT_IMAGE']}'", "caUrl": f"'{settings['PODTLS_CA_URL']}'"}

    assert demanded(complete) == demanded([written]) | filled
    assert "paramKind" not in written["spec"]


def demanded(objects: list[Object]) -> dict[str, str]:
    """The variables of the policy of components/enforce: name -> CEL."""
    variables = named(objects, "ValidatingAdmissionPolicy", "podtls-enforce")["spec"]["variables"]
    return {each["name"]: each["expression"] for each in variables}


def test_patches_of_the_install_guide_give_every_program_the_other_zone_and_nothing_else(tmp_path: Path) -> None:
    section = INSTALL.read_text().partition("## A zone other than cluster.local\n")[2].partition("\n## ")[0]
    (patches,) = re.findall(r"```yaml\n(.*?)```", section, re.DOTALL)
    default = os.path.relpath(FOLDER / "overlays/default", tmp_path)
    (tmp_path / "kustomization.yaml").write_text(f"resources: [{default}]\n{patches}")

    patched, expected = kustomize(tmp_path), copy.deepcopy(overlay("default"))

    # A patch changes the order of the variables, which means nothing.
    every = [container["env"] for objects in (patched, expected) for container in containers(objects).values()]
    for variables in every:
        variables.sort(key=lambda variable: str(variable["name"]))
    zones = [each for variables in every for each in variables if each["name"] == "PODTLS_ZONE"]
    assert [each["value"] for each in zones] == ["corp.example"] * 4 + ["cluster.local"] * 4
    for each in zones:
        each["value"] = "any"
    assert patched == expected


def edit_images(path: Path) -> None:
    """What `kustomize edit set image` does, which kubectl does not have."""
    kustomization = yaml.safe_load(path.read_text())
    for image in kustomization["images"]:
        image |= {"newName": image["name"].replace("localhost", REGISTRY), "newTag": "9.9"}
    path.write_text(yaml.safe_dump(kustomization))


@pytest.mark.parametrize("name", OVERLAYS)
def test_our_own_pods_fulfil_restricted_container_by_container(name: str) -> None:
    objects = overlay(name)
    namespace = named(objects, "Namespace", "podtls-system")

    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    for key, container in containers(objects).items():
        assert container["securityContext"].items() >= SECURE.items(), key
        assert container["resources"]["requests"].keys() >= {"cpu", "memory"}, key
        assert "memory" in container["resources"]["limits"], key


@pytest.mark.parametrize("name", OVERLAYS)
def test_every_workload_says_its_account_and_no_token_is_mounted_by_itself(name: str) -> None:
    objects = overlay(name)
    accounts = [each for each in objects if each["kind"] == "ServiceAccount"]

    assert all(each["automountServiceAccountToken"] is False for each in accounts)
    for workload, spec in specs(objects).items():
        assert spec["serviceAccountName"] in {each["metadata"]["name"] for each in accounts}, workload
        assert spec["automountServiceAccountToken"] is False, workload


def test_webhook_has_no_way_to_the_api_server() -> None:
    objects = overlay("default")
    subjects = [subject["name"] for each in objects for subject in each.get("subjects", ())]

    volumes = specs(objects)["podtls-webhook"]["volumes"]

    tokens = [
        source["serviceAccountToken"]
        for volume in volumes
        for source in volume.get("projected", {}).get("sources", ())
        if "serviceAccountToken" in source
    ]
    assert "podtls-webhook" not in subjects
    assert [token["audience"] for token in tokens] == [AUDIENCE]


def test_only_the_controller_may_touch_the_roots_key() -> None:
    objects = overlay("default")
    readers = {
        each["metadata"]["name"]
        for each in objects
        if each["kind"] in {"Role", "ClusterRole"}
        for rule in each["rules"]
        if {"secrets", "*"} & {*rule["resources"]}
    }

    mounted = {
        volume["secret"]["secretName"]
        for spec in specs(objects).values()
        for volume in spec["volumes"]
        if "secret" in volume
    }

    assert readers == {"podtls-controller"}
    assert mounted == {"podtls-issuing"}


def test_network_policies_name_ports_by_number() -> None:
    objects = overlay("default")
    policies = [each for each in objects if each["kind"] == "NetworkPolicy"]
    served = {
        port["containerPort"]
        for container in containers(objects).values()
        for port in container.get("ports", ())
        if port["name"] == PORT_NAME
    }

    opened = {port["port"] for each in policies for rule in each["spec"].get("ingress", ()) for port in rule["ports"]}

    assert opened == served == {EDGE_PORT}


@pytest.mark.parametrize("name", OVERLAYS)
def test_our_own_pods_that_are_not_ready_do_not_keep_their_node_from_being_drained(name: str) -> None:
    budgets = [each["spec"] for each in overlay(name) if each["kind"] == "PodDisruptionBudget"]

    assert [each["unhealthyPodEvictionPolicy"] for each in budgets] == ["AlwaysAllow"] * 2


def test_ephemeral_has_no_claims_and_default_keeps_evidence_on_them() -> None:
    for name in ("podtls-webhook", "podtls-ca"):
        kept = named(overlay("default"), "StatefulSet", name)["spec"]
        lost = named(overlay("ephemeral"), "StatefulSet", name)["spec"]

        assert [claim["metadata"]["name"] for claim in kept["volumeClaimTemplates"]] == ["evidence"]
        assert "volumeClaimTemplates" not in lost
        assert "emptyDir" in {volume["name"]: volume for volume in lost["template"]["spec"]["volumes"]}["evidence"]
