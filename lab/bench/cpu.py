"""CPU time of other processes, in nanoseconds, without counting our own.

The kernel keeps one CPU clock for each process (user + system time of all its threads, those that have ended too).
It is read with `clock_gettime`, so a round of 0.1 s is exact, where /proc/<pid>/stat counts in ticks of 10 ms.
"""

import time
from collections.abc import Iterable
from pathlib import Path

# clock_getcpuclockid(3) is this sum in every Linux libc; `time` wraps it for threads only. From linux/posix-timers.h.
_CPUCLOCK_SCHED = 2


def process_seconds(pid: int) -> float:
    """User + system CPU seconds that process `pid` has used so far; ProcessLookupError when it is gone."""
    clock = (~pid << 3) | _CPUCLOCK_SCHED
    try:
        return time.clock_gettime(clock)
    except OSError as error:
        raise ProcessLookupError(f"process {pid} ended while it was measured") from error


def tree(roots: Iterable[int]) -> list[int]:
    """The processes `roots` and all that descend from them, in ascending order."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and (parent := _parent(entry)) is not None:
            children.setdefault(parent, []).append(int(entry.name))
    found: set[int] = set()
    waiting = list(roots)
    while waiting:
        pid = waiting.pop()
        if pid not in found:
            found.add(pid)
            waiting.extend(children.get(pid, ()))
    return sorted(found)


def tree_seconds(roots: Iterable[int]) -> float:
    """User + system CPU seconds of `roots` and all that descend from them; ProcessLookupError when one is gone."""
    return sum(process_seconds(pid) for pid in tree(roots))


def _parent(process: Path) -> int | None:
    try:
        # The second field is a name in parentheses, which may hold spaces and parentheses of its own (proc(5)).
        return int((process / "stat").read_text().rpartition(")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):  # It ended between the listing and the reading.
        return None
