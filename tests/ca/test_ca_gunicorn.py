"""The CA as it runs: gunicorn on a unix socket, a real API server behind it, real records, real signals."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from audit.log import EvidenceLog, read
from audit.record import CertificateRecord
from ca.authority import creation
from contract.names import PATH_ENROLL, PATH_NAMES, TYPE_PEM_CHAIN
from lab.sandbox.apiserver.standalone import StandaloneServer
from tests.ca.world import ADDRESS, TRUST_DOMAIN, body_of, request_der
from tests.serving.gunicorn_process import UnixConnection

pytestmark = pytest.mark.integration


@dataclass
class RunningCA:
    """A gunicorn with the CA in it."""

    process: subprocess.Popen[bytes]
    socket: Path
    log: EvidenceLog
    server: StandaloneServer

    def ask(
        self, method: str, path: str, headers: dict[str, str], body: bytes = b""
    ) -> tuple[int, dict[str, str], bytes]:
        """One request over a connection of its own."""
        with UnixConnection(self.socket) as connection:
            response, content = connection.ask(method, path, body, headers)
        return response.status, dict(response.getheaders()), content

    def enroll(self, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        """Enroll with a new key."""
        der = request_der(ec.generate_private_key(ec.SECP256R1()))
        return self.ask("POST", PATH_ENROLL, {**headers, "Accept": TYPE_PEM_CHAIN}, body_of(der))

    def records(self) -> list[CertificateRecord]:
        """What is recorded."""
        return [each for each in read(self.log.path) if isinstance(each, CertificateRecord)]


@contextmanager
def _gunicorn(environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "gunicorn", "-c", "python:ca.gunicorn_conf", "ca.api.app:from_env()"]
    process = subprocess.Popen(command, env={**os.environ, **environment}, stderr=subprocess.PIPE)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
        process.communicate(timeout=60)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path: a unix socket's name ends at 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="ca") as made:
        yield Path(made)


@pytest.fixture
def environment(folder: Path) -> dict[str, str]:
    """What a CA pod is told, with an authority that is valid now."""
    creation.save_authority(
        creation.create_authority(TRUST_DOMAIN, "cluster.local", datetime.now(UTC)), folder / "authority"
    )
    return {
        "PODTLS_AUTHORITY": str(folder / "authority" / "issuing"),
        "PODTLS_LOG": str(folder / "evidence.jsonl"),
        "PODTLS_RUN": str(folder / "run"),
        "PODTLS_SOCKET": str(folder / "s"),
        "PODTLS_REPLICA": "podtls-ca-0",
    }


@pytest.fixture
def headers(headers: dict[str, str], pod_token: str) -> dict[str, str]:
    """The same, with the token that the API server over HTTPS made."""
    return {**headers, "Authorization": f"Bearer {pod_token}"}


@pytest.fixture
def running(folder: Path, environment: dict[str, str], server: StandaloneServer) -> Iterator[RunningCA]:
    told = {**environment, "KUBECONFIG": str(server.write_kubeconfig())}
    with _gunicorn(told) as process:
        found = RunningCA(process, folder / "s", EvidenceLog(folder / "evidence.jsonl"), server)
        _wait_until_ready(found)
        yield found


def _wait_until_ready(running: RunningCA) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert running.process.poll() is None, running.process.communicate()[1].decode()
        try:
            status, _, _ = running.ask("GET", "/readyz", {})
        except OSError:
            time.sleep(0.05)
        else:
            assert status == 200
            return
    raise AssertionError("the CA did not become ready")


def test_pod_enrolls_over_real_sockets(running: RunningCA, headers: dict[str, str]) -> None:
    status, answered, body = running.enroll(headers)

    leaf, issuing = x509.load_pem_x509_certificates(body)
    (record,) = running.records()
    leaf.verify_directly_issued_by(issuing)
    assert (status, answered["Content-Type"]) == (200, TYPE_PEM_CHAIN)
    assert record.serial == f"{leaf.serial_number:x}"
    assert record.source == ADDRESS


def test_names_refusals_and_outage_over_real_sockets(running: RunningCA, headers: dict[str, str]) -> None:
    status, _, body = running.ask("GET", PATH_NAMES, headers)
    assert (status, json.loads(body)["uri"]) == (200, "spiffe://cluster.local/ns/shop/sa/payments")

    status, answered, body = running.ask("POST", PATH_ENROLL, {}, b"x")
    assert (status, answered["WWW-Authenticate"], body) == (401, "Bearer", b"")

    running.server.api.store.merge("Pod", "shop", "payments-1", {"metadata": {"labels": None}})
    status, _, body = running.enroll(headers)
    assert (status, body) == (403, b"podtls: pod shop/payments-1 is not injected: no label podtls.io/injected\n")

    running.server.listener.faults.status = 500
    status, answered, body = running.enroll(headers)
    assert (status, answered["Retry-After"]) == (503, "2")
    assert [record.decision for record in running.records()] == ["refuse"]


def test_metrics_are_those_of_all_workers(running: RunningCA, headers: dict[str, str]) -> None:
    with_token = [running.enroll(headers)[0] for _ in range(8)]

    status, _, body = running.ask("GET", "/metrics", {})

    assert with_token == [200] * 8
    assert status == 200
    assert b'podtls_ca_requests_total{code="200",route="enroll"} 8.0' in body


def test_chunked_body_over_the_limit_is_refused(running: RunningCA, headers: dict[str, str]) -> None:
    connection = UnixConnection(running.socket)
    chunks = iter([b"a" * 16_384] * 5)

    connection.request("POST", PATH_ENROLL, body=chunks, headers=headers, encode_chunked=True)
    status = connection.getresponse().status

    connection.close()
    assert status == 413


def test_sigterm_under_load_loses_no_answer(running: RunningCA, headers: dict[str, str]) -> None:
    statuses: list[int] = []
    begun = threading.Event()

    def load() -> None:
        # Until the socket is gone. A connection that was never accepted is reset; the edge proxy answers 502 then, and
        # the pod comes again. What was signed must have arrived.
        while True:
            try:
                statuses.append(running.enroll(headers)[0])
            except OSError:
                return
            begun.set()

    clients = [threading.Thread(target=load) for _ in range(3)]
    for client in clients:
        client.start()
    assert begun.wait(30)
    running.process.send_signal(signal.SIGTERM)
    for client in clients:
        client.join(60)

    assert running.process.wait(60) == 0
    assert set(statuses) == {200}
    assert len(running.records()) == len(statuses)


def test_killed_worker_is_replaced_and_the_log_reads_on(running: RunningCA, headers: dict[str, str]) -> None:
    assert running.enroll(headers)[0] == 200
    with running.log.path.open("ab") as log:
        log.write(b'{"v":1,"kind":"certif')  # what a worker leaves that is killed in the middle of a record
    for worker in _children(running.process.pid):
        os.kill(worker, signal.SIGKILL)

    _wait_until_ready(running)

    assert running.enroll(headers)[0] == 200
    assert [type(each).__name__ for each in read(running.log.path)] == [
        "CertificateRecord",
        "TornLine",
        "CertificateRecord",
    ]


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_ca_without_its_authority_does_not_start_and_says_why(environment: dict[str, str], folder: Path) -> None:
    told = {**environment, "PODTLS_AUTHORITY": str(folder / "nowhere"), "KUBECONFIG": ""}

    with _gunicorn(told) as process:
        _, said = process.communicate(timeout=60)

    assert process.returncode != 0
    assert "nowhere/tls.crt: No such file or directory" in said.decode()


def test_nothing_secret_is_said_on_stderr(running: RunningCA, headers: dict[str, str]) -> None:
    running.enroll(headers)
    running.enroll({**headers, "Authorization": "Bearer planted-secret"})
    running.process.terminate()

    said = running.process.communicate(timeout=60)[1].decode()

    assert '"decision":"issue"' in said
    for secret in ("planted-secret", headers["Authorization"].removeprefix("Bearer "), "PRIVATE KEY"):
        assert secret not in said
