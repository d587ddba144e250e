"""Appending: what is answered is on the disk, whole, whoever else writes and whatever happens to the file."""

import fcntl
import os
import stat
import sys
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from audit.errors import LogReadError, LogWriteError
from audit.log import EvidenceLog, TornLine, read
from audit.record import Record, encode
from tests.audit.records import admission, certificate


def test_records_read_back_in_the_order_they_were_appended(log: EvidenceLog, path: Path) -> None:
    records: list[Record] = [admission(), certificate(), admission(id="b" * 32, decision="deny")]

    for record in records:
        log.append(record)

    assert list(read(path)) == records


def test_log_is_created_for_owner_and_auditors_group_whatever_the_umask(log: EvidenceLog, path: Path) -> None:
    before = os.umask(0o077)
    try:
        log.append(admission())
    finally:
        os.umask(before)

    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_file_and_its_directory_entry_are_flushed_before_append_returns(log: EvidenceLog) -> None:
    calls = _system_calls(lambda: log.append(admission()))
    again = _system_calls(lambda: log.append(admission()))

    assert calls == ["open", "open", "open", "fsync", "close", "flock", "write", "flock", "fdatasync", "close"]
    assert again == ["open", "flock", "write", "flock", "fdatasync", "close"]


def test_log_that_another_process_created_gets_its_directory_entry_flushed_too(log: EvidenceLog, path: Path) -> None:
    EvidenceLog(path).append(admission())

    calls = _system_calls(lambda: log.append(admission()))

    assert calls[:4] == ["open", "open", "fsync", "close"]


def _system_calls(action: Any) -> list[str]:
    wanted = {getattr(os, name): name for name in ("open", "close", "write", "fsync", "fdatasync")}
    wanted[fcntl.flock] = "flock"
    seen: list[str] = []

    def note(_frame: FrameType, event: str, function: Any) -> None:
        if event == "c_call" and function in wanted:
            seen.append(wanted[function])

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        action()
    finally:
        sys.setprofile(before)
    return seen


@pytest.mark.parametrize(
    "tail",
    [
        pytest.param(encode(admission())[:200], id="half a record"),
        pytest.param(b"\0" * 100, id="zeros after a power cut"),
        pytest.param(b"{", id="one byte"),
    ],
)
def test_append_after_a_torn_tail_starts_a_line_of_its_own(log: EvidenceLog, path: Path, tail: bytes) -> None:
    first, second = admission(id="1" * 32), admission(id="2" * 32)
    log.append(first)
    offset = path.stat().st_size
    with path.open("ab") as file:
        file.write(tail)

    log.append(second)

    one, torn, two = read(path)
    assert (one, two) == (first, second)
    assert isinstance(torn, TornLine)
    assert (torn.path, torn.number, torn.offset, torn.raw) == (path, 2, offset, tail)
    assert torn.reason.startswith("not JSON")


def test_record_that_lost_only_its_newline_is_kept_and_not_joined(log: EvidenceLog, path: Path) -> None:
    path.write_bytes(encode(admission(id="1" * 32)))

    log.append(admission(id="2" * 32))

    assert list(read(path)) == [admission(id="1" * 32), admission(id="2" * 32)]


def test_rotated_log_keeps_its_records_and_the_next_goes_into_a_new_file(log: EvidenceLog, path: Path) -> None:
    log.append(admission(id="1" * 32))
    rotated = path.rename(path.with_suffix(".jsonl.1"))

    log.append(admission(id="2" * 32))

    assert list(read(rotated)) == [admission(id="1" * 32)]
    assert list(read(path)) == [admission(id="2" * 32)]


def test_append_that_waits_for_the_lock_of_a_rotated_file_goes_into_the_new_one(path: Path) -> None:
    path.touch()
    log = EvidenceLog(path, lock_seconds=60)
    thread = threading.Thread(target=log.append, args=[admission()])
    with path.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        thread.start()
        _wait_until_open_twice(path)

        rotated = path.rename(path.with_suffix(".1"))

    thread.join(60)
    assert list(read(rotated)) == []
    assert list(read(path)) == [admission()]


