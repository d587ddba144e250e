"""The life of one pod as a kubelet runs it: its sandbox, init containers in order, sidecars, apps, status, the end.

Source: Kubernetes "Pod Lifecycle", "Init Containers", "Sidecar Containers"; core/v1 PodStatus.
One container's life is runner.py's.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from lab.sandbox.errors import ContainerError, DemoError, MissingError, NotFoundError
from lab.sandbox.kubelet.container import NodeResources, PodSandbox, make_pod_sandbox
from lab.sandbox.kubelet.runner import Runner, now
from lab.sandbox.linux.network import GATEWAY
from lab.sandbox.pods import containers, is_sidecar, lasting_containers
from lab.sandbox.state import Manifest

_REFRESH_SECONDS: Final = 2.0
_RETRY_SECONDS: Final = 0.25
_SIDECAR_SECONDS: Final = 2.0  # kubelet too leaves sidecars little when the apps have used up the grace period
_LOG_LINES: Final = 12
_WAITING: Final = {"waiting": {"reason": "PodInitializing"}}
_ENDED: Final = frozenset({"Failed", "Succeeded"})


@dataclass(slots=True)
class RunningPod:
    """A pod that was started; it goes on in threads of its own until it is stopped or its apps have ended."""

    pod: Manifest
    node: NodeResources
    phase: str = "Pending"
    problem: str = ""
    sandbox: PodSandbox | None = None
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
        runners = [self.runners.get(container["name"]) for container in lasting_containers(self.pod["spec"])]
        return self.phase == "Running" and all(runner is not None and runner.ready for runner in runners)

    def wait_ready(self, seconds: float) -> None:
        """Return when all containers are ready. Raises ContainerError: which is not, why, and the end of its log."""
        with self._changed:
            self._changed.wait_for(lambda: self.is_ready() or self.phase in _ENDED, seconds)
        if not self.is_ready():
            raise ContainerError(f"pod {self.full_name} is not ready: {self.explain()}")

    def explain(self) -> str:
        """What is not as it should be, for a person."""
        parts = [self.problem or f"phase {self.phase}"]
        for name, runner in list(self.runners.items()):
            if told := runner.explain():
                parts.append(told)
                parts += [f"  {name} | {line}" for line in self.read_log(name).splitlines()[-_LOG_LINES:]]
        return "\n".join(parts)

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
            self.sandbox = make_pod_sandbox(self.pod, self.node)
            # The address is known to the API server before the first container asks the CA for anything.
            self._publish()
            self._fill_volumes(self.sandbox)
            if self._initialize():
                self._run_apps(self.sandbox)
        except (DemoError, OSError) as error:
            self._end_as("Failed", str(error))

    def _fill_volumes(self, sandbox: PodSandbox) -> None:
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
                self._end_as("Failed", f"init container {container['name']} failed: {runner.message()}")
                return False
        self._initialized = True
        return not self._stop.is_set()

    def _run_apps(self, sandbox: PodSandbox) -> None:
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
            self.node.first_pause,
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
        started = [container for container in containers(self.pod["spec"]) if container["name"] in self.runners]
        return [(self.runners[container["name"]], is_sidecar(container)) for container in started]

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
        with self._changed:
            # A pod that is deleted has nobody to report to any more.
            with contextlib.suppress(NotFoundError):
                metadata = self.pod["metadata"]
                self.node.state.update_pod_status(metadata["namespace"], metadata["name"], self._status())
            self._changed.notify_all()

    def _status(self) -> Manifest:
        """The PodStatus."""
        ready = self.is_ready()
        conditions = {"Initialized": self._initialized, "ContainersReady": ready, "Ready": ready}
        init_statuses = _statuses(self.pod["spec"].get("initContainers") or [], self.runners)
        status: dict[str, Any] = {
            "phase": self.phase,
            "message": self.problem,
            "hostIP": GATEWAY,
            "hostIPs": [{"ip": GATEWAY}],
            "startTime": self._began,
            "conditions": [{"type": kind, "status": str(holds)} for kind, holds in conditions.items()],
            # An init container that did its work is ready, unlike an app that ended.
            "initContainerStatuses": [each | {"ready": each["ready"] or _succeeded(each)} for each in init_statuses],
            "containerStatuses": _statuses(self.pod["spec"]["containers"], self.runners),
        }
        if self.address:
            status |= {"podIP": self.address, "podIPs": [{"ip": self.address}]}
        return status

    def _logs(self) -> Path:
        return self.node.directory / "logs" / self.full_name.replace("/", "_")


def _has_started(runner: Runner) -> Callable[[], bool]:
    return lambda: runner.started


def _end(runners: list[Runner], grace: float) -> None:
    for runner in runners:
        runner.ask_to_stop()
    deadline = time.monotonic() + grace
    for runner in runners:
        runner.stop(max(deadline - time.monotonic(), 0))


def _statuses(specs: Iterable[Manifest], runners: Mapping[str, Runner]) -> list[Manifest]:
    known = {name: runner.status() for name, runner in list(runners.items())}
    return [known.get(container["name"]) or _not_yet(container) for container in specs]


def _not_yet(container: Manifest) -> Manifest:
    named = {"name": container["name"], "image": container.get("image", ""), "imageID": ""}
    return {**named, "ready": False, "started": False, "restartCount": 0, "state": _WAITING, "lastState": {}}


def _succeeded(status: Manifest) -> bool:
    return bool(status["state"].get("terminated", {}).get("exitCode") == 0)
