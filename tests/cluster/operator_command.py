"""`podtls` as an administrator of a test cluster types it; what it says is read as JSON."""

import json
import os
import subprocess
import sys
from typing import Any

from lab.cluster.cluster import Cluster, kubectl_environment


def says(cluster: Cluster, *arguments: str) -> dict[str, Any]:
    """What `podtls ... -o json` prints, whatever it exits with: `check` tells of problems by that."""
    environment = {**os.environ, **kubectl_environment(cluster)}
    command = [sys.executable, "-m", "podtls", *arguments, "-o", "json"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout, done.stderr
    told = json.loads(done.stdout)
    assert isinstance(told, dict)
    return told