def test_append_that_waits_for_the_lock_of_a_rotated_and_replaced_file_goes_into_the_new_one(path: Path) -> None:
    path.touch()
    log = EvidenceLog(path, lock_seconds=60)
    thread = threading.Thread(target=log.append, args=[admission()])
    with path.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        thread.start()
        _wait_until_open_twice(path)

        path.rename(path.with_suffix(".1"))
        path.touch()

    thread.join(60)
    assert list(read(path)) == [admission()]


def _wait_until_open_twice(path: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        links = [str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
        if links.count(str(path)) >= 2:
            return
        time.sleep(0.001)
    pytest.fail("the appending thread never opened the log")


def test_lock_that_is_never_released_ends_in_a_refusal_that_says_so(path: Path) -> None:
    path.touch()
    log = EvidenceLog(path, lock_seconds=0.05)

    with path.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(LogWriteError, match="another process holds its lock") as refusal:
            log.append(admission())

    assert str(path) in str(refusal.value)
    assert refusal.value.http_status == 503
    assert list(read(path)) == []


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        pytest.param("missing/evidence.jsonl", "No such file or directory", id="no directory"),
        pytest.param("", "Is a directory", id="a directory"),
        pytest.param("file/evidence.jsonl", "Not a directory", id="below a file"),
    ],
)
def test_log_that_cannot_be_opened_refuses_with_path_and_reason(tmp_path: Path, place: str, reason: str) -> None:
    (tmp_path / "file").touch()
    log = EvidenceLog(tmp_path / place)

    with pytest.raises(LogWriteError, match=reason) as on_append:
        log.append(admission())
    with pytest.raises(LogWriteError, match=reason):
        log.check_writable()

    assert f"evidence log {tmp_path / place}: {reason}" in str(on_append.value)
    assert "nothing is answered unrecorded" in str(on_append.value)


def test_check_writable_creates_the_log_and_writes_no_record(log: EvidenceLog, path: Path) -> None:
    log.check_writable()

    assert list(read(path)) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_log_without_permission_is_refused(log: EvidenceLog, path: Path) -> None:
    path.touch(mode=0o400)

    with pytest.raises(LogWriteError, match="Permission denied"):
        log.append(admission())
    with pytest.raises(LogWriteError, match="Permission denied"):
        log.check_writable()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_log_in_a_directory_that_cannot_be_flushed_is_refused(path: Path) -> None:
    path.touch()
    path.parent.chmod(0o300)
    try:
        with pytest.raises(LogWriteError, match="Permission denied"):
            EvidenceLog(path).append(admission())
    finally:
        path.parent.chmod(0o700)

    assert list(read(path)) == []


def test_log_that_another_process_creates_at_the_same_moment_is_shared(log: EvidenceLog, path: Path) -> None:
    path.write_bytes(encode(admission(id="1" * 32)) + b"\n")

    os.close(log._create())

    log.append(admission(id="2" * 32))
    assert list(read(path)) == [admission(id="1" * 32), admission(id="2" * 32)]


def test_log_that_is_not_there_cannot_be_read(path: Path) -> None:
    with pytest.raises(LogReadError, match="No such file or directory") as refusal:
        list(read(path))

    assert str(path) in str(refusal.value)


def test_failed_append_leaves_no_open_descriptor() -> None:
    before = _descriptors()

    with pytest.raises(LogWriteError, match="No space left on device"):
        EvidenceLog(Path("/dev/full")).append(admission())

    assert _descriptors() == before


def test_append_that_does_not_get_the_lock_leaves_no_open_descriptor(path: Path) -> None:
    path.touch()
    with path.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        before = _descriptors()

        with pytest.raises(LogWriteError, match="another process holds its lock"):
            EvidenceLog(path, lock_seconds=0.05).append(admission())

        assert _descriptors() == before


def test_append_to_a_rotated_log_leaves_no_open_descriptor(path: Path) -> None:
    path.touch()
    thread = threading.Thread(target=EvidenceLog(path, lock_seconds=60).append, args=[admission()])
    before = _descriptors()
    with path.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        thread.start()
        _wait_until_open_twice(path)

        path.rename(path.with_suffix(".1"))

    thread.join(60)
    assert list(read(path)) == [admission()]
    assert _descriptors() == before


def _descriptors() -> list[str]:
    """Where every open descriptor of this process leads, but for the one that reads the folder."""
    links = Path("/proc/self/fd").iterdir()
    return sorted(str(link.readlink()) for link in links if link.is_symlink())
