"""The stand-in kubelet: runs pods as their manifests say, in namespaces of this sandbox. No image is ever unpacked.

Made by node.py; one pod's life is pod.py's. What it takes from the API server is the Protocol ClusterState.
"""

import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from lab.sandbox.errors import ContainerError, NotFoundError
from lab.sandbox.kubelet.container import NodeResources
from lab.sandbox.kubelet.pod import RunningPod
from lab.sandbox.kubelet.runner import RunningProcess
from lab.sandbox.linux import enclosure
from lab.sandbox.state import Manifest

# What the sandbox imitates without proving it; the demo prints this.
NOT_PROVEN: Final = """\
What this sandbox does not prove (the cluster tests do):
  - images: `image` is not used; this machine's programs and our Python run instead, so `command` must be given
  - limits of cpu and memory, seccomp: not enforced; lifecycle hooks: not run
  - fsGroup, and file permissions between containers: all containers share one user of this machine
  - kube-proxy, CoreDNS, NetworkPolicy: stand-ins for the first two, none for the third"""


class Kubelet:
    """Runs pods; safe to use from several threads."""

    def __init__(self, node: NodeResources) -> None:
        self._node = node
        self._pods: dict[tuple[str, str], RunningPod] = {}
        self._lock = threading.Lock()

    def run_pod(self, pod: Manifest) -> RunningPod:
        """Start a pod, known by its namespace and name, and return at once. Raises ContainerError: it runs already."""
        key = (pod["metadata"]["namespace"], pod["metadata"]["name"])
        with self._lock:
            if key in self._pods:
                raise ContainerError(f"pod {'/'.join(key)} runs already")
            running = self._pods[key] = RunningPod(pod, self._node)
        running.start()
        return running

    def pod(self, namespace: str, name: str) -> RunningPod:
        """A pod that was started. Raises NotFoundError."""
        with self._lock:
            if (namespace, name) not in self._pods:
                raise NotFoundError(f"no pod {namespace}/{name} runs here")
            return self._pods[namespace, name]

    def exec(
        self, namespace: str, pod: str, container: str, command: Sequence[str], timeout: float
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in a container, as its user: exit code, output and errors.

        Raises NotFoundError, ContainerError (it does not run, or has no such command), subprocess.TimeoutExpired.
        """
        return self._process(namespace, pod, container).execute(command, timeout)

    def logs(self, namespace: str, pod: str, container: str) -> str:
        """All that a container wrote. Raises NotFoundError for a pod that does not run here."""
        return self.pod(namespace, pod).read_log(container)

    def command_to_exec(self, namespace: str, pod: str, container: str) -> list[str]:
        """What to type on the host, in another terminal, for a shell in the container. Raises as exec does."""
        inside = self._process(namespace, pod, container).command_to_enter()
        return [*enclosure.command_to_enter(), *inside]

    def claim_directory(self, namespace: str, claim: str) -> Path:
        """Where a persistentVolumeClaim's files are, as this process sees them; they stay when their pod goes."""
        return self._node.directory / "claims" / namespace / claim

    def stop_pod(self, namespace: str, name: str, grace: float | None = None) -> None:
        """End a pod in order and forget it; its apps get `grace` seconds, else the pod's own. Raises NotFoundError."""
        running = self.pod(namespace, name)
        own = float(running.pod["spec"].get("terminationGracePeriodSeconds", 30))
        running.stop(own if grace is None else grace)
        with self._lock:
            del self._pods[namespace, name]

    def stop(self, grace: float = 0.5) -> None:
        """End all pods, at the same time."""
        with self._lock:
            keys = list(self._pods)
        threads = [threading.Thread(target=self.stop_pod, args=(*key, grace), daemon=True) for key in keys]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _process(self, namespace: str, pod: str, container: str) -> RunningProcess:
        runner = self.pod(namespace, pod).runners.get(container)
        if runner is None or runner.process is None or "running" not in runner.state:
            raise ContainerError(f"container {container} of pod {namespace}/{pod} does not run")
        return runner.process
