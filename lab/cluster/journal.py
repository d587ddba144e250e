"""What a run of a cluster has started or made, written down before it is, so that a killed run can be swept.

A run is one cluster from start to end. Its journal is a file of JSON lines that is only ever appended to; the state
folder holds everything else that the run writes.
"""

import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.cluster.cache import cache_folder

# Every process of a run carries the run's id in its environment, so that it is known as ours even when the run was
# killed between starting the process and writing its pid down.
MARK = "PODTLS_CLUSTER"


@dataclass(frozen=True, slots=True)
class Run:
    """One cluster: its id, the folder with its state, and whether it has root's namespaces."""

    id: str
    tier: str
    folder: Path

    @property
    def journal(self) -> Path:
        """The file that outlives the state folder."""
        return journals_folder() / f"{self.id}.jsonl"

    @property
    def logs(self) -> Path:
        """One log file for each program."""
        return self.folder / "logs"


def journals_folder() -> Path:
    """Where `sweep` looks; nothing else tells it what to clean."""
    return cache_folder() / "clusters"


def begin(tier: str, folder: Path | None = None) -> Run:
    """A new run, owned by this process; its state folder is below `folder`, else below the cache."""
    run_id = secrets.token_hex(4)
    run = Run(run_id, tier, (folder or journals_folder()).resolve() / run_id)
    journals_folder().mkdir(parents=True, exist_ok=True)
    owner = {"pid": os.getpid(), "started": start_time(os.getpid())}
    note(run, tier=tier, folder=str(run.folder), boot=boot_id(), owner=owner)
    run.logs.mkdir(parents=True)
    return run


def note(run: Run, **fact: Any) -> None:
    """Append one fact; it is on disk for a reader as soon as this returns."""
    with run.journal.open("a") as file:
        file.write(json.dumps(fact) + "\n")


def facts(run: Run) -> list[dict[str, Any]]:
    """All facts in the order they were noted; a last line cut by a kill is left out. None after `clean`."""
    lines = run.journal.read_text().split("\n") if run.journal.exists() else [""]
    return [json.loads(line) for line in lines[:-1]]


def runs() -> list[Run]:
    """Every run that has a journal."""
    return [_run_from(path) for path in sorted(journals_folder().glob("*.jsonl")) if path.stat().st_size]


def _run_from(path: Path) -> Run:
    first = json.loads(path.read_text().split("\n")[0])
    return Run(path.stem, first["tier"], Path(first["folder"]))


def release(run: Run) -> None:
    """The run outlives this process: `sweep` leaves it alone, `down` ends it."""
    note(run, released=True)


def is_released(run: Run) -> bool:
    """Whether a person keeps this run."""
    return any("released" in fact for fact in facts(run))


def is_orphaned(run: Run) -> bool:
    """Whether nobody is left who would end this run: its owner is gone, or the machine was started anew."""
    first, *others = facts(run)
    if first["boot"] != boot_id():
        return True
    kept = any("released" in fact for fact in others)
    owner, started = first["owner"]["pid"], first["owner"]["started"]
    return not kept and (has_ended(owner) or start_time(owner) != started)


def boot_id() -> str:
    """A name of this start of the machine."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def start_time(pid: int) -> int | None:
    """When the process of that pid started, in clock ticks since boot; None when there is none.

    One that has ended counts until its parent has reaped it, and so until the last of its threads is gone.
    """
    fields = _stat(pid)
    return int(fields[19]) if fields else None


def has_ended(pid: int) -> bool:
    """Whether there is no such process, or only what its parent has not reaped yet."""
    fields = _stat(pid)
    return not fields or fields[0] in "ZX"


def _stat(pid: int) -> list[str]:
    # proc(5), from field 3 on; the name in field 2 may hold anything.
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []
