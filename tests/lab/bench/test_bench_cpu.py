"""CPU clocks of other processes. No test says how long anything takes, only whose time it is."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from lab.bench import cpu

BUSY = "while True: pass"
IDLE_PARENT_OF_A_BUSY_CHILD = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {BUSY!r}])"
DEADLINE = 30.0


def test_a_busy_process_uses_cpu_that_is_not_ours() -> None:
    with running(BUSY) as process:
        ours = time.process_time()

        poll(lambda: cpu.process_seconds(process.pid) > 0.2)

        assert time.process_time() - ours < cpu.process_seconds(process.pid)


def test_our_own_clock_is_the_one_that_python_reads() -> None:
    before = time.process_time()

    seconds = cpu.process_seconds(os.getpid())

    assert before <= seconds <= time.process_time()


def test_work_of_a_child_counts_with_its_parent() -> None:
    with running(IDLE_PARENT_OF_A_BUSY_CHILD) as parent:
        poll(lambda: len(cpu.tree([parent.pid])) == 2)

        poll(lambda: cpu.tree_seconds([parent.pid]) > cpu.process_seconds(parent.pid) + 0.2)

        for child in set(cpu.tree([parent.pid])) - {parent.pid}:
            os.kill(child, 9)


def test_a_root_that_descends_from_another_counts_once() -> None:
    with running(BUSY) as process:
        found = cpu.tree([process.pid, os.getpid(), process.pid])

        assert found.count(process.pid) == 1
        assert os.getpid() in found


def test_a_process_that_ended_is_named() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait(DEADLINE)

    with pytest.raises(ProcessLookupError, match=f"process {process.pid} ended while it was measured"):
        cpu.process_seconds(process.pid)


@contextmanager
def running(code: str) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", code]) as process:
        try:
            yield process
        finally:
            process.kill()


def poll(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, "the process did not do what it should"
        time.sleep(0.01)
