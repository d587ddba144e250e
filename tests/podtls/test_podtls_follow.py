"""`podtls audit list --follow` as a real process beside a log that grows, rotates and is torn."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Queue

import orjson
import pytest

from audit.log import EvidenceLog
from tests.audit.records import admission

# Generous: only a failure waits so long.
_SECONDS = 60


class Follower:
    """A running `podtls audit list --follow -o json` and the lines that it prints."""

    def __init__(self, arguments: list[str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "podtls", "audit", "list", "--follow", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        self._lines: Queue[str] = Queue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)

    def line(self) -> str:
        return self._lines.get(timeout=_SECONDS)

    def id(self) -> str:
        return str(orjson.loads(self.line())["id"])

    def interrupt(self) -> tuple[int, str]:
        """Ctrl-C; exit code and stderr."""
        self.process.send_signal(signal.SIGINT)
        assert self.process.stderr is not None
        with self.process.stderr:
            errors = self.process.stderr.read()
        code = self.process.wait(_SECONDS)
        self._reader.join(_SECONDS)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code, errors


@pytest.fixture
def follow() -> Iterator[Callable[..., Follower]]:
    started: list[Follower] = []

    def start(*arguments: str | Path) -> Follower:
        started.append(Follower([str(argument) for argument in arguments]))
        return started[-1]

    yield start

    for follower in started:
        if follower.process.poll() is None:
            follower.interrupt()


def test_records_are_printed_as_they_come_across_a_rotation(tmp_path: Path, follow: Callable[..., Follower]) -> None:
    log = EvidenceLog(tmp_path / "evidence.jsonl")
    log.append(admission(id="1" * 32))
    follower = follow(tmp_path, "-o", "json")
    first = follower.id()
    log.append(admission(id="2" * 32))
    second = follower.id()
    log.path.rename(tmp_path / "evidence.jsonl.1")
    log.append(admission(id="3" * 32))

    third = follower.id()

    assert [first, second, third] == ["1" * 32, "2" * 32, "3" * 32]
    assert follower.interrupt()[0] == 130


def test_log_and_replica_that_come_later_are_followed_too(tmp_path: Path, follow: Callable[..., Follower]) -> None:
    EvidenceLog(tmp_path / "early.jsonl").append(admission(id="0" * 32))
    follower = follow(tmp_path, tmp_path / "named.jsonl", "-o", "json")
    early = follower.id()
    EvidenceLog(tmp_path / "named.jsonl").append(admission(id="1" * 32))
    first = follower.id()
    (tmp_path / "webhook-1").mkdir()
    EvidenceLog(tmp_path / "webhook-1" / "evidence.jsonl").append(admission(id="2" * 32))

    second = follower.id()

    assert [early, first, second] == ["0" * 32, "1" * 32, "2" * 32]


def test_table_goes_on_without_a_second_head_and_filters_still_hold(
    tmp_path: Path, follow: Callable[..., Follower]
) -> None:
    log = EvidenceLog(tmp_path / "evidence.jsonl")
    log.append(admission(id="1" * 32))
    follower = follow(log.path, "--decision", "inject")
    head, first = follower.line(), follower.line()
    log.append(admission(id="2" * 32, decision="deny"))
    log.append(admission(id="3" * 32))

    third = follower.line()

    assert head.startswith("TIME")
    assert first.endswith("111111111111\n")
    assert third.endswith("333333333333\n")
    assert first.index("111111111111") == third.index("333333333333")


def test_yaml_of_a_followed_log_is_one_growing_list(tmp_path: Path, follow: Callable[..., Follower]) -> None:
    log = EvidenceLog(tmp_path / "evidence.jsonl")
    log.append(admission(id="1" * 32))
    follower = follow(log.path, "-o", "yaml")

    assert follower.line() == "- v: 1\n"


def test_torn_line_is_reported_and_ctrl_c_ends_quietly(tmp_path: Path, follow: Callable[..., Follower]) -> None:
    log = EvidenceLog(tmp_path / "evidence.jsonl")
    log.path.write_bytes(b'{"v":1,')
    follower = follow(log.path, "-o", "json")
    log.append(admission(id="1" * 32))
    shown = follower.id()

    code, errors = follower.interrupt()

    assert shown == "1" * 32
    assert code == 130
    assert errors.strip().splitlines()[0].endswith("not JSON: unexpected end of data: line 1 column 8 (char 7)")
    assert "Traceback" not in errors
