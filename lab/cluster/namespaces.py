"""A node's own network, mounts and processes, so that nothing it does reaches the machine or outlives it.

One process holds the namespaces: `unshare`, with `pause` as process 1 inside. When it is killed the kernel kills every
process inside and drops their mounts and network; there is nothing to unmount and no network namespace to delete.
"""

import os
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path

from lab.cluster.binaries import binary
from lab.cluster.errors import ClusterError
from lab.cluster.journal import Run
from lab.cluster.processes import PATH, Process, start, wait_until

ADDRESS = "10.245.0.1"
BRIDGE = "podtls0"  # Not every kernel has dummy devices; a bridge without ports carries the address as well.
PRIVATE = {"/var/lib": "var-lib", "/var/log": "var-log"}

# kubelet wants these of the whole machine. It finds them inside, and so it changes nothing outside.
SYSCTLS = {
    "vm/overcommit_memory": 1,
    "vm/panic_on_oom": 0,
    "kernel/panic": 10,
    "kernel/panic_on_oops": 1,
    "kernel/keys/root_maxkeys": 1_000_000,
    "kernel/keys/root_maxbytes": 25_000_000,
}


@dataclass(frozen=True, slots=True)
class Namespaces:
    """The namespaces of a node, named by the process that holds them."""

    holder: Process

    @property
    def enter(self) -> tuple[str, ...]:
        """What to write before a command so that it runs inside (not `ip netns exec`, which hides /sys/fs/cgroup)."""
        inner = f"--pid=/proc/{self.holder.pid}/ns/pid_for_children"
        return ("nsenter", f"--target={self.holder.pid}", "--mount", "--net", inner, "--")

    @property
    def enter_network(self) -> tuple[str, ...]:
        """As `enter`, for the network alone: the machine's files and processes stay in sight."""
        return ("nsenter", f"--target={self.holder.pid}", "--net", "--")

    def run(self, *argv: str, input: str | None = None) -> str:  # noqa: A002  (the name subprocess uses)
        """A command's stdout; ClusterError with its stderr when it fails."""
        command = [*self.enter, *argv]
        environment = {**os.environ, "PATH": PATH}
        answer = subprocess.run(command, input=input, env=environment, capture_output=True, text=True, check=False)
        if answer.returncode:
            raise ClusterError(f"in the node, {shlex.join(argv)} failed: {answer.stderr.strip()}")
        return answer.stdout


def open_namespaces(run: Run) -> Namespaces:
    """Make the namespaces, with loopback, an address, a default route and private folders; nothing runs there yet."""
    flags = ["--mount", "--propagation=slave", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
    holder = start(run, "namespaces", ["unshare", *flags, "--", binary("pause")])
    namespaces = Namespaces(holder)
    wait_until("the node's namespaces are there", lambda: _is_open(namespaces), watched=[holder])
    namespaces.run("sh", "-euc", _script(run))
    return namespaces


def _is_open(namespaces: Namespaces) -> bool:
    command = [*namespaces.enter, "cat", "/proc/1/comm"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    return answer.stdout == "pause\n"


def _script(run: Run) -> str:
    return "\n".join(
        [
            "mount --make-rshared /",
            *_private_folders(run),
            *_sysctls(run),
            "ip link set lo up",
            f"ip link add {BRIDGE} type bridge",
            f"ip addr add {ADDRESS}/24 dev {BRIDGE}",
            f"ip link set {BRIDGE} up",
            f"ip route add default dev {BRIDGE}",
            "echo 1 > /proc/sys/net/ipv4/ip_forward",
        ]
    )


def _private_folders(run: Run) -> list[str]:
    hidden = [top for top in (*PRIVATE, "/run") if run.folder.is_relative_to(top)]
    if hidden:
        raise ClusterError(f"the node has a {hidden[0]} of its own and would not see {run.folder}: set XDG_CACHE_HOME")
    lines = ["mount -t tmpfs -o mode=755 tmpfs /run"]
    for target, name in PRIVATE.items():
        (run.folder / name).mkdir()
        lines.append(f"mount --bind {shlex.quote(str(run.folder / name))} {target}")
    return lines


def _sysctls(run: Run) -> list[str]:
    folder = run.folder / "sysctls"
    folder.mkdir()
    for name, value in SYSCTLS.items():
        _sysctl_file(folder, name).write_text(f"{value}\n")
    return [f"mount --bind {shlex.quote(str(_sysctl_file(folder, name)))} /proc/sys/{name}" for name in SYSCTLS]


def _sysctl_file(folder: Path, name: str) -> Path:
    return folder / name.replace("/", ".")
