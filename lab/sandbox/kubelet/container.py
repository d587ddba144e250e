"""From a container's manifest to its running process: environment, root, volumes, user and command line put together.

What each part means is its own module's; the process is process.py's; when containers run is pod.py's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from lab.sandbox.errors import ContainerError
from lab.sandbox.kubelet import environment, rootfs
from lab.sandbox.kubelet.process import Process, start_process
from lab.sandbox.kubelet.rootfs import Bind, Step, users
from lab.sandbox.kubelet.security import Security, parse_security
from lab.sandbox.kubelet.volumes import Volumes
from lab.sandbox.linux.network import GATEWAY, Network, PodNetwork
from lab.sandbox.state import ClusterState, Manifest

_TERMINATION_MESSAGE: Final = "/dev/termination-log"
_REFUSED: Final = ("hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace")


@dataclass(frozen=True, slots=True)
class NodeResources:
    """What all pods of the node share; `first_pause` is the wait before a first restart, in seconds."""

    state: ClusterState
    network: Network
    image: rootfs.Image
    directory: Path
    zone: str
    first_pause: float


@dataclass(frozen=True, slots=True)
class PodSandbox:
    """What the containers of one pod share."""

    pod: Manifest
    node: NodeResources
    network: PodNetwork
    volumes: Volumes
    logs: Path

    @property
    def address(self) -> str:
        """The pod's address."""
        return self.network.address

    def start_container(self, container: Manifest) -> Process:
        """Start it. Raises ContainerError: what of its manifest is not supported, or why it did not start."""
        place = environment.Place(self.address, GATEWAY)
        variables = environment.build(container, self.pod, place, self.node.state)
        security = parse_security(container, self.pod)
        own = (
            *_own_steps(container, security, self.logs),
            *self._pod_steps(),
            *_mounts(container, self.volumes, variables),
        )
        plan = _make_plan(container, variables, security, environment.command_line(container, variables))
        plan |= {"steps": rootfs.steps(self.node.image, own), "namespaces": self.network.namespaces}
        return start_process(plan, self.logs, container["name"])

    def remove(self) -> None:
        """Give back network and volumes; the logs stay."""
        self.volumes.remove()
        self.node.network.remove_pod(self.network)

    def _pod_steps(self) -> tuple[rootfs.Step, ...]:
        spec, namespace = self.pod["spec"], self.pod["metadata"]["namespace"]
        hostname, subdomain = environment.hostname(self.pod), spec.get("subdomain")
        full = [f"{hostname}.{subdomain}.{namespace}.svc.{self.node.zone}"] if subdomain else []
        return (
            rootfs.hosts(self.address, [*full, hostname], spec.get("hostAliases") or []),
            rootfs.resolver(GATEWAY, namespace, self.node.zone),
            rootfs.File("/etc/hostname", f"{hostname}\n"),
        )


def make_pod_sandbox(pod: Manifest, node: NodeResources) -> PodSandbox:
    """Make a pod's namespaces, its place in the network, and its volumes, those of ConfigMaps and the like still empty.

    Raises ContainerError for what the demo does not support, SandboxError for what the machine refuses.
    """
    spec = pod["spec"]
    if refused := [key for key in _REFUSED if spec.get(key)]:
        raise ContainerError(f"the demo does not support {refused[0]}")
    name = f"{pod['metadata']['namespace']}_{pod['metadata']['name']}"
    sysctls = (spec.get("securityContext") or {}).get("sysctls") or []
    values = {entry["name"]: str(entry["value"]) for entry in sysctls}
    network = node.network.add_pod(environment.hostname(pod), values)
    place = environment.Place(network.address, GATEWAY)
    volumes = Volumes(pod, place, node.state, node.directory / "pods" / name, node.directory / "claims")
    volumes.prepare()
    logs = node.directory / "logs" / name
    logs.mkdir(parents=True, exist_ok=True)
    return PodSandbox(pod, node, network, volumes, logs)


def _make_plan(
    container: Manifest,
    variables: Mapping[str, str],
    security: Security,
    command_line: Sequence[str],
) -> dict[str, Any]:
    """What launch.py needs to know, but for the root's steps and the pod's namespaces."""
    return {
        **security.plan(),
        "read_only_root": security.read_only_root,
        "argv": list(command_line),
        "env": dict(variables),
        "cwd": container.get("workingDir") or "/",
    }


def _own_steps(container: Manifest, security: Security, directory: Path) -> tuple[Step, ...]:
    """Users and the termination message's file."""
    path = container.get("terminationMessagePath") or _TERMINATION_MESSAGE
    message = directory / f"{container['name']}.message"
    return (*users(security.uid, security.gid), Bind(path, str(message), read_only=False))


def _mounts(container: Manifest, volumes: Volumes, variables: Mapping[str, str]) -> tuple[Step, ...]:
    """A container's volumes at their paths. Raises ContainerError for a volume that the pod does not have."""
    return tuple(
        Bind(
            mount["mountPath"],
            str(_mounted(mount, volumes.path(mount["name"]), variables)),
            read_only=bool(mount.get("readOnly")),
        )
        for mount in container.get("volumeMounts") or []
    )


def _mounted(mount: Manifest, folder: Path, variables: Mapping[str, str]) -> Path:
    sub_path = mount.get("subPath") or environment.expand(mount.get("subPathExpr") or "", variables)
    if not sub_path:
        return folder
    below = folder / sub_path
    if ".." in Path(sub_path).parts:
        raise ContainerError(f"volumeMount {mount['name']}: subPath {sub_path!r} leaves the volume")
    if not below.exists():
        below.mkdir(parents=True)
    return below
