"""The life of one container, with a process that does what the test says; real ones: test_demo_sandbox_pods.py."""

import queue
import signal
import subprocess
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from lab.sandbox.kubelet.runner import Runner
from lab.sandbox.state import Manifest

SECONDS = 20


@dataclass
class FakeProcess:
    """A process (lab.sandbox.kubelet.runner.RunningProcess) that ends when told to, or by a signal that it heeds."""

    code: int | None = None
    message: str = ""
    stubborn: bool = False
    answers: "queue.Queue[int]" = field(default_factory=queue.Queue)
    signals: list[signal.Signals] = field(default_factory=list)
    _ended: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        if self.code is not None:
            self._ended.set()

    def end(self, code: int) -> None:
        self.code = code
        self._ended.set()

    def wait(self, seconds: float | None = None) -> int | None:
        return self.code if self._ended.wait(seconds) else None

    def send(self, number: signal.Signals) -> None:
        self.signals.append(number)
        if number == signal.SIGKILL or not self.stubborn:
            self.end(128 + number)

    def execute(self, command: Sequence[str], seconds: float) -> subprocess.CompletedProcess[str]:
        code = 0 if self.answers.empty() else self.answers.get()
        return subprocess.CompletedProcess(list(command), code, "", f"waited at most {seconds:g} s")

    def command_to_enter(self) -> list[str]:
        return []

    def termination_message(self, *, fall_back_to_log: bool) -> str:
        return "from the log" if fall_back_to_log else self.message


class Life:
    """A runner over processes that are handed out one after the other, and what it said of its state."""

    def __init__(self, *processes: FakeProcess | Exception, restart: str = "Always", **container: Any) -> None:
        self._processes = list(processes)
        self._changed = threading.Condition()
        self.reasons: list[str] = []
        self.runner = Runner(
            {"name": "app", **container}, "127.0.0.1", restart, self._next, self._note, first_pause=0.01
        )

    def until(self, condition: Callable[[Runner], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: condition(self.runner), SECONDS), self.runner.state

    def _next(self) -> FakeProcess:
        process = self._processes.pop(0)
        if isinstance(process, Exception):
            raise process
        return process

    def _note(self) -> None:
        with self._changed:
            ((kind, detail),) = self.runner.state.items()
            self.reasons.append(detail.get("reason", kind))
            self._changed.notify_all()


def probe(**numbers: float) -> Manifest:
    return {"exec": {"command": ["ready"]}, "periodSeconds": 0.01, "failureThreshold": 2, **numbers}


@pytest.mark.parametrize(
    ("restart", "codes", "restarts"),
    [
        pytest.param("Never", [3], 0, id="Never: a failure is the end"),
        pytest.param("Never", [0], 0, id="Never: success is the end"),
        pytest.param("OnFailure", [3, 4, 0], 2, id="OnFailure: until it succeeds"),
    ],
)
def test_the_restart_policy_decides_what_an_end_means(restart: str, codes: list[int], restarts: int) -> None:
    life = Life(*(FakeProcess(code) for code in codes), restart=restart)

    life.runner.start()
    life.until(lambda runner: runner.finished.is_set())

    assert (life.runner.exit_code(), life.runner.restarts) == (codes[-1], restarts)


def test_a_sidecar_is_started_again_after_any_end_with_a_pause_that_is_told() -> None:
    last = FakeProcess()
    life = Life(FakeProcess(1, "bad start"), FakeProcess(0), last)

    life.runner.start()
    life.until(lambda runner: runner.restarts == 2 and runner.ready)
    status = life.runner.status()

    assert status["restartCount"] == 2
    assert status["lastState"]["terminated"]["exitCode"] == 0
    assert "CrashLoopBackOff" in life.reasons
    life.runner.ask_to_stop()
    life.runner.stop(SECONDS)
    assert life.runner.exit_code() == 128 + signal.SIGTERM


def test_a_startup_probe_holds_back_started_until_it_succeeds() -> None:
    process = FakeProcess()
    process.answers.put(1)
    life = Life(process, startupProbe=probe())

    life.runner.start()
    life.until(lambda runner: "running" in runner.state)
    life.until(lambda runner: runner.started and runner.ready)

    assert process.answers.empty()
    life.runner.ask_to_stop()
    life.runner.stop(SECONDS)


def test_readiness_comes_and_goes_with_its_probe_and_ends_nothing() -> None:
    process = FakeProcess()
    for code in (1, 0, 0, 1, 0, 1, 1):
        process.answers.put(code)
    life = Life(process, readinessProbe=probe(successThreshold=2))

    life.runner.start()
    life.until(lambda runner: runner.ready)
    life.until(lambda runner: not runner.ready)
    life.until(lambda runner: runner.ready)

    assert process.signals == []
    life.runner.ask_to_stop()
    life.runner.stop(SECONDS)


def test_a_liveness_probe_that_fails_too_often_has_it_killed_and_started_again() -> None:
    first, second = FakeProcess(), FakeProcess()
    for code in (1, 0, 1, 1):
        first.answers.put(code)
    life = Life(first, second, livenessProbe=probe())

    life.runner.start()
    life.until(lambda runner: runner.restarts == 1 and runner.ready)

    assert first.signals == [signal.SIGTERM]
    assert life.runner.last_state["terminated"]["message"].startswith("liveness probe failed: exit code 1")
    life.runner.ask_to_stop()
    life.runner.stop(SECONDS)
