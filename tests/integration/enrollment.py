"""A cluster of one machine for one pod: real webhook, real CA, real edge proxies, a stand-in for the API server.

All that listens does so on loopback. The CA's zone is `localhost`, since its own constraints allow no other name that
resolves here; that is the only thing which a real installation has otherwise.
"""

import copy
import json
import os
import subprocess
import sys
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jsonpatch

from contract.names import AUDIENCE, INIT_CONTAINER
from lab.nginx import Nginx
from lab.sandbox.apiserver.apiserver import APIServer
from lab.sandbox.apiserver.standalone import StandaloneServer, serve_alone
from tests.ca.world import service_object
from tests.injector.authority import Authority
from tests.injector.processes import eventually, free_port, serving, with_nginx
from tests.injector.unprivileged import ROOT, command, own, user
from tests.integration.stack import WebhookEndpoint, webhook_endpoint
from tests.serving.gunicorn_process import is_ok

ZONE = "localhost"
ADDRESS = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class CA:
    """A running CA: the port of its edge proxy, its gunicorn, and the API server that it asks."""

    port: int
    process: "subprocess.Popen[bytes]"
    server: StandaloneServer

    def workers(self) -> list[int]:
        """The process ids of gunicorn's workers."""
        pid = self.process.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()]


@dataclass
class Installation:
    """All parts, and where each leaves its words."""

    nginx: Nginx
    workshop: Path
    endpoint: WebhookEndpoint
    ca: "CA"
    said: list[str] = field(default_factory=list)

    @property
    def logs(self) -> tuple[Path, Path]:
        """The evidence logs of webhook and CA."""
        return self.endpoint.webhook.log, self.workshop / "ca" / "evidence.jsonl"

    def words(self) -> str:
        """All that all parts have written or printed, evidence and answers too; no generation and no token."""
        outputs = (self.endpoint.webhook.output, self.endpoint.edge.log, self.workshop / "ca" / "output")
        files = (*self.logs, *outputs, self.workshop / "ca" / "edge", self.workshop / "termination")
        return "\n".join([*self.said, *(path.read_text() for path in files if path.exists())])

    def admit(self, review: bytes, raw: dict[str, Any]) -> dict[str, Any]:
        """The Pod as the API server stores it after our webhook's answer, running at our address."""
        reply = self.endpoint.review(review)
        self.said.append(reply.body.decode())
        response = json.loads(reply.body)["response"]
        patched = jsonpatch.JsonPatch(json.loads(b64decode(response["patch"]))).apply(copy.deepcopy(raw))
        self.said.append(json.dumps(json.loads(b64decode(response["patch"]))))
        patched["metadata"] |= {
            "namespace": "shop",
            "uid": "0d7a5a1c-0001",
            "creationTimestamp": "2030-01-01T00:00:00Z",
        }
        patched["spec"]["nodeName"] = "node-1"
        patched["status"] = {"phase": "Pending", "podIP": ADDRESS, "podIPs": [{"ip": ADDRESS}]}
        return self.ca.server.api.store.create(patched)

    def change(self, stored: dict[str, Any], **metadata: Any) -> None:
        """Change the stored Pod's metadata meanwhile."""
        fields = {"metadata": stored["metadata"] | metadata, "status": stored["status"]}
        self.ca.server.api.store.replace("Pod", "shop", stored["metadata"]["name"], fields)

    def init(self, stored: dict[str, Any]) -> "subprocess.CompletedProcess[str]":
        """Run podtls-init as the stored Pod says, in a process of its own, with nothing but paths put elsewhere."""
        (self.workshop / "token").write_text(self.ca.server.api.create_token(stored, AUDIENCE, 600))
        (self.workshop / "pod").mkdir(exist_ok=True)
        (self.workshop / "resolv.conf").write_text("nameserver 127.0.0.1\n")
        own(self.workshop)
        result = subprocess.run(
            command([sys.executable, "-m", "injector", "init"]),
            cwd=ROOT,
            env=with_nginx(self.nginx, {**_environment(stored), **self._paths()}),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            **user(),
        )
        self.said += [result.stdout, result.stderr]
        return result

    def _paths(self) -> dict[str, str]:
        return {
            "PODTLS_RUN": str(self.workshop / "pod"),
            "PODTLS_TOKEN_FILE": str(self.workshop / "token"),
            "PODTLS_TERMINATION_MESSAGE": str(self.workshop / "termination"),
            "PODTLS_RESOLV_CONF": str(self.workshop / "resolv.conf"),
            "PODTLS_LISTEN": ADDRESS,
        }


