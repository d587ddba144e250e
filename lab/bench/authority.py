"""The real CA on loopback with a stand-in API server behind it, and what a pod sends it. Measures nothing."""

import base64
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from contract.names import (
    ENV_AUTHORITY,
    ENV_LOG,
    ENV_REPLICA,
    ENV_RUN,
    ENV_SERVING_NAMES,
    ENV_SOURCE_ADDRESS,
    ENV_TRUST_DOMAIN,
    ENV_ZONE,
    PATH_ENROLL,
    TYPE_PEM_CHAIN,
)
from injector import generation
from lab.bench import servers
from lab.bench.client import Connection
from lab.bench.errors import BenchError
from lab.bench.servers import ProxiedApp, Server
from lab.bench.standin import StandIn, running_standin

# The CA may sign names below `svc` and below the zone only, and the name in its URL must resolve on this machine.
ZONE: Final = "localhost"
NAME: Final = "localhost"
TRUST_DOMAIN: Final = "cluster.local"


@dataclass(frozen=True, slots=True)
class RunningCA:
    """The CA as pods see it, the folder with its authority (tls.crt, tls.key, ca.crt), and the API server behind it."""

    server: Server
    issuing: Path
    standin: StandIn


@contextmanager
def serving(directory: Path, injected: dict[str, Any]) -> Iterator[RunningCA]:
    """The CA for as long as the block lasts, with an API server that knows the injected pod. Raises BenchError.

    `directory` holds an `authority` already, or gets one.
    """
    if not (directory / "authority").exists():
        create(directory / "authority")
    with running_standin(directory, injected) as standin:
        environment = _environment(directory) | {"KUBECONFIG": str(standin.kubeconfig)}
        _run("bootstrap", environment=environment)
        identity = generation.read(directory / "run")
        ca = ProxiedApp("ca", "ca.gunicorn_conf", "ca.api.app:from_env()", environment)
        with servers.running_proxied(ca, directory, identity=identity, name=NAME) as server:
            yield RunningCA(server, directory / "authority" / "issuing", standin)


def create(directory: Path) -> None:
    """Make a root and an issuing CA in a new folder. Raises BenchError."""
    _run("create", str(directory), environment={ENV_TRUST_DOMAIN: TRUST_DOMAIN, ENV_ZONE: ZONE})


def signing_request() -> bytes:
    """A CSR as the injector makes it: a new P-256 key, no subject, no names; base64 of its DER."""
    key = ec.generate_private_key(ec.SECP256R1())
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    return base64.b64encode(request.public_bytes(Encoding.DER))


def enroll(connection: Connection, token: str, request: bytes) -> bytes:
    """The certificate chain for the pod with this token. Raises BenchError when the CA does not issue."""
    headers = {
        "Authorization": f"Bearer {token}",
        "Content-Type": "application/pkcs10",
        "Content-Transfer-Encoding": "base64",
        "Accept": TYPE_PEM_CHAIN,
    }
    status, answer = connection.request("POST", PATH_ENROLL, headers, request)
    if status != 200:
        raise BenchError(f"the CA answered {status}: {answer[:500]!r}")
    return answer


def _environment(directory: Path) -> dict[str, str]:
    run = directory / "run"
    run.mkdir()
    return {
        ENV_TRUST_DOMAIN: TRUST_DOMAIN,
        ENV_ZONE: ZONE,
        ENV_AUTHORITY: str(directory / "authority" / "issuing"),
        ENV_LOG: str(directory / "evidence.jsonl"),
        ENV_REPLICA: "podtls-ca-0",
        ENV_SOURCE_ADDRESS: "require",
        ENV_SERVING_NAMES: NAME,
        ENV_RUN: str(run),
    }


def _run(*arguments: str, environment: dict[str, str]) -> None:
    command = [sys.executable, "-m", "ca", *arguments]
    done = subprocess.run(
        command,
        env=servers.clean_environment() | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    if done.returncode:
        raise BenchError(f"{' '.join(command[1:])} ended with {done.returncode}: {done.stderr or done.stdout}")
