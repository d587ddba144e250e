"""Manifests from files: ours, through the overlay as `kubectl kustomize` builds it, and the user's, checked.

Only reads and checks; cluster.py applies.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import jsonpatch

from contract.names import SYSTEM_NAMESPACE
from lab.sandbox.apiserver.cluster import CLUSTER_SCOPED, STORED, WORKLOADS
from lab.sandbox.apiserver.defaults import containers
from lab.sandbox.apiserver.store import Object
from lab.sandbox.errors import ManifestError
from podtls.errors import InputError
from podtls.inject.documents import parse

FOLDER: Final = Path(__file__).resolve().parents[2] / "manifests"
SHOP: Final = FOLDER / "examples" / "shop.yaml"
CONTROL_PLANE: Final = FOLDER / "overlays" / "demo"
OUR_NAMESPACE: Final = SYSTEM_NAMESPACE


def load(path: Path) -> list[Object]:
    """The objects of a YAML file, Lists taken apart. Raises ManifestError naming file and document."""
    values = _values(path)
    return [item for number, value in enumerate(values, 1) for item in _objects(value, f"{path} #{number}")]


def load_workloads(path: Path) -> list[Object]:
    """The objects of a user's file, each in a namespace. Raises ManifestError for what the demo cannot run."""
    objects = load(path)
    for raw in objects:
        where = f"{path}: {raw['kind']} {raw['metadata']['name']}"
        if raw["kind"] not in CLUSTER_SCOPED:
            raw["metadata"].setdefault("namespace", "default")
        _check(raw, where)
    if not any(raw["kind"] in WORKLOADS for raw in objects):
        raise ManifestError(f"{path}: nothing to run: no {', '.join(sorted(WORKLOADS))}")
    return objects


def build(folder: Path) -> list[Object]:
    """What `kubectl kustomize` makes of a folder's resources and JSON patches (RFC 6902), the two things used here.

    Raises ManifestError, also for a patch that chooses nothing or does not fit.
    """
    if not (folder / "kustomization.yaml").is_file():
        raise ManifestError(f"{folder} is missing: the demo runs from a checkout of the repository")
    (kustomization,) = _values(folder / "kustomization.yaml")
    objects: list[Object] = []
    for resource in kustomization["resources"]:
        path = folder / resource
        objects += build(path) if path.is_dir() else load(path)
    for patch in kustomization.get("patches", []):
        objects = _patched(objects, patch, folder)
    return objects


def _values(path: Path) -> list[Any]:
    """The documents of a YAML file, read as kubectl reads them."""
    try:
        return [document.value for document in parse(path.read_text(encoding="utf-8"), str(path))]
    except InputError as error:
        raise ManifestError(str(error)) from error
    except OSError as error:
        raise ManifestError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ManifestError(f"{path}: not UTF-8: {error}") from error


def _objects(document: Any, where: str) -> Iterator[Object]:
    if document is None:
        return
    if not isinstance(document, dict):
        raise ManifestError(f"{where}: a Kubernetes object is a mapping, got {type(document).__name__}")
    if str(document.get("kind", "")).endswith("List") and isinstance(document.get("items"), list):
        for number, item in enumerate(document["items"], 1):
            yield from _objects(item, f"{where}, item {number}")
        return
    metadata = document.get("metadata")
    for field, value in (
        ("apiVersion", document.get("apiVersion")),
        ("kind", document.get("kind")),
        ("metadata.name", metadata.get("name") if isinstance(metadata, dict) else None),
    ):
        if not isinstance(value, str) or not value:
            raise ManifestError(f"{where}: {field} is missing or not a text")
    yield document


def _check(raw: Object, where: str) -> None:
    kind = raw["kind"]
    if kind not in WORKLOADS | STORED | {"Namespace"}:
        known = ", ".join(sorted(WORKLOADS | STORED | {"Namespace"}))
        raise ManifestError(f"{where}: the demo has no {kind}; it knows {known}")
    if OUR_NAMESPACE in {raw["metadata"].get("namespace"), raw["metadata"]["name"] if kind == "Namespace" else None}:
        raise ManifestError(f"{where}: namespace {OUR_NAMESPACE} is podtls's own")
    if kind in WORKLOADS:
        _check_containers(raw, where)
    if kind == "Service":
        _check_service(raw, where)


def _check_service(raw: Object, where: str) -> None:
    try:
        numbers = [port["port"] for port in raw["spec"].get("ports", [])]
    except (KeyError, TypeError, AttributeError) as error:
        raise ManifestError(f"{where}: not a Service: {error!r}") from error
    if not all(isinstance(number, int) for number in numbers):
        raise ManifestError(f"{where}: spec.ports: each port is a number, got {numbers}")


def _check_containers(raw: Object, where: str) -> None:
    try:
        spec = raw["spec"] if raw["kind"] == "Pod" else raw["spec"]["template"]["spec"]
        every = list(containers(spec))
        lacking = [container["name"] for container in every if not container.get("command")]
        images = [container["image"] for container in every]
    except (KeyError, TypeError, AttributeError) as error:
        raise ManifestError(f"{where}: not a {raw['kind']}: {error!r}") from error
    if not images:
        raise ManifestError(f"{where}: spec.containers is empty")
    if lacking:
        raise ManifestError(
            f"{where}: container {lacking[0]} has no command; "
            "the demo pulls no images, it runs programs of this machine"
        )


def _patched(objects: list[Object], patch: dict[str, Any], folder: Path) -> list[Object]:
    target = patch["target"]
    (document,) = parse(patch["patch"], f"{folder}: the patch of {target}")
    operations = jsonpatch.JsonPatch(document.value)
    if not any(_is_target(raw, target) for raw in objects):
        raise ManifestError(f"{folder}: no object for the patch of {target}")
    try:
        return [operations.apply(raw) if _is_target(raw, target) else raw for raw in objects]
    except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException) as error:
        raise ManifestError(f"{folder}: the patch of {target} does not fit: {error}") from error


def _is_target(raw: Object, target: Any) -> bool:
    return raw["kind"] == target["kind"] and target.get("name") in {None, raw["metadata"]["name"]}
