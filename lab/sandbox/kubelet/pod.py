"""The life of one pod as kubelet lives it: sandbox, init containers in order, sidecars, apps, status, the end.

Source: Kubernetes "Pod Lifecycle", "Init Containers", "Sidecar Containers". One container's life is runner.py's.
"""

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from lab.sandbox.errors import ContainerError, DemoError, MissingError, NotFoundError
from lab.sandbox.kubelet.assembly import Sandbox, Surroundings, make_sandbox
from lab.sandbox.kubelet.podstatus import all_containers, explain, is_sidecar, lasting, message, pod_status
from lab.sandbox.kubelet.runner import Runner, now
from lab.sandbox.state import Manifest

_REFRESH_SECONDS: Final = 2.0
_RETRY_SECONDS: Final = 0.25
_SIDECAR_SECONDS: Final = 2.0  # kubelet too leaves sidecars little when the apps have used up the grace period
_ENDED: Final = frozenset({"Failed", "Succeeded"})


@dataclass(slots=True)
class RunningPod:
    """A pod that was started; it goes on in threads of its own until it is stopped or its apps have ended."""

    pod: Manifest
    around: Surroundings
    phase: str = "Pending"
    problem: str = ""
    sandbox: Sandbox | None = None
    runners: dict[str, Runner] = field(default_factory=dict)
    _began: str = field(default_factory=now)
    _initialized: bool = False
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    @property
    def full_name(self) -> str:
        """Namespace and name, as people write it."""
        return f"{self.pod['metadata']['namespace']}/{self.pod['metadata']['name']}"

    @property
    def address(self) -> str:
        """The pod's address, "" before it has one."""
        return self.sandbox.address if self.sandbox else ""

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread = threading.Thread(target=self._run, name=f"pod-{self.full_name}", daemon=True)
        self._thread.start()

    def is_ready(self) -> bool:
        """Whether all its containers are."""
        runners = [self.runners.get(container["name"]) for container in lasting(self.pod)]
        return self.phase == "Running" and all(runner is not None and runner.ready for runner in runners)

    def wait_ready(self, seconds: float) -> None:
        """Return when all containers are ready. Raises ContainerError: which is not, why, and the end of its log."""
        with self._changed:
            self._changed.wait_for(lambda: self.is_ready() or self.phase in _ENDED, seconds)
        if not self.is_ready():
            raise ContainerError(f"pod {self.full_name} is not ready: {self.explain()}")

    def wait_finished(self, seconds: float) -> str:
        """Return the phase when its apps have ended for good. Raises ContainerError as wait_ready does."""
        with self._changed:
            finished = self._changed.wait_for(lambda: self.phase in _ENDED, seconds)
        if not finished:
            raise ContainerError(f"pod {self.full_name} has not ended: {self.explain()}")
        return self.phase

    def explain(self) -> str:
        """What is not as it should be, for a person."""
        return explain(self.runners, self.problem or f"phase {self.phase}", self.read_log)

    def read_log(self, container: str) -> str:
        """All that a container wrote, through its restarts; "" before it started."""
        path = self._logs() / f"{container}.log"
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    def stop(self, grace: float) -> None:
        """End it: the apps first, then sidecars, the last one first; then its network and volumes."""
        self._stop.set()
        with self._changed:
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()  # From here on it starts no container any more.
        _end([runner for runner, sidecar in self._started() if not sidecar], grace)
        self._end_sidecars(min(grace, _SIDECAR_SECONDS))
        if self.sandbox is not None:
            self.sandbox.remove()
            self.sandbox = None

    def _run(self) -> None:
        try:
            self.sandbox = make_sandbox(self.pod, self.around)
            # The address is known to the API server before the first container asks the CA for anything.
            self._publish()
            self._fill_volumes(self.sandbox)
            if self._initialize():
                self._run_apps(self.sandbox)
        except (DemoError, OSError) as error:
            self._end_as("Failed", str(error))

    def _fill_volumes(self, sandbox: Sandbox) -> None:
        while not self._stop.wait(_RETRY_SECONDS if self.problem else 0):
            try:
                sandbox.volumes.refresh()
            except MissingError as error:
                self.problem = str(error)
                self._publish()
                continue
            self.problem = ""
            return

    def _initialize(self) -> bool:
        """Run the init containers in order, each to its end, a sidecar until it has started; False: it ends here."""
        for container in self.pod["spec"].get("initContainers") or []:
            if self._stop.is_set():
                return False
            runner = self._begin(container)
            enough = _has_started(runner) if is_sidecar(container) else runner.finished.is_set
            if not self._wait(enough):
                return False
            if runner.exit_code():
                self._end_sidecars(_SIDECAR_SECONDS)
                self._end_as("Failed", f"init container {container['name']} failed: {message(runner.state)}")
                return False
        self._initialized = True
        return not self._stop.is_set()

    def _run_apps(self, sandbox: Sandbox) -> None:
        apps = [self._begin(container) for container in self.pod["spec"]["containers"]]
        self.phase = "Running"
        self._publish()
        while not self._wait(lambda: all(app.finished.is_set() for app in apps), _REFRESH_SECONDS):
            if self._stop.is_set():
                return
            # Something that went away from the API server stays in the pod as it was.
            with contextlib.suppress(DemoError):
                sandbox.volumes.refresh()
        self._end_sidecars(_SIDECAR_SECONDS)
        self._end_as("Succeeded" if all(app.exit_code() == 0 for app in apps) else "Failed", "")

    def _begin(self, container: Manifest) -> Runner:
        sandbox = self.sandbox
        assert sandbox is not None
        runner = Runner(
            container,
            sandbox.address,
            self._restart_policy(container),
            lambda: sandbox.start_container(container),
            self._publish,
            self.around.first_pause,
        )
        self.runners[container["name"]] = runner
        runner.start()
        return runner

    def _restart_policy(self, container: Manifest) -> str:
        policy = str(self.pod["spec"].get("restartPolicy") or "Always")
        if is_sidecar(container):
            return "Always"
        is_init = container in (self.pod["spec"].get("initContainers") or [])
        return "OnFailure" if is_init and policy == "Always" else policy

    def _started(self) -> list[tuple[Runner, bool]]:
        """The runners, in the order of their start, and whether each is a sidecar's."""
        containers = [container for container in all_containers(self.pod) if container["name"] in self.runners]
        return [(self.runners[container["name"]], is_sidecar(container)) for container in containers]

    def _end_sidecars(self, grace: float) -> None:
        for runner in reversed([runner for runner, sidecar in self._started() if sidecar]):
            _end([runner], grace)

    def _wait(self, condition: Callable[[], bool], seconds: float | None = None) -> bool:
        """Until it holds; False when the pod is being stopped, or the time is over."""
        with self._changed:
            self._changed.wait_for(lambda: self._stop.is_set() or condition(), seconds)
            return not self._stop.is_set() and condition()

    def _end_as(self, phase: str, problem: str) -> None:
        self.phase, self.problem = phase, problem
        self._publish()

    def _publish(self) -> None:
        facts: dict[str, Any] = {
            "phase": self.phase,
            "problem": self.problem,
            "address": self.address,
            "began": self._began,
        }
        with self._changed:
            facts |= {"initialized": self._initialized, "ready": self.is_ready()}
            status = pod_status(self.pod, self.runners, facts)
            # A pod that is deleted has nobody to report to any more.
            with contextlib.suppress(NotFoundError):
                metadata = self.pod["metadata"]
                self.around.state.update_pod_status(metadata["namespace"], metadata["name"], status)
            self._changed.notify_all()

    def _logs(self) -> Path:
        return self.around.directory / "logs" / self.full_name.replace("/", "_")


def _has_started(runner: Runner) -> Callable[[], bool]:
    return lambda: runner.started


def _end(runners: list[Runner], grace: float) -> None:
    for runner in runners:
        runner.ask_to_stop()
    deadline = time.monotonic() + grace
    for runner in runners:
        runner.stop(max(deadline - time.monotonic(), 0))
