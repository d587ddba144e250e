"""Pods as `kubectl get pods -A -o json` prints them: which are injected, and which record they name."""

from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any, Final

import msgspec
import orjson

from audit.pods import ListedPod
from contract.names import INJECTED, STATUS
from documents.stream import parse_documents, read_text
from podtls.errors import InputError
from podtls.inject.workloads import DocumentWorkload, find_workloads
from podtls.kubernetes import installation
from podtls.kubernetes.objects import annotations_of, labels_of
from podtls.kubernetes.pods import record_id_of

_KINDS: Final = ("Pod", "PodList", "List")
_ALLOWED: Final = "allowed: a Pod or a List of Pods, as kubectl get pods -A -o json prints it"
# Of podtls's own pods only the webhook's are labelled as injected.
_OWN: Final = (installation.NAMESPACE, installation.WEBHOOK.name)


class _Metadata(msgspec.Struct, frozen=True, rename="camel"):
    namespace: str
    name: str
    uid: str
    creation_timestamp: Annotated[datetime, msgspec.Meta(tz=True)]
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None


class _Spec(msgspec.Struct, frozen=True, rename="camel"):
    service_account_name: str = ""


class _Pod(msgspec.Struct, frozen=True):
    metadata: _Metadata
    spec: _Spec


def read_listed_pods(file: str) -> list[ListedPod]:
    """The injected pods in a file of JSON or YAML; `-` is stdin.

    Raises InputError naming the file, the line or the pod, and what is allowed.
    """
    source = f"--pods: {'stdin' if file == '-' else file}"
    values = _parse_values(read_text(file, source), source)
    if not values:
        raise InputError(f"{source}: nothing in it; {_ALLOWED}")
    return [pod for value in values for raw in _find_pods(value, source) for pod in _list_pod(raw, source)]


def _parse_values(text: str, source: str) -> list[Any]:
    # Thousands of pods are many megabytes, too many for a reader that keeps comments and quotes.
    try:
        return [orjson.loads(text)]
    except orjson.JSONDecodeError:
        return [value for document in parse_documents(text, source) if (value := document.value) is not None]


def _find_pods(value: Any, source: str) -> Iterator[DocumentWorkload]:
    kind = value.get("kind") if isinstance(value, dict) else type(value).__name__
    if kind not in _KINDS:
        raise InputError(f"{source}: got {kind}; {_ALLOWED}")
    found = [each for each in find_workloads(value, source=source, namespace="") if each.kind == "Pod"]
    if not found and value.get("items"):
        raise InputError(f"{source}: no Pod among {len(value['items'])} items; {_ALLOWED}")
    yield from found


def _list_pod(found: DocumentWorkload, source: str) -> Iterator[ListedPod]:
    try:
        pod = msgspec.convert(found.pod, _Pod)
    except msgspec.ValidationError as error:
        raise InputError(f"{source}: {found.kind} {found.name}: {error}; {_ALLOWED}") from error
    meta = pod.metadata
    has_status = STATUS in annotations_of(found.pod)
    if has_status or labels_of(found.pod).get(INJECTED) == "true":
        own = (meta.namespace, pod.spec.service_account_name) == _OWN and not has_status
        yield ListedPod(meta.namespace, meta.name, meta.uid, meta.creation_timestamp, record_id_of(found.pod), own)
