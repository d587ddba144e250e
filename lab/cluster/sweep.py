"""Leaving nothing behind: ends what a run started and removes what it made, by its own journal only.

A node's mounts, network and processes live in namespaces of their own (`namespaces.py`), so the kernel takes them away
with the last process; what is left to remove is cgroups and the state folder.
"""

import os
import shutil
from contextlib import suppress
from pathlib import Path

from lab.cluster.cache import locked
from lab.cluster.errors import ClusterError
from lab.cluster.journal import Run, is_orphaned, runs
from lab.cluster.processes import kill, pids, wait_until

CGROUPS = Path("/sys/fs/cgroup")


def sweep() -> list[Run]:
    """Clean every run whose owner is gone and that nobody keeps; returns them."""
    with locked("sweep"):
        orphans = [run for run in runs() if is_orphaned(run)]
        for run in orphans:
            clean(run)
    return orphans


def clean(run: Run, *, keep_logs: bool = False) -> None:
    """End the run's processes, remove its cgroups, its state (but the logs, if asked) and, last, its journal.

    Safe to repeat: a clean-up that was itself killed is finished by the next one.
    """
    wait_until(f"the processes of run {run.id} are gone", lambda: not _kill_all(run), seconds=30)
    wait_until(f"the cgroups of run {run.id} are gone", lambda: not _remove_cgroups(run), seconds=30)
    if mounts := _mounts(run):
        raise ClusterError(f"something is still mounted below {run.folder}, so it is not removed: {', '.join(mounts)}")
    if keep_logs:
        _keep_logs_of_pods(run)
    for path in run.folder.iterdir() if run.folder.exists() else ():
        if path.is_dir() and not (keep_logs and path == run.logs):
            shutil.rmtree(path)
        elif not path.is_dir():
            path.unlink()
    if run.folder.exists() and not keep_logs:
        run.folder.rmdir()
    run.journal.unlink(missing_ok=True)


def _keep_logs_of_pods(run: Run) -> None:
    """The containers' own words, beside those of the cluster's programs."""
    written = run.folder / "var-log/pods"
    if written.exists():
        written.rename(run.logs / "pods")


def leftovers(run: Run) -> list[str]:
    """What of the run is still on the machine, a line each; empty after `clean`."""
    return [
        *(f"process {pid}" for pid in pids(run)),
        *(f"mount {path}" for path in _mounts(run)),
        *(f"cgroup {path}" for path in _cgroups(run)),
        *(f"file {path}" for path in (run.folder, run.journal) if path.exists()),
    ]


def cgroup_name(run: Run) -> str:
    """The cgroup below which all pods of a node live, in every hierarchy."""
    return f"podtls-{run.id}"


def make_cgroups(run: Run) -> None:
    """Make the run's cgroup in every hierarchy of cgroup v1, or in the one of v2.

    Only v1 has been tried: on every machine that we had, it holds the controllers that kubelet needs.
    """
    # The name follows from the run's id, so the journal's first line already told of it.
    for hierarchy in _hierarchies():
        (hierarchy / cgroup_name(run)).mkdir(exist_ok=True)
        _inherit_cpuset(hierarchy / cgroup_name(run))


def _inherit_cpuset(cgroup: Path) -> None:
    # In v1 a new cpuset is empty, and nothing can run in it.
    for name in ("cpuset.cpus", "cpuset.mems"):
        if (cgroup / name).exists() and not (cgroup / name).read_text().strip():
            (cgroup / name).write_text((cgroup.parent / name).read_text())


def _hierarchies() -> set[Path]:
    if (CGROUPS / "cgroup.procs").exists():
        return {CGROUPS}
    return {path.resolve() for path in CGROUPS.iterdir() if path.is_dir()}


def _kill_all(run: Run) -> list[int]:
    running = pids(run)
    for pid in running:
        kill(run, pid)
    return running


def _cgroups(run: Run) -> list[Path]:
    candidates = [hierarchy / cgroup_name(run) for hierarchy in _hierarchies()]
    return sorted(path for path in candidates if path.exists())


def _remove_cgroups(run: Run) -> list[Path]:
    for top in _cgroups(run):
        for folder, _, _ in os.walk(top, topdown=False):
            with suppress(OSError):  # Busy until the kernel has buried the last process: the caller asks again.
                Path(folder).rmdir()
    return _cgroups(run)


def _mounts(run: Run) -> list[str]:
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return [point for point in points if Path(point).is_relative_to(run.folder)]
