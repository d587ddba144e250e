"""The life of one container: started, probed, restarted with a growing pause, ended. One thread each.

The order of a pod's containers is pod.py's; what a container is made of is container.py's.
"""

import signal
import subprocess
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from lab.sandbox.errors import DemoError
from lab.sandbox.kubelet.probes import Probe, Watch, ask, parse_probe
from lab.sandbox.state import Manifest

_POLL_SECONDS: Final = 0.1
_IMPATIENT_SECONDS: Final = 0.5
_LONGEST_PAUSE: Final = 20.0
_KILL_SECONDS: Final = 5.0
# The exit code that kubelet reports for what could not be started.
_NOT_STARTED: Final = 128
_PROBES: Final = ("startupProbe", "livenessProbe", "readinessProbe")


class RunningProcess(Protocol):
    """A container that was started; process.Process."""

    def wait(self, seconds: float | None = None) -> int | None:
        """Its exit code, None when it still runs after that time."""
        ...

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        ...

    def execute(self, command: Sequence[str], seconds: float) -> "subprocess.CompletedProcess[str]":
        """Run a command inside."""
        ...

    def command_to_enter(self) -> list[str]:
        """What to type for a shell inside."""
        ...

    def termination_message(self, *, fall_back_to_log: bool) -> str:
        """What it said when it ended."""
        ...


@dataclass(slots=True)
class Runner:
    """One container of a pod; `start_process` starts it, `changed` is called after each change of its state.

    `restart` is what its end means: Always, OnFailure, Never (for a sidecar Always; for an init container not Always).
    """

    container: Manifest
    address: str
    restart: str
    start_process: Callable[[], RunningProcess]
    changed: Callable[[], None]
    first_pause: float
    started: bool = False
    ready: bool = False
    restarts: int = -1
    state: dict[str, Any] = field(default_factory=lambda: {"waiting": {"reason": "PodInitializing"}})
    last_state: dict[str, Any] = field(default_factory=dict)
    process: RunningProcess | None = None
    finished: threading.Event = field(default_factory=threading.Event)
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None
    _probes: dict[str, Probe | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Read the probes. Raises ContainerError for one that the demo cannot make."""
        self._probes = {name: parse_probe(self.container.get(name)) for name in _PROBES}

    def start(self) -> None:
        """Begin, in a thread of its own."""
        self._thread = threading.Thread(target=self._run, name=f"container-{self.container['name']}", daemon=True)
        self._thread.start()

    def exit_code(self) -> int | None:
        """How it ended; None while it runs or will run again."""
        return int(self.state["terminated"]["exitCode"]) if self.finished.is_set() else None

    def ask_to_stop(self) -> None:
        """SIGTERM, and no restart."""
        self._stop.set()
        if self.process is not None:
            self.process.send(signal.SIGTERM)

    def stop(self, seconds: float) -> None:
        """Wait that long after ask_to_stop, then SIGKILL; what it started inside dies with it."""
        if self._thread is None:
            return
        if not self.finished.wait(seconds) and self.process is not None:
            self.process.send(signal.SIGKILL)
        self._thread.join(_KILL_SECONDS)

    def explain(self) -> str:
        """Why it is not as it should be, for a person; "" when it is."""
        if self.ready or self.exit_code() == 0:
            return ""
        ((kind, detail),) = self.state.items()
        code = f" with exit code {detail['exitCode']}" if kind == "terminated" else ""
        told = " ".join(filter(None, (str(detail.get("reason") or kind) + code, self.message())))
        return f"container {self.container['name']}: {told} (restarts: {max(self.restarts, 0)})"

    def message(self) -> str:
        """What its state says to a person."""
        (detail,) = self.state.values()
        return str(detail.get("message") or "")

    def status(self) -> dict[str, Any]:
        """A ContainerStatus."""
        return {
            "name": self.container["name"],
            "image": self.container.get("image", ""),
            "imageID": "",
            "ready": self.ready,
            "started": self.started,
            "restartCount": max(self.restarts, 0),
            "state": self.state,
            "lastState": self.last_state,
        }

    def _run(self) -> None:
        pause = self.first_pause
        while True:
            code = self._run_once()
            if self._stop.is_set() or self.restart == "Never" or (self.restart == "OnFailure" and code == 0):
                break
            self.last_state = self.state
            message = self.state["terminated"].get("message", "")
            self.state = {"waiting": {"reason": "CrashLoopBackOff", "message": message}}
            self.changed()
            if self._stop.wait(pause):
                self.state = self.last_state
                break
            pause = min(2 * pause, _LONGEST_PAUSE)
        self.finished.set()
        self.changed()

    def _run_once(self) -> int:
        self.restarts += 1
        began = now()
        code, reason, message = self._outcome(began)
        self.started = self.ready = False
        self.state = {
            "terminated": {
                "exitCode": code,
                "reason": reason,
                "message": message,
                "startedAt": began,
                "finishedAt": now(),
            }
        }
        return code

    def _outcome(self, began: str) -> tuple[int, str, str]:
        """Run to the end: exit code, reason and message of the terminated state."""
        try:
            process = self.process = self.start_process()
        except (DemoError, OSError) as error:
            return _NOT_STARTED, "StartError", str(error)
        if self._stop.is_set():  # It was asked to stop before there was a process to send that to.
            process.send(signal.SIGTERM)
        self.state = {"running": {"startedAt": began}}
        self.changed()
        code, killed_for = self._watch(process)
        fall_back = self.container.get("terminationMessagePolicy") == "FallbackToLogsOnError" and code != 0
        message = process.termination_message(fall_back_to_log=fall_back)
        return code, "Completed" if code == 0 else "Error", message or killed_for

    def _watch(self, process: RunningProcess) -> tuple[int, str]:
        """Probe until it ends. Returns its exit code, and the probe because of which it was killed."""
        killed_for = self._watch_startup(process, Watch(self._probes["startupProbe"]))
        if not killed_for:
            liveness, readiness = (Watch(self._probes[name]) for name in ("livenessProbe", "readinessProbe"))
            killed_for = self._watch_health(process, liveness, readiness)
        if killed_for:
            process.send(signal.SIGTERM)
            if process.wait(_KILL_SECONDS) is None:
                process.send(signal.SIGKILL)
        code = process.wait()
        assert code is not None
        return code, killed_for

    def _watch_startup(self, process: RunningProcess, startup: Watch) -> str:
        while startup.probe is not None and process.wait(startup.seconds_left(_POLL_SECONDS)) is None:
            why = self._ask_if_due(process, startup)
            if why is None:
                continue
            if not why and startup.good >= startup.probe.successes:
                break
            if startup.bad >= startup.probe.failures:
                return f"startup probe failed: {why}"
        self.started = process.wait(0) is None
        self.changed()
        return ""

    def _watch_health(self, process: RunningProcess, liveness: Watch, readiness: Watch) -> str:
        self._set_ready(self.started and readiness.probe is None)
        while process.wait(min(liveness.seconds_left(_POLL_SECONDS), readiness.seconds_left(_POLL_SECONDS))) is None:
            if self._ask_if_due(process, liveness) and liveness.gave_up():
                return f"liveness probe failed: {liveness.why}"
            # Before it is ready for the first time only a success has a consequence, so we may probe often.
            if self._ask_if_due(process, readiness, impatient=not self.ready) is not None:
                self._set_ready(readiness.good >= readiness.successes() or (self.ready and not readiness.gave_up()))
        return ""

    def _ask_if_due(self, process: RunningProcess, watch: Watch, *, impatient: bool = False) -> str | None:
        """None when it is not due yet, else the result of `ask`."""
        if watch.probe is None or watch.seconds_left(1) > 0:
            return None
        why = ask(watch.probe, self.container, self.address, process.execute)
        watch.note(why, min(watch.probe.period, _IMPATIENT_SECONDS) if impatient else watch.probe.period)
        return why

    def _set_ready(self, ready: bool) -> None:
        if ready != self.ready:
            self.ready = ready
            self.changed()


def now() -> str:
    """The time as Kubernetes writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
