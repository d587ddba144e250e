"""How gunicorn serves the CA: `gunicorn -c python:ca.gunicorn_conf 'ca.api.app:from_env()'`.

Only ever a unix socket: TLS, slow clients, limits by source and HTTP's dark corners are the front's (Nginx). Signing
scales by processes; a few threads in each let one request wait for the API server while another one is signed.
"""

import atexit
import os
import shutil
import tempfile

from ca.settings import ServerSettings

_SETTINGS = ServerSettings.from_env(os.environ)

bind = f"unix:{_SETTINGS.socket}"
# The socket's folder is shared with the front alone, which may run as another uid.
umask = 0
workers = _SETTINGS.workers
worker_class = "gthread"
threads = _SETTINGS.threads
# Longer than the front keeps a connection, so that it is never us who close one under a request.
keepalive = 120
timeout = 30
# A request may wait for the API server: let it end, within a pod's termination grace period.
graceful_timeout = 25
# The fast parser leaks; the other one is fast enough for what comes out of Nginx.
http_parser = "python"
control_socket_disable = True
# No peer of a unix socket may set the environment by headers.
forwarder_headers = ""
# The root file system is read-only; this is memory, in every container.
worker_tmp_dir = "/dev/shm"  # noqa: S108 - gunicorn and we make files of unguessable names in it
proc_name = "podtls-ca"

# prometheus_client looks at this once, when the workers import it: the counters of all workers, in memory.
_METRICS = os.environ.get("PROMETHEUS_MULTIPROC_DIR") or tempfile.mkdtemp(prefix="podtls-metrics-", dir=worker_tmp_dir)
os.environ["PROMETHEUS_MULTIPROC_DIR"] = _METRICS


def _clean_up(master: int) -> None:
    """Leaves nothing behind, also where it cannot listen: gunicorn's on_exit is not called then."""
    # Workers are forks and inherit this.
    if os.getpid() == master:
        shutil.rmtree(_METRICS, ignore_errors=True)


atexit.register(_clean_up, os.getpid())
