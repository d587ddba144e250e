"""The outer sandbox: new user, mount, network and pid namespaces in which the whole demo runs, without root.

Its first process is the demo itself, and the kernel ends all others with it: nothing survives, not even `kill -9`.
`python -m lab.sandbox.linux.enclosure ARGUMENTS...` runs `python ARGUMENTS...` in a sandbox.
Nothing here knows of pods.
"""

import os
import shutil
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, NoReturn

from contract.names import EXIT_UNAVAILABLE
from lab.sandbox.errors import SandboxError
from lab.sandbox.linux import kernel

# A memory file system of the sandbox's own is mounted over this host folder, which every Linux has:
# what the demo writes goes there, and is gone with the sandbox.
STATE: Final = Path("/dev/shm")  # noqa: S108 - ours alone, inside
INSIDE: Final = "PODTLS_SANDBOX"  # in the environment of the sandbox: the pid of its first process, as the host sees it

_PROGRAMS: Final = {"ip": "iproute2", "nsenter": "util-linux"}
_SYSTEM_FOLDERS: Final = "/usr/local/sbin:/usr/sbin:/sbin"  # Not on every ordinary user's PATH; `ip` is often there.
_GRACE_SECONDS: Final = 15
_FORWARDED: Final = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
_SENT_BY_TERMINAL: Final = 0x80  # SI_KERNEL of sigaction(2): Ctrl-C, which the demo's process has got itself

# What forbids user namespaces, how it reads when it does, what to type, and where it is met.
_SWITCHES: Final = (
    ("kernel.apparmor_restrict_unprivileged_userns", "1", "0", "Ubuntu 23.10 and newer"),
    ("kernel.unprivileged_userns_clone", "0", "1", "Debian 10, hardened kernels"),
    ("user.max_user_namespaces", "0", "10000", "RHEL 7, hardened machines"),
)


def is_inside() -> bool:
    """Whether this process is in a sandbox."""
    return INSIDE in os.environ


def enter(arguments: Sequence[str]) -> NoReturn:
    """Replace this process by a sandbox that runs `python ARGUMENTS...` and ends with its exit status.

    Where namespaces are forbidden it says so, says what to type, and ends with 69.
    """
    command = [sys.executable, "-m", __name__, *arguments]
    # No cover: what an exec replaces leaves no measurements; test_demo_sandbox_enter.py sees what comes of it.
    os.execve(sys.executable, command, {**os.environ, **importable()})  # noqa: S606  # pragma: no cover


def command_to_enter(*, environment: Mapping[str, str] = os.environ) -> list[str]:
    """What to type on the host, in another terminal, to be in this sandbox."""
    return [
        "nsenter",
        f"--target={environment[INSIDE]}",
        "--user",
        "--preserve-credentials",
        "--mount",
        "--net",
        "--pid",
    ]


def importable() -> dict[str, str]:
    """Environment with which another Python finds this package from any folder."""
    root = str(Path(__file__).parents[3])
    known = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    return {"PYTHONPATH": os.pathsep.join([root, *(part for part in known if part and part != root)])}


def main(arguments: Sequence[str]) -> int:
    """Run `python ARGUMENTS...` in a sandbox; its exit status, 128 + the signal that ended it, or 69."""
    os.environ["PATH"] = f"{os.environ.get('PATH', os.defpath)}:{_SYSTEM_FOLDERS}"
    try:
        _require_programs()
        return _supervise(_start(arguments))
    except SandboxError as error:
        sys.stderr.write(f"sandbox: {error}\n")
        return EXIT_UNAVAILABLE


def _require_programs() -> None:
    missing = {program: package for program, package in _PROGRAMS.items() if shutil.which(program) is None}
    if missing:
        packages = " ".join(missing.values())
        raise SandboxError(
            f"not found: {', '.join(missing)}. What to type: apt-get install {packages}"
            f" (or dnf, apk, pacman), then the same command again"
        )


