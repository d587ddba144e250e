"""What a test holds of a running cluster: where it is, and kubectl."""

import json
import os
import secrets
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.cluster.binaries import binary
from lab.cluster.errors import KubectlError
from lab.cluster.journal import Run
from lab.cluster.pki import ClusterAuthority, Pair
from lab.cluster.processes import wait_until


@dataclass(frozen=True, slots=True)
class Cluster:
    """A running control plane, with or without a node, as an administrator sees it."""

    run: Run
    kubeconfig: Path
    server: str
    audit_log: Path

    @property
    def logs(self) -> Path:
        """A log file for each program."""
        return self.run.logs

    def kubectl(self, *arguments: str, input: str | None = None) -> str:  # noqa: A002  (the name subprocess uses)
        """What kubectl writes to stdout; KubectlError with its stderr when it refuses."""
        answer = subprocess.run(
            [binary("kubectl"), *arguments],
            input=input,
            env={**os.environ, **kubectl_environment(self)},
            capture_output=True,
            text=True,
            check=False,
        )
        if answer.returncode:
            raise KubectlError(answer.stderr.strip())
        return answer.stdout

    def apply(self, *objects: dict[str, Any]) -> None:
        """Server-side apply; KubectlError when the API server refuses one."""
        body = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
        self.kubectl("apply", "--server-side", "--field-manager=tests", "-f", "-", input=body)

    def get(self, *arguments: str) -> Any:
        """`kubectl get` as parsed JSON."""
        return json.loads(self.kubectl("get", *arguments, "-o", "json"))

    def create_namespace(self, prefix: str, labels: dict[str, str] | None = None) -> str:
        """A new namespace, its name unique; returns when pods can be created in it."""
        name = f"{prefix}-{secrets.token_hex(3)}"
        self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels or {}}})
        account = ["serviceaccount", "default", "--namespace", name, "--ignore-not-found"]
        wait_until(f"the service account of {name} is there", lambda: bool(self.kubectl("get", *account)))
        return name


def kubectl_environment(cluster: Cluster) -> dict[str, str]:
    """What makes any kubectl speak to this cluster, leaving nothing in the user's home."""
    return {
        "KUBECONFIG": str(cluster.kubeconfig),
        "KUBECACHEDIR": str(cluster.run.folder / "kubectl-cache"),
        "KUBERC": "off",
    }


def write_kubeconfig(path: Path, server: str, *, authority: ClusterAuthority, user: Pair) -> Path:
    """A kubeconfig (JSON is YAML) with one context; the files it names stay where they are."""
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "podtls",
        "clusters": [{"name": "podtls", "cluster": {"server": server, "certificate-authority": str(authority.path)}}],
        "users": [{"name": "user", "user": {"client-certificate": str(user.certificate), "client-key": str(user.key)}}],
        "contexts": [{"name": "podtls", "context": {"cluster": "podtls", "user": "user"}}],
    }
    path.touch(mode=0o600)
    path.write_text(json.dumps(config, indent=1))
    return path
