"""`python -m lab.sandbox.apiserver FOLDER`: the stand-in API server as a process of its own, until it is ended.

It applies FOLDER/objects.yaml and writes FOLDER/kubeconfig when it listens.
"""

import signal
import sys
from pathlib import Path

from lab.sandbox.apiserver.standalone import serve_alone
from lab.sandbox.manifests import load


def main(folder: Path) -> None:
    """Serve until SIGTERM. Raises DemoError for objects that cannot be applied."""
    with serve_alone(folder) as server:
        for manifest in load(folder / "objects.yaml"):
            server.api.apply(manifest)
        server.write_kubeconfig()
        signal.sigwait({signal.SIGTERM, signal.SIGINT})


if __name__ == "__main__":
    # Blocked before any thread starts, so that sigwait is the only one who takes them.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    main(Path(sys.argv[1]))