def _environment(stored: dict[str, Any]) -> dict[str, str]:
    """What the kubelet makes of the init container's `env`."""
    fields = {
        "metadata.namespace": stored["metadata"]["namespace"],
        "spec.serviceAccountName": stored["spec"]["serviceAccountName"],
    }
    first = stored["spec"]["initContainers"][0]
    assert first["name"] == INIT_CONTAINER
    return {
        entry["name"]: entry.get("value", "") if "valueFrom" not in entry else fields[_field(entry)]
        for entry in first["env"]
    }


def _field(entry: dict[str, Any]) -> str:
    return str(entry["valueFrom"]["fieldRef"]["fieldPath"])


@contextmanager
def installation(nginx: Nginx, edge_proxy_authority: Authority, workshop: Path) -> Iterator[Installation]:
    """Everything runs until the block ends."""
    with _ca(nginx, workshop) as ca:
        told = {"PODTLS_CA_URL": f"https://localhost:{ca.port}", "PODTLS_ZONE": ZONE}
        bundle = (workshop / "ca" / "authority" / "issuing" / "ca.crt").read_bytes()
        with webhook_endpoint(nginx, edge_proxy_authority, workshop, webhook_environ=told, bundle=bundle) as endpoint:
            yield Installation(nginx, workshop, endpoint, ca)


@contextmanager
def _ca(nginx: Nginx, workshop: Path) -> Iterator[CA]:
    """The CA with an authority and a serving certificate of its own making, behind its edge proxy."""
    directory, port = workshop / "ca", free_port()
    directory.mkdir()
    (directory / "run").mkdir()
    with serve_alone(directory) as server:
        _fill_cluster(server.api)
        environ = {
            **os.environ,
            "KUBECONFIG": str(server.write_kubeconfig()),
            "PODTLS_AUTHORITY": str(directory / "authority" / "issuing"),
            "PODTLS_LOG": str(directory / "evidence.jsonl"),
            "PODTLS_RUN": str(directory / "run"),
            "PODTLS_SOCKET": str(directory / "s"),
            "PODTLS_ZONE": ZONE,
            "PODTLS_SERVING_NAMES": "localhost",
            "PODTLS_REPLICA": "podtls-ca-0",
            "PODTLS_EDGE_PORT": str(port),
            "PODTLS_LISTEN": ADDRESS,
        }
        for arguments in (["create", str(directory / "authority")], ["bootstrap"]):
            subprocess.run([sys.executable, "-m", "ca", *arguments], cwd=ROOT, env=environ, check=True, timeout=60)
        with _gunicorn(directory, environ) as process:
            own(workshop)
            with serving(nginx, directory / "run", directory / "edge"):
                yield CA(port, process, server)


def _fill_cluster(api: APIServer) -> None:
    api.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}})
    for name in ("payments", "checkout"):
        api.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": "shop"}})
    api.store.create({"kind": "Service", **service_object("payments", {"app": "payments"})})


@contextmanager
def _gunicorn(directory: Path, environ: dict[str, str]) -> "Iterator[subprocess.Popen[bytes]]":
    arguments = [sys.executable, "-m", "gunicorn", "-c", "python:ca.gunicorn_conf", "ca.api.app:from_env()"]
    with (directory / "output").open("wb") as output:
        process = subprocess.Popen(arguments, cwd=ROOT, env=environ, stdout=output, stderr=output)
    try:
        eventually(
            lambda: process.poll() is not None or is_ok(directory / "s", "/readyz"), directory / "output", seconds=60
        )
        yield process
    finally:
        process.terminate()
        process.wait(60)
