"""Who a container runs as and what it may do, read from the securityContexts of container and pod. Pure.

Source: core/v1 SecurityContext, PodSecurityContext. launch.py makes it so.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from lab.sandbox.errors import ContainerError
from lab.sandbox.state import Manifest

# linux/capability.h, in the order of their numbers.
_CAPABILITIES: Final = (
    "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP",
    "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER",
    "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE",
    "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP",
    "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF",
    "CHECKPOINT_RESTORE",
)  # fmt: skip
# What containerd gives a container that asks for nothing (oci/spec.go, defaultUnixCaps).
_DEFAULT_CAPABILITIES: Final = frozenset({
    "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "NET_RAW",
    "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Security:
    """Who a container runs as and what it may do: its own securityContext before the pod's."""

    uid: int
    gid: int
    capabilities: frozenset[str]
    no_new_privileges: bool
    read_only_root: bool

    def plan(self) -> dict[str, Any]:
        """Its part of a plan."""
        return {
            "uid": self.uid,
            "gid": self.gid,
            "capabilities": sorted(_CAPABILITIES.index(name) for name in self.capabilities),
            "no_new_privileges": self.no_new_privileges,
        }


def parse_security(container: Manifest, pod: Manifest) -> Security:
    """Read both securityContexts. Raises ContainerError as kubelet does for root where runAsNonRoot is set."""
    outer, own = pod["spec"].get("securityContext") or {}, container.get("securityContext") or {}
    both = {**outer, **own}
    uid, gid = int(both.get("runAsUser") or 0), int(both.get("runAsGroup") or 0)
    if both.get("runAsNonRoot") and uid == 0:
        raise ContainerError(
            f"container {container['name']}: runAsNonRoot without a runAsUser other than 0 (no image says another)"
        )
    wanted = own.get("capabilities") or {}
    dropped, added = (_capability_names(container, wanted.get(key) or []) for key in ("drop", "add"))
    privileged = bool(own.get("privileged"))
    return Security(
        uid,
        gid,
        frozenset(_CAPABILITIES) if privileged else (_DEFAULT_CAPABILITIES - dropped) | added,
        own.get("allowPrivilegeEscalation") is False,
        bool(own.get("readOnlyRootFilesystem")),
    )


def _capability_names(container: Manifest, names: Sequence[str]) -> frozenset[str]:
    plain = {name.upper().removeprefix("CAP_") for name in names}
    if "ALL" in plain:
        return frozenset(_CAPABILITIES)
    if unknown := plain - set(_CAPABILITIES):
        raise ContainerError(f"container {container['name']}: unknown capability {', '.join(sorted(unknown))}")
    return frozenset(plain)
