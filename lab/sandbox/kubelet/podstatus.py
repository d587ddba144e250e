"""What kubelet reports of a pod, and how a person is told why one is not ready. Pure; decides nothing.

Source: core/v1 PodStatus, ContainerStatus.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from lab.sandbox.kubelet.runner import Runner
from lab.sandbox.linux.network import GATEWAY
from lab.sandbox.state import Manifest

_LOG_LINES: Final = 12
_WAITING: Final = {"waiting": {"reason": "PodInitializing"}}


def is_sidecar(container: Manifest) -> bool:
    """Whether an init container is a native sidecar (KEP-753)."""
    return container.get("restartPolicy") == "Always"


def all_containers(pod: Manifest) -> list[Manifest]:
    """All containers of a pod, in the order of their start."""
    return [*(pod["spec"].get("initContainers") or []), *pod["spec"]["containers"]]


def lasting(pod: Manifest) -> list[Manifest]:
    """The containers that are there as long as the pod is: sidecars and apps."""
    return [*filter(is_sidecar, pod["spec"].get("initContainers") or []), *pod["spec"]["containers"]]


def pod_status(pod: Manifest, runners: Mapping[str, Runner], facts: Mapping[str, Any]) -> Manifest:
    """The PodStatus. `facts`: phase, problem, address ("" before there is one), began, initialized, ready."""
    ready = facts["ready"]
    conditions = {"Initialized": facts["initialized"], "ContainersReady": ready, "Ready": ready}
    status: dict[str, Any] = {
        "phase": facts["phase"],
        "message": facts["problem"],
        "hostIP": GATEWAY,
        "hostIPs": [{"ip": GATEWAY}],
        "startTime": facts["began"],
        "conditions": [{"type": kind, "status": str(holds)} for kind, holds in conditions.items()],
        "initContainerStatuses": [
            # An init container that did its work is ready, unlike an app that ended.
            status | {"ready": status["ready"] or status["state"].get("terminated", {}).get("exitCode") == 0}
            for status in _statuses(pod["spec"].get("initContainers") or [], runners)
        ],
        "containerStatuses": _statuses(pod["spec"]["containers"], runners),
    }
    if facts["address"]:
        status |= {"podIP": facts["address"], "podIPs": [{"ip": facts["address"]}]}
    return status


def explain(runners: Mapping[str, Runner], problem: str, read_log: Callable[[str], str]) -> str:
    """Each container that is not as it should be, why, and the end of its log."""
    parts = [problem]
    for name, runner in list(runners.items()):
        if not runner.ready and runner.exit_code() != 0:
            told = " ".join(filter(None, (_reason(runner.state), message(runner.state))))
            parts.append(f"container {name}: {told} (restarts: {max(runner.restarts, 0)})")
            parts += [f"  {name} | {line}" for line in read_log(name).splitlines()[-_LOG_LINES:]]
    return "\n".join(parts)


def message(state: Manifest) -> str:
    """What a ContainerState says for people."""
    (detail,) = state.values()
    return str(detail.get("message") or "")


def _reason(state: Manifest) -> str:
    ((kind, detail),) = state.items()
    code = f" with exit code {detail['exitCode']}" if kind == "terminated" else ""
    return str(detail.get("reason") or kind) + code


def _statuses(containers: Iterable[Manifest], runners: Mapping[str, Runner]) -> list[Manifest]:
    known = {name: runner.status() for name, runner in list(runners.items())}
    return [known.get(container["name"]) or _not_yet(container) for container in containers]


def _not_yet(container: Manifest) -> Manifest:
    named = {"name": container["name"], "image": container.get("image", ""), "imageID": ""}
    return {**named, "ready": False, "started": False, "restartCount": 0, "state": _WAITING, "lastState": {}}
