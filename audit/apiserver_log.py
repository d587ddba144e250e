"""The API server's own audit log: which creations of pods name evidence records, and how they ended. Judges nothing.

https://kubernetes.io/docs/reference/config-api/apiserver-audit.v1/#audit-k8s-io-v1-Event
"""

import itertools
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Annotated, Final

import msgspec

from audit.errors import LogReadError
from audit.log import TornLine
from audit.pods import PodCreation
from audit.query import ReportTornLine
from contract.names import AUDIT_LATER_RECORD, AUDIT_RECORD

_VERSION: Final = "audit.k8s.io/v1 Event"
_ALLOWED: Final = f"allowed: an unpacked log of the API server, one {_VERSION} (level Metadata or more) a line"
# Events of earlier stages do not say how a request ended.
_ENDS: Final = ("ResponseComplete", "Panic")
# Audit annotations are named <webhook>/<annotation>, such as mtls-port.podtls.io/record.
_KEYS: Final = tuple(f".podtls.io/{name}" for name in (AUDIT_RECORD, AUDIT_LATER_RECORD))
# If none of its first lines is an event, a file is something else.
_HEAD: Final = 10


class _Reference(msgspec.Struct, frozen=True):
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""


class _Status(msgspec.Struct, frozen=True):
    code: int = 0
    message: str = ""


class _Event(msgspec.Struct, frozen=True, rename="camel"):
    api_version: str
    kind: str
    stage: str
    verb: str
    request_received_timestamp: Annotated[datetime, msgspec.Meta(tz=True)]
    object_ref: _Reference | None = None
    response_status: _Status | None = None
    annotations: dict[str, str] | None = None


_EVENTS: Final = msgspec.json.Decoder(_Event)


def read_creations(path: Path, report: ReportTornLine) -> Iterator[PodCreation]:
    """Every creation of a pod in the file that names an evidence record.

    A line that is not an event is reported. Raises LogReadError, naming file and line, for a file without events.
    """
    lines = _read_events(path)
    head = list(itertools.islice(lines, _HEAD))
    if head and not any(isinstance(line, _Event) for line in head):
        assert isinstance(head[0], TornLine)
        raise LogReadError(f"{path}: line 1: {head[0].reason}; {_ALLOWED}")
    for line in itertools.chain(head, lines):
        if isinstance(line, TornLine):
            report(line)
        else:
            yield from _parse_creation(line)


def _read_events(path: Path) -> Iterator[_Event | TornLine]:
    offset = 0
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                yield _parse(line, path, number, offset)
                offset += len(line)
    except OSError as error:
        raise LogReadError(f"{path}: {error.strerror or error}") from error


def _parse(line: bytes, path: Path, number: int, offset: int) -> _Event | TornLine:
    try:
        event = _EVENTS.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return TornLine(path, number, offset, line, f"not an {_VERSION}: {error}")
    named = f"{event.api_version} {event.kind}"
    if named != _VERSION:
        return TornLine(path, number, offset, line, f"got {named}, expected {_VERSION}")
    return event


def _parse_creation(event: _Event) -> Iterator[PodCreation]:
    pod, status, annotations = event.object_ref, event.response_status, event.annotations or {}
    if event.verb != "create" or event.stage not in _ENDS or not pod or not status:
        return
    records = tuple(value for key, value in annotations.items() if key.endswith(_KEYS))
    if (pod.resource, pod.subresource) == ("pods", "") and records:
        received = event.request_received_timestamp
        yield PodCreation(records, pod.namespace, pod.name, received, status.code, status.message)
