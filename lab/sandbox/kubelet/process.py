"""The process of one container: started through launch.py, sent signals, asked to run commands, waited for.

What its plan says is container.py's; when it starts, restarts and ends is pod.py's and runner.py's.
"""

import contextlib
import json
import os
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from lab.sandbox.errors import ContainerError
from lab.sandbox.linux import launch

_MESSAGE_BYTES: Final = 4096
_LOG_TAIL_BYTES: Final = 2048
_START_SECONDS: Final = 20


@dataclass(slots=True)
class Process:
    """A running container (or one that just ended), and the files it left its message and log in."""

    plan: dict[str, Any]
    log: Path
    message: Path
    _launcher: subprocess.Popen[bytes]
    pid: int

    def wait(self, seconds: float | None = None) -> int | None:
        """The exit code, 128 + signal as runtimes have it; None when it still runs after that time."""
        try:
            return self._launcher.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the container's first process; nothing happens when it has ended."""
        # Until the launcher is waited for, its child's pid cannot be another's: it is reaped by the launcher alone.
        if self._launcher.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def execute(self, command: Sequence[str], seconds: float) -> subprocess.CompletedProcess[str]:
        """Run a command inside, as the container's own user. Raises ContainerError (did not start), TimeoutExpired."""
        names = ("mnt", "pid", "net", "uts", "ipc", *(("user",) if self._has_user_namespace() else ()))
        plan = {
            **self.plan,
            "argv": list(command),
            "namespaces": {name: f"/proc/{self.pid}/ns/{name}" for name in names},
        }
        # Files, not pipes: a grandchild that keeps a pipe open must not keep us.
        with tempfile.TemporaryFile(dir=self.log.parent) as out, tempfile.TemporaryFile(dir=self.log.parent) as err:
            launcher, pid = _start("exec", plan, out.fileno(), err.fileno())
            try:
                code = launcher.wait(seconds)
            except subprocess.TimeoutExpired as error:
                launcher.kill()
                launcher.wait()
                # The command dies with its launcher, and as the sandbox's first process we have to reap it: a
                # container cannot end while one of its processes is a zombie.
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, 0)
                raise subprocess.TimeoutExpired(list(command), seconds) from error
            finally:
                launcher.kill()
                launcher.wait()
            texts = []
            for stream in (out, err):
                stream.seek(0)
                texts.append(stream.read().decode(errors="replace"))
        return subprocess.CompletedProcess(list(command), code, *texts)

    def termination_message(self, *, fall_back_to_log: bool) -> str:
        """What the container left at terminationMessagePath, else (terminationMessagePolicy) the end of its log."""
        text = self.message.read_bytes()[:_MESSAGE_BYTES].decode(errors="replace").strip()
        if not text and fall_back_to_log:
            text = self.log.read_bytes()[-_LOG_TAIL_BYTES:].decode(errors="replace").strip()
        return text

    def command_to_enter(self) -> list[str]:
        """What to type in the sandbox for a shell inside, as the container's own user."""
        user = ["--user", "--preserve-credentials"] if self._has_user_namespace() else []
        namespaces = ["--mount", "--net", "--uts", "--ipc", "--pid", *user]
        return ["nsenter", f"--target={self.pid}", *namespaces, "env", f"PATH={self.plan['env']['PATH']}", "sh"]

    def _has_user_namespace(self) -> bool:
        """Whether its user is another number inside than outside."""
        return bool(self.plan["uid"] or self.plan["gid"])


def start_process(plan: dict[str, Any], directory: Path, name: str) -> Process:
    """Start a container; its log is appended to `directory`/name.log. Raises ContainerError: why it cannot run."""
    message = directory / f"{name}.message"
    message.write_bytes(b"")
    message.chmod(0o666)
    log = directory / f"{name}.log"
    with log.open("ab") as output:
        launcher, pid = _start("container", plan, output.fileno(), output.fileno())
    return Process(plan, log, message, launcher, pid)


def _start(mode: str, plan: dict[str, Any], out: int, err: int) -> tuple[subprocess.Popen[bytes], int]:
    reading, report = os.pipe()
    with os.fdopen(reading, "rb") as reader:
        try:
            launcher = subprocess.Popen(
                launch.command(mode),
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=err,
                env=launch.environment(),
                pass_fds=(report,),
                # Ctrl-C is the demo's to handle; containers end in order.
                start_new_session=True,
            )
        finally:
            os.close(report)
        return launcher, _hand_over(launcher, {**plan, "report": report}, reader.read)


def _hand_over(launcher: subprocess.Popen[bytes], plan: dict[str, Any], read: Callable[[], bytes]) -> int:
    assert launcher.stdin is not None
    with contextlib.suppress(BrokenPipeError), launcher.stdin as stdin:
        stdin.write(json.dumps(plan).encode())
    # The launcher's end closes with the exec, so this waits until the container runs or has said why not.
    overdue = threading.Timer(_START_SECONDS, launcher.kill)
    overdue.start()
    pid, _, problem = read().decode().partition("\n")
    overdue.cancel()
    if problem or not pid:
        launcher.wait()
        raise ContainerError(f"{' '.join(plan['argv'])}: {problem or 'cannot be started'}")
    return int(pid)
