"""One record, one line: what is written reads back the same, and nothing else is taken for a record."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.errors import RecordError
from audit.record import SCHEMA, Record, decode, encode
from tests.audit.records import admission, certificate

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=8,
)


@pytest.mark.parametrize(
    "record",
    [
        pytest.param(admission(), id="admission"),
        pytest.param(certificate(), id="certificate"),
        pytest.param(certificate(decision="refuse", not_before=None, not_after=None, patch_record=""), id="refusal"),
    ],
)
def test_record_reads_back_as_it_was_written(record: Record) -> None:
    line = encode(record)

    assert decode(line) == record
    assert b"\n" not in line


@given(reason=st.text(), extra=st.dictionaries(st.text(), _JSON))
def test_any_text_and_any_user_info_stay_on_one_line_and_read_back(reason: str, extra: dict[str, Any]) -> None:
    record = admission(reason=reason, requested_by=extra)

    line = encode(record)

    assert b"\n" not in line
    assert decode(line) == record


def test_line_starts_with_version_and_kind_and_has_the_documented_keys() -> None:
    values = orjson.loads(encode(admission()))

    assert list(values)[:5] == ["v", "kind", "id", "time", "replica"]
    assert values["v"] == SCHEMA
    assert values["kind"] == "admission"
    assert values["generateName"] == "checkout-5d8f-"
    assert values["dryRun"] is False


@pytest.mark.parametrize(
    ("time", "text"),
    [
        pytest.param(datetime(2026, 1, 2, tzinfo=UTC), "2026-01-02T00:00:00.000000Z", id="no microseconds"),
        pytest.param(
            datetime(2026, 1, 2, 1, 30, tzinfo=timezone(timedelta(hours=1))), "2026-01-02T00:30:00.000000Z", id="zone"
        ),
    ],
)
def test_time_is_written_in_utc_with_six_digits(time: datetime, text: str) -> None:
    values = orjson.loads(encode(admission(time=time)))

    assert values["time"] == text


def test_raw_json_with_a_newline_cannot_forge_a_second_line() -> None:
    forged = orjson.Fragment(b'{\n"username":"root"}')

    with pytest.raises(RecordError, match="newline inside"):
        encode(admission(owners=[forged]))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        pytest.param({"reason": "\ud800"}, "surrogates", id="lone surrogate"),
        pytest.param({"requested_by": {"n": 2**65}}, "64-bit", id="integer beyond JSON"),
        pytest.param({"requested_by": {"set": {1}}}, "set", id="not JSON"),
        pytest.param({"requested_by": {"time": datetime(2026, 1, 1)}}, "datetime", id="naive time inside"),  # noqa: DTZ001
    ],
)
def test_what_json_cannot_say_is_refused(changes: dict[str, Any], reason: str) -> None:
    record = admission(**changes)

    with pytest.raises(RecordError, match=reason):
        encode(record)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        pytest.param({"id": "A" * 32}, "id: got 'AAA", id="capitals"),
        pytest.param({"id": "a" * 31}, "expected 32 hex digits", id="short"),
        pytest.param({"id": "a" * 32 + "\n"}, "expected 32 hex digits", id="newline"),
        pytest.param({"time": datetime(2026, 1, 1)}, "without a zone", id="naive time"),  # noqa: DTZ001
    ],
)
def test_record_that_cannot_be_right_cannot_be_made(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(RecordError, match=reason):
        admission(**changes)


def _line(**changes: Any) -> bytes:
    values = orjson.loads(encode(admission()))
    values.update(changes)
    return orjson.dumps({key: value for key, value in values.items() if value is not None})


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        pytest.param(b"", "not JSON", id="empty"),
        pytest.param(encode(admission())[:100], "not JSON", id="torn"),
        pytest.param(b"\0" * 64, "not JSON", id="zeros after a power cut"),
        pytest.param(b"[1]", "a JSON list, expected an object", id="list"),
        pytest.param(_line(v=2), "v: got 2, this program reads version 1", id="newer version"),
        pytest.param(_line(v=True), "v: got True", id="boolean version"),
        pytest.param(_line(kind="checkpoint"), "kind: allowed are admission, certificate", id="kind"),
        pytest.param(_line(kind=["admission"]), "kind: allowed are", id="kind of a wrong type"),
        pytest.param(_line(reason=None), "reason: missing in kind admission", id="missing field"),
        pytest.param(_line(colour="red"), "colour: unknown field in kind admission", id="unknown field"),
        pytest.param(_line(dryRun="no"), "Expected `bool`", id="wrong type"),
        pytest.param(_line(decision="issue"), "Invalid enum value 'issue'", id="decision of the other kind"),
        pytest.param(_line(time="2026-11-22 10:30"), "time: got '2026-11-22 10:30'", id="time"),
        pytest.param(_line(time="2026-13-22T10:30:00.000000Z"), "time", id="month 13"),
        pytest.param(_line(id="x"), "id: got 'x'", id="id"),
    ],
)
def test_what_is_no_record_is_refused_with_its_reason(line: bytes, reason: str) -> None:
    with pytest.raises(RecordError, match=reason):
        decode(line)
