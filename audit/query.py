"""Reads records from many logs, in order of time: which files, which records, which belong together. Writes nothing."""

import contextlib
import heapq
import itertools
import time
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import orjson

from audit.errors import LogReadError
from audit.log import TornLine, read
from audit.pods import is_about
from audit.record import AdmissionRecord, CertificateRecord, Record, encode
from audit.tail import Tail

_PACKED: Final = {".gz", ".xz", ".zst", ".bz2"}
_BATCH: Final = 500
_PAUSE_SECONDS: Final = 0.2
_BEGINNING: Final = datetime.min.replace(tzinfo=UTC)

ReportTornLine = Callable[[TornLine], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordFilter:
    """What `audit list` shows: each member that is set must match."""

    namespace: str | None = None
    kind: str | None = None
    decision: str | None = None
    pod: str | None = None
    id: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def matches(self, record: Record) -> bool:
        """Whether a record is wanted. `since` is included, `until` is not."""
        return (
            self.namespace in {None, record.namespace}
            and self.kind in {None, record.kind}
            and self.decision in {None, record.decision}
            and record.id.startswith(self.id or "")
            and (self.since is None or self.since <= record.time)
            and (self.until is None or record.time < self.until)
            and (self.pod is None or is_about(record, self.pod))
        )


def to_json(record: Record) -> dict[str, Any]:
    """The record as its line has it."""
    values = orjson.loads(encode(record))
    assert isinstance(values, dict)
    return values


def find_logs(paths: Sequence[Path], *, may_come: bool = False) -> list[Path]:
    """The logs at these paths; of a directory all `*.jsonl*` below it, rotated ones too. Raises LogReadError."""
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            logs = sorted(file for file in path.rglob("*.jsonl*") if file.is_file() and file.suffix not in _PACKED)
            if not logs and not may_come:
                raise LogReadError(f"{path}: no evidence in it, expected files named *.jsonl (unpacked)")
            found += logs
        elif path.exists() or may_come:
            found.append(path)
        else:
            raise LogReadError(f"{path}: no such file or directory")
    return list(dict.fromkeys(found))


def read_records(paths: Sequence[Path], report: ReportTornLine) -> Iterator[Record]:
    """Every record of the files, in order of time. Raises LogReadError."""
    return _merge([read(path) for path in paths], report)


def read_batches(paths: Sequence[Path], wanted: RecordFilter, report: ReportTornLine) -> Iterator[list[Record]]:
    """The wanted records of the files as they are now, some hundred at a time. Raises LogReadError."""
    return _batch(filter(wanted.matches, read_records(find_logs(paths), report)))


def find_by_id(paths: Sequence[Path], prefix: str, report: ReportTornLine) -> Iterator[Record]:
    """The records of the files whose id starts with the prefix. Raises LogReadError."""
    return filter(RecordFilter(id=prefix).matches, read_records(paths, report))


def find_related(paths: Sequence[Path], record: Record) -> list[Record]:
    """The patch of a certificate's pod and other uses of its token or key; or the certificates of a patch."""
    found = (
        other for other in read_records(paths, _ignore) if other.id != record.id and describe_relation(record, other)
    )
    # Copies of one log hold the same record more than once.
    return list({other.id: other for other in found}.values())


def describe_relation(record: Record, other: Record) -> str:
    """How another record belongs to one; empty if it does not."""
    if isinstance(record, AdmissionRecord):
        return "certificate" if isinstance(other, CertificateRecord) and other.patch_record == record.id else ""
    if isinstance(other, AdmissionRecord):
        return "patch" if other.id == record.patch_record else ""
    if record.key_digest and other.key_digest == record.key_digest and other.pod_uid != record.pod_uid:
        return "same key, another pod"
    if record.token_id and other.token_id == record.token_id and other.key_digest != record.key_digest:
        return "same token, another key"
    return ""


def _ignore(line: TornLine) -> None:
    """A torn line was reported when the record itself was looked for."""


def follow(paths: Sequence[Path], wanted: RecordFilter, report: ReportTornLine) -> Iterator[list[Record]]:
    """The wanted records of the files, then those that are added, also to rotated and new files. Does not end."""
    with contextlib.ExitStack() as opened:
        tails: dict[Path, Tail] = {}
        met: set[tuple[int, int]] = set()
        while True:
            for path in _find_new_logs(paths, tails, met):
                tails[path] = opened.enter_context(contextlib.closing(Tail(path)))
            new = _merge([tail.poll() for tail in tails.values()], report)
            yield from _batch(filter(wanted.matches, new))
            time.sleep(_PAUSE_SECONDS)


def _merge(sources: Sequence[Iterator[Record | TornLine]], report: ReportTornLine) -> Iterator[Record]:
    for _, item in heapq.merge(*map(_add_time, sources), key=lambda pair: pair[0]):
        if isinstance(item, TornLine):
            report(item)
        else:
            yield item


def _add_time(source: Iterator[Record | TornLine]) -> Iterator[tuple[datetime, Record | TornLine]]:
    # A torn line has no time of its own; it follows the record before it.
    latest = _BEGINNING
    for item in source:
        latest = latest if isinstance(item, TornLine) else item.time
        yield latest, item


def _batch(source: Iterator[Record]) -> Iterator[list[Record]]:
    while batch := list(itertools.islice(source, _BATCH)):
        yield batch


def _find_new_logs(paths: Sequence[Path], known: Container[Path], met: set[tuple[int, int]]) -> Iterator[Path]:
    for path in find_logs(paths, may_come=True):
        try:
            status = path.stat()
        except FileNotFoundError:
            continue
        identity = (status.st_dev, status.st_ino)
        # A rotated log is only a new name for a file that is being read.
        if path not in known and identity not in met:
            yield path
        met.add(identity)
