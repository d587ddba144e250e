"""How gunicorn serves an app of ours: on a unix socket only, with counters that all its workers share.

The edge proxy handles TLS, slow clients, rate limits and malformed HTTP. A program's own gunicorn_conf.py names the
program and what is special about it; gunicorn reads that module's variables.
"""

import atexit
import os
import shutil
import tempfile
from typing import Any, Final

from serving.settings import ENV_METRICS_DIRECTORY, ServerSettings

# The root file system is read-only; this is memory, in every container.
_MEMORY: Final = "/dev/shm"  # noqa: S108 - gunicorn and we make files of unguessable names in it

_COMMON: Final[dict[str, Any]] = {
    # Only the edge proxy shares the socket's folder, and it may run as another uid.
    "umask": 0,
    # Longer than the edge proxy keeps a connection, so that we never close one under a request.
    "keepalive": 120,
    "timeout": 30,
    # The fast parser leaks memory; the other one is fast enough for what the edge proxy sends.
    "http_parser": "python",
    "control_socket_disable": True,
    # No peer of the unix socket may set the environment by headers.
    "forwarder_headers": "",
    "worker_tmp_dir": _MEMORY,
}


def configure_gunicorn(program: str, *, worker_class: str, graceful_timeout: int) -> dict[str, Any]:
    """Returns gunicorn's settings for `program`, and makes the directory of its metrics.

    Raises SettingsError naming the variable that is wrong.
    """
    settings = ServerSettings.from_env(os.environ)
    _share_metrics()
    return {
        **_COMMON,
        "bind": f"unix:{settings.socket}",
        "workers": settings.workers,
        "threads": settings.threads,
        "worker_class": worker_class,
        "graceful_timeout": graceful_timeout,
        "proc_name": program,
    }


def _share_metrics() -> None:
    """Makes the directory in which the counters of all workers live, and removes it when the master ends."""
    # prometheus_client reads the variable once, when a worker imports it.
    directory = os.environ.get(ENV_METRICS_DIRECTORY) or tempfile.mkdtemp(prefix="podtls-metrics-", dir=_MEMORY)
    os.environ[ENV_METRICS_DIRECTORY] = directory
    # Not gunicorn's on_exit: it is not called when a wrong setting ends the start, or the socket cannot be bound.
    atexit.register(_remove_metrics, directory, os.getpid())


def _remove_metrics(directory: str, master: int) -> None:
    # Workers are forks and inherit this.
    if os.getpid() == master:
        shutil.rmtree(directory, ignore_errors=True)