def _start(arguments: Sequence[str]) -> int:
    """Fork the first process of new namespaces; its pid. The caller must have one thread only."""
    told_to_go, go = os.pipe()
    ready, tell_ready = os.pipe()
    who = (os.getuid(), os.getgid())
    signal.pthread_sigmask(signal.SIG_BLOCK, _FORWARDED | {signal.SIGCHLD})
    _attempt(lambda: kernel.unshare(kernel.NEW_USER | kernel.NEW_MOUNT | kernel.NEW_NET | kernel.NEW_PID))
    _attempt(lambda: kernel.map_user(0, 0, outside=who))
    child = os.fork()
    if child == 0:  # pragma: no cover - it becomes another program; see enter
        os.close(go)
        os.close(ready)
        _be_first(arguments, told_to_go, tell_ready)
    os.close(told_to_go)
    os.close(tell_ready)
    # Only here is its pid known as the host sees it; in there it is 1.
    os.write(go, str(child).encode())
    os.close(go)
    problem = os.read(ready, 4096).decode()
    os.close(ready)
    if problem:
        os.waitpid(child, 0)
        raise SandboxError(problem)
    return child


def _be_first(arguments: Sequence[str], told_to_go: int, tell_ready: int) -> NoReturn:  # pragma: no cover
    """The first process inside: tie its life to the parent's, mount what is ours, become the demo."""
    try:
        kernel.die_with_parent(signal.SIGKILL)
        # The parent may have ended just before that: then nobody writes.
        if host_pid := os.read(told_to_go, 16).decode():
            _attempt(_mount_ours)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _FORWARDED | {signal.SIGCHLD})
            # A shell's background job is started with SIGINT ignored, and it is by SIGINT that we ask for the end.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            # Temporary files too belong where they end with the sandbox.
            environment = {**os.environ, **importable(), INSIDE: host_pid, "TMPDIR": str(STATE)}
            os.execve(sys.executable, [sys.executable, *arguments], environment)  # noqa: S606 - as above
    except (SandboxError, OSError) as error:
        os.write(tell_ready, str(error).encode()[:4096])
    os._exit(EXIT_UNAVAILABLE)


def _mount_ours() -> None:  # pragma: no cover
    kernel.make_private()
    kernel.mount("proc", "/proc", flags=kernel.NOSUID | kernel.NODEV | kernel.NOEXEC)
    kernel.mount("tmpfs", STATE, flags=kernel.NOSUID | kernel.NODEV, options="mode=755")
    # Pods see the host's folders read-only; better to learn now that this kernel cannot do it.
    trial = STATE / "trial"
    trial.mkdir()
    kernel.bind("/usr", trial, read_only=True)
    kernel.unmount(trial)
    trial.rmdir()


def _attempt(step: Callable[[], None]) -> None:
    """Do what a machine may forbid. Raises SandboxError with what to type: only trying tells, a sysctl does not."""
    try:
        step()
    except OSError as error:
        what = f"{error.filename}: {error.strerror}"
        raise SandboxError(f"this machine does not let us make namespaces ({what}).\n{advice(_read_switch)}") from error


def advice(read_switch: Callable[[str], str]) -> str:
    """What to type where namespaces are forbidden. `read_switch` gives a sysctl's value, "" when it is not there."""
    forbidding = [row for row in _SWITCHES if read_switch(row[0]) == row[1]]
    lines = [f"  sudo sysctl -w {name}={value}    # {where}" for name, _, value, where in forbidding] or [
        "  docker run --privileged ...    # when this is a container: its seccomp profile forbids it",
        "  (else: Linux 5.12 or newer is needed, and a security module may have to allow user namespaces)",
    ]
    return "\n".join(["What to type, then the same command again:", *lines])


def _read_switch(name: str) -> str:
    try:
        return Path("/proc/sys", *name.split(".")).read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _supervise(child: int) -> int:
    """Pass signals on until the first process ends; its exit status. A second signal, or a deadline, kills it."""
    asked = False
    while True:
        received = signal.sigtimedwait(_FORWARDED | {signal.SIGCHLD}, _GRACE_SECONDS if asked else 3600)
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            exit_status = os.waitstatus_to_exitcode(status)
            return exit_status if exit_status >= 0 else 128 - exit_status
        if received is None and not asked:
            continue
        if received is not None and received.si_signo == signal.SIGCHLD:
            continue
        if asked:
            os.kill(child, signal.SIGKILL)
        elif received is not None and received.si_code != _SENT_BY_TERMINAL:
            # All of them as SIGINT: the first process of a pid namespace ignores what it has no handler for.
            os.kill(child, signal.SIGINT)
        asked = True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
