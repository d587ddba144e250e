"""What runs in a process of its own, with one thread, because the kernel moves only such a one into namespaces.

`python -m lab.sandbox.linux.launch pod|container|exec` reads a plan (JSON) from its standard input and carries it out.
It decides nothing: what a Pod means is container.py's and rootfs.py's.

Where it says `no cover`: that runs in other namespaces, before an exec, where nothing can be measured. The tests in
test_demo_sandbox_pods.py see what it does.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NoReturn

from lab.sandbox.linux import kernel
from lab.sandbox.linux.enclosure import STATE, importable

Plan = dict[str, Any]

_OLD_ROOT: Final = "/.host"
_SETUP_FAILED: Final = 128  # the exit code that the container runtime gives what never started
_IP_SECONDS: Final = 10


def command(mode: str) -> list[str]:
    """The command line of this program; without `site`, since it needs no installed package and starts faster."""
    return [sys.executable, "-S", "-P", "-m", __name__, mode]


def environment() -> dict[str, str]:
    """The environment of this program (a container's own is in its plan)."""
    return {**os.environ, **importable()}


def write_sysctls(sysctls: Mapping[str, str]) -> None:
    """Write into this process's own namespaces. Raises OSError naming the sysctl."""
    for name, value in sysctls.items():
        # Kubernetes writes them with dots; an interface's name may hold one and then they are slashes.
        path = name if "/" in name else name.replace(".", "/")
        Path("/proc/sys", path).write_text(value, encoding="ascii")


def make_pod(plan: Plan) -> int:  # pragma: no cover
    """Make a pod's shared namespaces and pin each of them to a file, which keeps them without a process."""
    kernel.unshare(kernel.NEW_NET | kernel.NEW_UTS | kernel.NEW_IPC)
    kernel.set_hostname(plan["hostname"])
    write_sysctls(plan["sysctls"])
    subprocess.run(["ip", "-batch", "-"], input="\n".join(plan["ip"]), text=True, check=True, timeout=_IP_SECONDS)
    for name, pin in plan["pins"].items():
        kernel.bind(f"/proc/self/ns/{name}", pin)
    return 0


def run_container(plan: Plan) -> int:
    """Run a container to its end and return its exit status; `report` tells its pid, then why it did not start."""
    user = _join(plan["namespaces"])
    kernel.unshare(kernel.NEW_MOUNT | kernel.NEW_PID)
    return _fork_and_wait(plan, user, prepare=lambda: _make_root(plan))


def run_in_container(plan: Plan) -> int:
    """Run a command in a running container; its exit status. `report` as for run_container."""
    return _fork_and_wait(plan, _join(plan["namespaces"]), prepare=lambda: None)


def _join(namespaces: Mapping[str, str]) -> int | None:
    """Enter namespaces, but the user namespace: that one is returned open, since entering it ends what we may do."""
    # All are opened first, for in another mount namespace these paths mean something else.
    opened = {name: os.open(path, os.O_RDONLY | os.O_CLOEXEC) for name, path in namespaces.items()}
    user = opened.pop("user", None)
    for name, descriptor in opened.items():
        kernel.enter(descriptor, kernel.NAMESPACES[name])
        os.close(descriptor)
    return user


def _fork_and_wait(plan: Plan, user: int | None, *, prepare: Callable[[], None]) -> int:  # pragma: no cover
    child = os.fork()
    if child == 0:
        _become(plan, user, prepare)
    os.write(plan["report"], f"{child}\n".encode())
    os.close(plan["report"])
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _become(plan: Plan, user: int | None, prepare: Callable[[], None]) -> NoReturn:  # pragma: no cover
    try:
        os.set_inheritable(plan["report"], False)
        prepare()
        _drop_privileges(plan, user)
        kernel.die_with_parent(signal.SIGKILL)
        _exec(plan)
    except OSError as error:
        what = " ".join(str(part) for part in (error.filename, error.strerror) if part)
        os.write(plan["report"], what.encode())
    os._exit(_SETUP_FAILED)


def _drop_privileges(plan: Plan, user: int | None) -> None:  # pragma: no cover
    kernel.limit_capabilities(frozenset(plan["capabilities"]))
    if plan["no_new_privileges"]:
        kernel.forbid_new_privileges()
    if user is not None:
        kernel.enter(user, kernel.NEW_USER)
    elif plan["uid"] != 0 or plan["gid"] != 0:
        # Only one user of the host is ours. A namespace gives it the number that the Pod asks for; and since that is
        # not 0, the exec that follows leaves it without any capability, as on a node.
        kernel.unshare(kernel.NEW_USER)
        kernel.map_user(plan["uid"], plan["gid"], outside=(0, 0))


def _exec(plan: Plan) -> None:  # pragma: no cover
    # Python ignores these, and an exec would hand that on.
    for ignored in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(ignored, signal.SIG_DFL)
    os.umask(0o022)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.chdir(plan["cwd"])
    try:
        os.execvpe(plan["argv"][0], plan["argv"], plan["env"])  # noqa: S606 - what the Pod says
    except FileNotFoundError as error:
        raise FileNotFoundError(error.errno, "no such program here, or none that its first line names") from error


def _make_root(plan: Plan) -> None:  # pragma: no cover
    """Give this mount namespace a root of its own, made by the plan's steps."""
    root = STATE / "root"  # The same folder for each: the mount is only in this container's namespace.
    root.mkdir(exist_ok=True)
    kernel.make_private()
    kernel.mount("tmpfs", root, options="mode=755")
    old_root = root / _OLD_ROOT.lstrip("/")
    old_root.mkdir()
    kernel.swap_root(root, old_root)
    for step in plan["steps"]:
        _STEPS[step["do"]](step)
    Path(plan["cwd"]).mkdir(parents=True, exist_ok=True)
    kernel.unmount(_OLD_ROOT)
    Path(_OLD_ROOT).rmdir()
    if plan["read_only_root"]:
        kernel.make_read_only("/", below_too=False)


def _bind(step: Plan) -> None:  # pragma: no cover
    source, target = Path(_OLD_ROOT + step["source"]), Path(step["target"])
    if source.is_dir():
        target.mkdir(parents=True, exist_ok=True)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()
    kernel.bind(source, target, read_only=step["read_only"])


def _tmpfs(step: Plan) -> None:  # pragma: no cover
    Path(step["target"]).mkdir(parents=True, exist_ok=True)
    kernel.mount("tmpfs", step["target"], flags=kernel.NOSUID | kernel.NODEV, options=step["options"])


def _proc(step: Plan) -> None:  # pragma: no cover
    Path(step["target"]).mkdir()
    kernel.mount("proc", step["target"], flags=kernel.NOSUID | kernel.NODEV | kernel.NOEXEC)
    # As on a node: what is not namespaced is not the container's to change.
    kernel.bind(f"{step['target']}/sys", f"{step['target']}/sys", read_only=True)


def _directory(step: Plan) -> None:
    Path(step["target"]).mkdir(parents=True, exist_ok=True)
    Path(step["target"]).chmod(step["mode"])


def _link(step: Plan) -> None:
    Path(step["target"]).parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        Path(step["target"]).symlink_to(step["to"])


def _file(step: Plan) -> None:
    Path(step["target"]).parent.mkdir(parents=True, exist_ok=True)
    Path(step["target"]).write_text(step["text"], encoding="utf-8")
    Path(step["target"]).chmod(step["mode"])


_STEPS: Final[Mapping[str, Callable[[Plan], None]]] = {
    "bind": _bind,
    "tmpfs": _tmpfs,
    "proc": _proc,
    "directory": _directory,
    "link": _link,
    "file": _file,
}


def main(mode: str) -> int:
    """Do what the plan on standard input says; the exit status of what was run."""
    plan: Plan = json.load(sys.stdin)
    try:
        match mode:
            case "pod":
                return make_pod(plan)
            case "container":
                return run_container(plan)
            case _:
                return run_in_container(plan)
    except (OSError, subprocess.CalledProcessError) as error:
        sys.stderr.write(f"{error}\n")
        return _SETUP_FAILED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
