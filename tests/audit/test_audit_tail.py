"""Following a log: every record once, in order, whole, whatever happens to the file."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from audit.errors import LogReadError
from audit.log import EvidenceLog, TornLine
from audit.record import Record, encode
from audit.tail import Tail
from tests.audit.records import admission

ONE, TWO, THREE = (admission(id=digit * 32) for digit in "123")


@pytest.fixture
def tail(path: Path) -> Iterator[Tail]:
    with closing(Tail(path)) as tail:
        yield tail


def _poll(tail: Tail) -> list[Record | TornLine]:
    return list(tail.poll())


def test_log_that_does_not_exist_yet_is_waited_for(tail: Tail, log: EvidenceLog) -> None:

    before = _poll(tail)
    log.append(ONE)

    assert before == []
    assert _poll(tail) == [ONE]


def test_each_poll_gives_what_came_since_the_last(tail: Tail, log: EvidenceLog) -> None:
    log.append(ONE)
    first = _poll(tail)
    nothing = _poll(tail)
    log.append(TWO)
    log.append(THREE)

    assert (first, nothing, _poll(tail)) == ([ONE], [], [TWO, THREE])


def test_half_line_waits_for_its_end(tail: Tail, path: Path) -> None:
    line = encode(ONE) + b"\n"
    path.write_bytes(line[:50])
    before = _poll(tail)

    with path.open("ab") as file:
        file.write(line[50:])

    assert before == []
    assert _poll(tail) == [ONE]


def test_torn_line_is_told_once_its_line_is_closed(tail: Tail, log: EvidenceLog, path: Path) -> None:
    path.write_bytes(b'{"v":')
    before = _poll(tail)
    log.append(ONE)

    torn, one = _poll(tail)

    assert before == []
    assert isinstance(torn, TornLine)
    assert (torn.number, torn.offset, torn.raw) == (1, 0, b'{"v":')
    assert one == ONE


def test_rotation_loses_nothing_of_the_old_or_the_new_file(tail: Tail, log: EvidenceLog, path: Path) -> None:
    log.append(ONE)
    first = _poll(tail)
    log.append(TWO)
    rotated = path.rename(path.with_suffix(".jsonl.1"))
    with rotated.open("ab") as file:
        file.write(b"torn")
    between = _poll(tail)
    log.append(THREE)

    torn, three = _poll(tail)

    assert (first, between) == ([ONE], [TWO])
    assert isinstance(torn, TornLine)
    assert (torn.number, torn.raw) == (3, b"torn")
    assert three == THREE


def test_log_emptied_in_place_is_read_from_its_start(tail: Tail, log: EvidenceLog, path: Path) -> None:
    log.append(ONE)
    log.append(TWO)
    first = _poll(tail)
    path.write_bytes(encode(THREE) + b"\n")

    assert first == [ONE, TWO]
    assert _poll(tail) == [THREE]


def test_closed_tail_starts_again(tail: Tail, log: EvidenceLog) -> None:
    log.append(ONE)
    first = _poll(tail)

    tail.close()

    assert first == _poll(tail) == [ONE]


def test_log_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    tail = Tail(tmp_path)

    with pytest.raises(LogReadError, match="Is a directory"):
        _poll(tail)
