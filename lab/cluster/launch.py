"""Clusters as context managers: swept before, cleaned after (unless released), logs kept where something failed."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from lab.cluster.cluster import Cluster
from lab.cluster.control_plane import on_loopback, start_control_plane
from lab.cluster.journal import Run, begin, is_released
from lab.cluster.node import Node, start_node
from lab.cluster.parts import require
from lab.cluster.sweep import clean, sweep


def never() -> bool:
    """Logs are kept only when the cluster itself, or the code inside the `with`, failed."""
    return False


@contextmanager
def running_control_plane(
    api_server_arguments: Sequence[str] = (), *, keep_logs: Callable[[], bool] = never
) -> Iterator[Cluster]:
    """A control plane on loopback, without root. MissingPartsError, NotReadyError."""
    with _run("control-plane", keep_logs) as run:
        yield start_control_plane(run, on_loopback(), api_server_arguments=api_server_arguments).cluster


@contextmanager
def running_node(api_server_arguments: Sequence[str] = (), *, keep_logs: Callable[[], bool] = never) -> Iterator[Node]:
    """A control plane and a node, as root. MissingPartsError, NotReadyError."""
    with _run("node", keep_logs) as run:
        yield start_node(run, api_server_arguments=api_server_arguments)


@contextmanager
def _run(tier: str, keep_logs: Callable[[], bool]) -> Iterator[Run]:
    sweep()
    require(tier)
    run = begin(tier)
    succeeded = False
    try:
        yield run
        succeeded = not keep_logs()
    finally:
        if not is_released(run):
            _end(run, keep_logs=not succeeded)


def _end(run: Run, *, keep_logs: bool) -> None:
    clean(run, keep_logs=keep_logs)
    if keep_logs:
        sys.stderr.write(f"\npodtls cluster: the logs are kept in {run.logs}\n")
