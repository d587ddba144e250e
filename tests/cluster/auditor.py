"""What an auditor does: list the pods, take the logs of podtls and of the API server, and compare them."""

import json
import subprocess
import sys
from typing import Any

from lab.cluster.podtls_local import Podtls


def reconciled(podtls: Podtls, *options: str) -> tuple[int, Any]:
    """Exit code and JSON of `podtls audit reconcile`. The pods are listed first, so that no record is missing."""
    listing = podtls.cluster.kubectl("get", "pods", "--all-namespaces", "--output", "json")
    command = [sys.executable, "-m", "podtls", "audit", "reconcile", "--output", "json", *options]
    sources = ["--pods", "-", "--api-audit", str(podtls.cluster.audit_log), str(podtls.folder)]
    done = subprocess.run([*command, *sources], input=listing, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)
