"""From a container's manifest to its running process: environment, root, user and command line put together.

Each part's meaning is its own module's; when containers run is pod.py's.
"""

from dataclasses import dataclass
from pathlib import Path

from lab.sandbox.errors import ContainerError
from lab.sandbox.kubelet import environment, rootfs
from lab.sandbox.kubelet.container import Process, make_plan, mounts, own_steps, start
from lab.sandbox.kubelet.security import parse_security
from lab.sandbox.kubelet.volumes import Volumes
from lab.sandbox.linux.network import GATEWAY, Network, PodNetwork
from lab.sandbox.state import ClusterState, Manifest

_REFUSED = ("hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace")


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all pods of the node share; `first_pause` is the wait before a first restart, in seconds."""

    state: ClusterState
    network: Network
    image: rootfs.Image
    directory: Path
    zone: str
    first_pause: float


@dataclass(frozen=True, slots=True)
class Sandbox:
    """What the containers of one pod share."""

    pod: Manifest
    around: Surroundings
    network: PodNetwork
    volumes: Volumes
    logs: Path

    @property
    def address(self) -> str:
        """The pod's address."""
        return self.network.address

    def start_container(self, container: Manifest) -> Process:
        """Start it. Raises ContainerError saying what of its manifest cannot be had, or why it did not start."""
        place = environment.Place(self.address, GATEWAY)
        variables = environment.build(container, self.pod, place, self.around.state)
        security = parse_security(container, self.pod)
        own = (
            *own_steps(container, security, self.logs),
            *self._pod_steps(),
            *mounts(container, self.volumes, variables),
        )
        plan = make_plan(container, variables, security, environment.command_line(container, variables))
        plan |= {"steps": rootfs.steps(self.around.image, own), "namespaces": self.network.namespaces}
        return start(plan, self.logs, container["name"])

    def remove(self) -> None:
        """Give back network and volumes; the logs stay."""
        self.volumes.remove()
        self.around.network.remove_pod(self.network)

    def _pod_steps(self) -> tuple[rootfs.Step, ...]:
        spec, namespace = self.pod["spec"], self.pod["metadata"]["namespace"]
        hostname, subdomain = environment.hostname(self.pod), spec.get("subdomain")
        full = [f"{hostname}.{subdomain}.{namespace}.svc.{self.around.zone}"] if subdomain else []
        return (
            rootfs.hosts(self.address, [*full, hostname], spec.get("hostAliases") or []),
            rootfs.resolver(GATEWAY, namespace, self.around.zone),
            rootfs.File("/etc/hostname", f"{hostname}\n"),
        )


def make_sandbox(pod: Manifest, around: Surroundings) -> Sandbox:
    """Make a pod's namespaces, its place in the network, and its volumes, those of ConfigMaps and the like still empty.

    Raises ContainerError for what the demo does not have, SandboxError for what the machine refuses.
    """
    spec = pod["spec"]
    if refused := [key for key in _REFUSED if spec.get(key)]:
        raise ContainerError(f"{refused[0]} is not had in the demo")
    name = f"{pod['metadata']['namespace']}_{pod['metadata']['name']}"
    sysctls = (spec.get("securityContext") or {}).get("sysctls") or []
    values = {entry["name"]: str(entry["value"]) for entry in sysctls}
    network = around.network.add_pod(environment.hostname(pod), values)
    place = environment.Place(network.address, GATEWAY)
    volumes = Volumes(pod, place, around.state, around.directory / "pods" / name, around.directory / "claims")
    volumes.prepare()
    logs = around.directory / "logs" / name
    logs.mkdir(parents=True, exist_ok=True)
    return Sandbox(pod, around, network, volumes, logs)
