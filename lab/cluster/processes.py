"""Starting programs of a run, waiting until they are ready, and ending them and nothing else."""

import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.cluster.errors import NotReadyError
from lab.cluster.journal import MARK, Run, facts, has_ended, note, start_time

PATH = os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin"
POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Process:
    """A program that a run started; pid and start time together name it for good."""

    name: str
    pid: int
    started: int | None
    log: Path


def start(run: Run, name: str, argv: Sequence[str]) -> Process:
    """Start a program in a session of its own, its output in the run's log folder; noted before and after."""
    log = run.logs / f"{name}.log"
    note(run, starting=name, argv=list(argv))
    pid = os.posix_spawnp(
        argv[0],
        list(argv),
        {**os.environ, "PATH": PATH, MARK: run.id},
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
    )
    process = Process(name, pid, start_time(pid), log)
    note(run, process=name, pid=pid, started=process.started)
    return process


def is_running(process: Process) -> bool:
    """Whether this very process still runs; a child of ours that ended is reaped."""
    if process.started is None or start_time(process.pid) != process.started:
        return False
    try:
        return os.waitpid(process.pid, os.WNOHANG) == (0, 0)
    except ChildProcessError:
        return not has_ended(process.pid)  # Another process is its parent, and reaps it or not.


def children(pid: int) -> list[int]:
    """The processes that this one has started itself, in that order (proc(5))."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def wait_until(what: str, check: Callable[[], bool], *, watched: Sequence[Process] = (), seconds: float = 60) -> None:
    """Return as soon as the check holds. NotReadyError when a watched program ends or the time is up."""
    deadline = time.monotonic() + seconds
    while not check():
        for process in watched:
            if not is_running(process):
                raise NotReadyError(f"{process.name} ended before {what}; its last lines:\n{_tail(process.log)}")
        if time.monotonic() > deadline:
            logs = "".join(f"\n--- {process.name}\n{_tail(process.log)}" for process in watched)
            raise NotReadyError(f"{what}: not so after {seconds:.0f} s{logs}")
        time.sleep(POLL_SECONDS)


def kill_with_children(process: Process) -> None:
    """`kill -9` of a running program and of what it has started itself; returns when they are gone."""
    started = children(process.pid)
    for pid in (process.pid, *started):
        os.kill(pid, signal.SIGKILL)
    wait_until(f"{process.name} has ended", lambda: not is_running(process) and all(map(has_ended, started)))


def kill(run: Run, pid: int) -> None:
    """End one process at once, if it is the run's; a pid that another process got meanwhile is left alone."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        if _mark(pid) == run.id:
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    except ProcessLookupError:
        return
    finally:
        os.close(descriptor)


def pids(run: Run) -> list[int]:
    """Every process of the run: those that it noted and that still run, and all that carry its mark."""
    noted = [Process(fact["process"], fact["pid"], fact["started"], run.logs) for fact in facts(run) if "pid" in fact]
    everybody = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    marked = [pid for pid in everybody if _mark(pid) == run.id]
    return sorted({*marked, *(process.pid for process in noted if is_running(process))})


def _mark(pid: int) -> str | None:
    # Other users' processes, and those that have just ended, cannot be read: neither is ours.
    try:
        variables = Path(f"/proc/{pid}/environ").read_bytes()
    except (PermissionError, FileNotFoundError, ProcessLookupError):
        return None
    prefix = f"{MARK}=".encode()
    marks = [variable for variable in variables.split(b"\0") if variable.startswith(prefix)]
    return marks[0][len(prefix) :].decode() if marks else None


def _tail(log: Path, lines: int = 15) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
