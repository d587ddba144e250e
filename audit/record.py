"""What one line of evidence says: two kinds of record, and their one JSON line (docs/evidence-format.md).

No file is opened here. A pod's body, a token, a key or an environment value has no field to stand in.
"""

import re
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any, ClassVar, Final, Literal

import msgspec
import orjson

from audit.errors import RecordError
from contract.grammar import is_record_id

# A field added, renamed or read in another way is a new version: readers refuse what they do not know, aloud.
SCHEMA: Final = 1

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class AdmissionRecord:
    """One answer of the webhook. Raises RecordError for an id that is not 32 hex digits or a time without zone."""

    kind: ClassVar[str] = "admission"

    id: str
    time: datetime
    replica: str
    decision: Literal["inject", "skip", "deny"]
    reason: str
    source: str
    caller: Literal["verified", "unverified"]
    dry_run: bool
    uid: str
    namespace: str
    name: str
    generate_name: str
    owners: list[Any]
    service_account: str
    requested_by: dict[str, Any]
    digest: str
    path: str
    mode: str
    ports: str
    operations: list[dict[str, Any]]
    warnings: list[str]

    def __post_init__(self) -> None:
        _check(self.id, self.time)


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateRecord:
    """One answer of the CA. Raises RecordError as AdmissionRecord does.

    A refusal may come before the CA knows anything of the pod: what it does not know stays empty.
    """

    kind: ClassVar[str] = "certificate"

    id: str
    time: datetime
    replica: str
    decision: Literal["issue", "refuse"]
    reason: str
    source: str
    namespace: str = ""
    pod: str = ""
    pod_uid: str = ""
    node: str = ""
    service_account: str = ""
    spiffe_id: str = ""
    dns: list[str]
    ignored_names: list[str]
    serial: str = ""
    not_before: datetime | None = None
    not_after: datetime | None = None
    key_digest: str = ""
    token_id: str = ""
    patch_record: str = ""

    def __post_init__(self) -> None:
        _check(self.id, self.time)


Record = AdmissionRecord | CertificateRecord


def keys(kind: type[Record]) -> dict[str, str]:
    """JSON key of each field of one kind of record, in the order of the line (`v` and `kind` come before)."""
    return {field.name: _camel(field.name) for field in fields(kind)}


def encode(record: Record) -> bytes:
    """One JSON object without a newline inside. Raises RecordError for a value that JSON cannot say."""
    line: dict[str, Any] = {"v": SCHEMA, "kind": record.kind}
    for name, key in _KEYS[record.kind]:
        line[key] = getattr(record, name)
    try:
        encoded = orjson.dumps(line, default=_rfc3339, option=orjson.OPT_PASSTHROUGH_DATETIME)
    except orjson.JSONEncodeError as error:
        raise RecordError(f"record {record.id}: cannot be written as JSON: {error}") from error
    # orjson escapes newlines in strings, but passes an orjson.Fragment through as it is: a pretty-printed
    # userInfo in one would let a client forge the next line.
    if b"\n" in encoded:
        raise RecordError(f"record {record.id}: raw JSON with a newline inside, allowed is one line")
    return encoded


def decode(line: bytes) -> Record:
    """The record of one line. Raises RecordError: no JSON, another version or kind, a field missing, unknown, wrong."""
    try:
        values = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise RecordError(f"not JSON: {error}") from error
    if not isinstance(values, dict):
        raise RecordError(f"a JSON {type(values).__name__}, expected an object")
    version = values.pop("v", None)
    if version != SCHEMA or isinstance(version, bool):
        raise RecordError(f"v: got {version!r}, this program reads version {SCHEMA}")
    kind = _KINDS.get(str(values.pop("kind", None)))
    if kind is None:
        raise RecordError(f"kind: allowed are {', '.join(_KINDS)}")
    return _convert(values, kind)


def _convert(values: dict[str, Any], kind: type[Record]) -> Record:
    names = {key: name for name, key in _KEYS[kind.kind]}
    if values.keys() != names.keys():
        odd = sorted(values.keys() ^ names.keys())
        raise RecordError(f"{odd[0]}: {'unknown field' if odd[0] in values else 'missing'} in kind {kind.kind}")
    for key in ("time", "notBefore", "notAfter"):
        value = values.get(key)
        if isinstance(value, str) and not _TIME.fullmatch(value):
            raise RecordError(f"{key}: got {value!r}, expected YYYY-MM-DDThh:mm:ss.ffffffZ")
    try:
        return msgspec.convert({names[key]: value for key, value in values.items()}, kind)
    except msgspec.ValidationError as error:
        raise RecordError(f"kind {kind.kind}: {error}") from error


def _check(record_id: str, time: datetime) -> None:
    if not is_record_id(record_id):
        raise RecordError(f"id: got {record_id!r}, expected 32 hex digits in lower case")
    if time.tzinfo is None:
        raise RecordError(f"time: got {time.isoformat()} without a zone, expected an aware time")


def _rfc3339(value: object) -> str:
    # orjson's own form drops the microseconds when they are 0; a fixed width keeps lines sortable as text.
    if isinstance(value, datetime) and value.tzinfo is not None:
        return value.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    raise TypeError(f"{type(value).__name__} {value!r}")


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


_KINDS: Final[dict[str, type[Record]]] = {kind.kind: kind for kind in (AdmissionRecord, CertificateRecord)}
_KEYS: Final = {kind.kind: tuple(keys(kind).items()) for kind in (AdmissionRecord, CertificateRecord)}
