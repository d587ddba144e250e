"""Namespaces, mounts and privileges: the few calls of Linux that Python 3.11 lacks. Nothing here knows of pods.

Every function raises OSError naming what it was asked to do. Sources: the Linux man pages of the calls' names,
section 2. The calls act on the calling thread only, so they belong into processes of one thread.
"""

import ctypes
import os
from pathlib import Path
from typing import Final

NEW_MOUNT: Final = 0x0002_0000
NEW_UTS: Final = 0x0400_0000
NEW_IPC: Final = 0x0800_0000
NEW_USER: Final = 0x1000_0000
NEW_PID: Final = 0x2000_0000
NEW_NET: Final = 0x4000_0000
NAMESPACES: Final = {
    "net": NEW_NET,
    "uts": NEW_UTS,
    "ipc": NEW_IPC,
    "mnt": NEW_MOUNT,
    "pid": NEW_PID,
    "user": NEW_USER,
}

NOSUID: Final = 2
NODEV: Final = 4
NOEXEC: Final = 8
_BIND: Final = 4096
_RECURSIVE: Final = 16384
_PRIVATE: Final = 1 << 18
_DETACH: Final = 2

_PR_SET_PDEATHSIG: Final = 1
_PR_CAPBSET_READ: Final = 23
_PR_CAPBSET_DROP: Final = 24
_PR_SET_NO_NEW_PRIVS: Final = 38

# mount_setattr(2) has the same number on every architecture but alpha; C libraries older than 2.36 do not wrap it.
_SYS_MOUNT_SETATTR: Final = 442
_AT_RECURSIVE: Final = 0x8000
_AT_FDCWD: Final = -100
_ATTR_RDONLY: Final = 1

_libc: Final = ctypes.CDLL(None, use_errno=True)


class _MountAttributes(ctypes.Structure):
    _fields_ = (
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )


def unshare(flags: int) -> None:
    """Move this process into new namespaces (NEW_PID: its next child)."""
    _check(_libc.unshare(flags), "unshare")


def enter(descriptor: int, flag: int) -> None:
    """Move this process into a namespace (NEW_PID: its next child), given as an open file of /proc/PID/ns or a pin."""
    _check(_libc.setns(descriptor, flag), "enter a namespace")


def map_user(inside_uid: int, inside_gid: int, *, outside: tuple[int, int]) -> None:
    """Map the one user and group of a new user namespace: user_namespaces(7), the unprivileged rules."""
    outside_uid, outside_gid = outside
    # Without it the kernel lets nobody unprivileged write gid_map (CVE-2014-8989).
    Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
    Path("/proc/self/uid_map").write_text(f"{inside_uid} {outside_uid} 1", encoding="ascii")
    Path("/proc/self/gid_map").write_text(f"{inside_gid} {outside_gid} 1", encoding="ascii")


def mount(kind: str, target: str | Path, *, flags: int = 0, options: str = "") -> None:
    """Mount a new file system (tmpfs, proc) on `target`."""
    _check(_libc.mount(kind.encode(), _path(target), kind.encode(), flags, options.encode()), f"mount {kind} {target}")


def bind(source: str | Path, target: str | Path, *, read_only: bool = False) -> None:
    """Show `source`, with all that is mounted below it, at `target` too.

    It is always recursive: a namespace that got its mounts from a more privileged one may not take them apart.
    """
    result = _libc.mount(_path(source), _path(target), None, _BIND | _RECURSIVE, None)
    _check(result, f"bind {source} to {target}")
    if read_only:
        make_read_only(target)


def make_read_only(target: str | Path, *, below_too: bool = True) -> None:
    """Make a mount read-only, by default with all below it. Needs Linux 5.12."""
    attributes = _MountAttributes(_ATTR_RDONLY, 0, 0, 0)
    result = _libc.syscall(
        ctypes.c_long(_SYS_MOUNT_SETATTR),
        ctypes.c_long(_AT_FDCWD),
        _path(target),
        ctypes.c_long(_AT_RECURSIVE if below_too else 0),
        ctypes.byref(attributes),
        ctypes.c_size_t(ctypes.sizeof(attributes)),
    )
    _check(result, f"make {target} read-only")


def make_private(target: str | Path = "/") -> None:
    """Hide the mounts that follow from other mount namespaces."""
    _check(_libc.mount(b"none", _path(target), None, _RECURSIVE | _PRIVATE, None), f"make {target} private")


def unmount(target: str | Path) -> None:
    """Take a mount, and all below it, out of sight; it ends with its last user."""
    _check(_libc.umount2(_path(target), _DETACH), f"unmount {target}")


def swap_root(new: str | Path, old: str | Path) -> None:
    """Make the mount `new` the root of this mount namespace; the former root is then seen at `old`, below it."""
    _check(_libc.pivot_root(_path(new), _path(old)), f"make {new} the root")
    os.chdir("/")


def set_hostname(name: str) -> None:
    """Name this UTS namespace."""
    _check(_libc.sethostname(name.encode(), len(name.encode())), f"set host name {name}")


def die_with_parent(signal: int) -> None:
    """Have the kernel send `signal` to this process when its parent ends. Any later change of user undoes it."""
    _check(_libc.prctl(_PR_SET_PDEATHSIG, signal, 0, 0, 0), "tie this process to its parent")


def forbid_new_privileges() -> None:  # pragma: no cover - it cannot be undone in the process that measures
    """From now on no exec gains privileges: the meaning of `allowPrivilegeEscalation: false`."""
    _check(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "forbid new privileges")


def limit_capabilities(keep: frozenset[int]) -> None:
    """Drop all other capabilities from the bounding set: the next exec, root's too, has at most these."""
    capability = 0
    while _libc.prctl(_PR_CAPBSET_READ, capability, 0, 0, 0) >= 0:
        if capability not in keep:
            _check(_libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0), f"drop capability {capability}")
        capability += 1


def _path(path: str | Path) -> bytes:
    return os.fsencode(path)


def _check(result: int, doing: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), doing)
