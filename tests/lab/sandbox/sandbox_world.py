"""A node in a sandbox, driven by tests from outside: one JSON call a line in, one answer a line out.

`python -m lab.sandbox.linux.enclosure tests/lab/sandbox/sandbox_world.py`; it ends when its input does.
"""

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from lab.sandbox.errors import DemoError
from lab.sandbox.linux.capture import Capture
from lab.sandbox.node import Node, running_node
from lab.sandbox.state import Manifest
from tests.fakes import FakeClusterState


class World:
    """What the tests may ask for."""

    def __init__(self, node: Node, state: FakeClusterState) -> None:
        self._node = node
        self._state = state
        self._captures: list[Capture] = []

    def run_pod(self, pod: Manifest) -> None:
        self._state.add_pod(pod)
        self._node.kubelet.run_pod(pod)

    def wait_ready(self, namespace: str, name: str, seconds: float) -> None:
        self._node.kubelet.pod(namespace, name).wait_ready(seconds)

    def execute(self, namespace: str, pod: str, container: str, command: list[str], timeout: float) -> list[Any]:
        done = self._node.kubelet.exec(namespace, pod, container, command, timeout)
        return [done.returncode, done.stdout, done.stderr]

    def logs(self, namespace: str, pod: str, container: str) -> str:
        return self._node.kubelet.logs(namespace, pod, container)

    def status(self, namespace: str, name: str) -> Manifest:
        status: Manifest = self._state.pod_objects[namespace, name].get("status", {})
        return status

    def stop_pod(self, namespace: str, name: str, grace: float | None) -> None:
        self._node.kubelet.stop_pod(namespace, name, grace)
        del self._state.pod_objects[namespace, name]

    def set_service(self, service: Manifest) -> None:
        self._state.service_objects.append(service)
        self._node.sync_services()

    def set_config_map(self, namespace: str, name: str, data: dict[str, str]) -> None:
        self._state.config_maps[namespace, name] = {"data": data}

    def command_to_exec(self, namespace: str, pod: str, container: str) -> list[str]:
        return self._node.kubelet.command_to_exec(namespace, pod, container)

    def read_claim(self, namespace: str, claim: str, name: str) -> str:
        return (self._node.kubelet.claim_directory(namespace, claim) / name).read_text(encoding="utf-8")

    def begin_capture(self, namespace: str, pod: str) -> None:
        self._captures.append(self._node.capture(namespace, pod))

    def end_capture(self) -> dict[str, Any]:
        report = self._captures.pop().stop()
        plaintext = [stream.plaintext.decode(errors="replace") for stream in report.plaintext]
        return {"tls_only": report.is_tls_only, "plaintext": plaintext, "records": report.records}


def answer(call: Callable[..., object], arguments: list[Any]) -> dict[str, Any]:
    try:
        return {"result": call(*arguments)}
    except (DemoError, subprocess.TimeoutExpired) as error:
        return {"error": type(error).__name__, "message": str(error)}


def say(what: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def main() -> None:
    state = FakeClusterState()
    with running_node(state, fixed_backends={("shop", "fixed"): [("10.244.0.1", 6443)]}, first_pause=0.2) as node:
        world = World(node, state)
        say({"result": "ready"})
        for line in sys.stdin:
            name, *arguments = json.loads(line)
            say(answer(getattr(world, name), arguments))


if __name__ == "__main__":
    main()
