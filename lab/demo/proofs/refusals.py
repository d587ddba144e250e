"""Proofs by trying: the app's traffic works, everything else is refused, and the reason is shown.

Evidence is bytes received and Nginx's own log, never an exit code of a client. Renewal and the patch log have modules
of their own.
"""

import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Protocol

from contract.names import SIDECAR_CONTAINER
from lab.demo.peers import IMPOSTOR, Client, Server, visit
from lab.demo.proofs.clients import Attempt, Identity, Target, ask, ask_in_plaintext, foreign_identity
from lab.sandbox.apiserver.store import Object
from lab.sandbox.errors import DemoError
from lab.sandbox.linux.capture import Report
from lab.sandbox.linux.network import GATEWAY

_DIAL_SECONDS: Final = 15.0
_POLL_SECONDS: Final = 0.05
_OWN_LOG_SECONDS: Final = 3.0
# A capture may begin or end in the middle of somebody else's connection; then nothing is proven and it is made again.
_CAPTURES: Final = 5
_DIAL: Final = """\
import socket, sys
host, port = sys.argv[1], int(sys.argv[2])
try:
    with socket.create_connection((host, port), timeout=10) as connection:
        connection.sendall(f"GET / HTTP/1.0\\r\\nHost: {host}\\r\\n\\r\\n".encode())
        while chunk := connection.recv(65536):
            sys.stdout.buffer.write(chunk)
except OSError as error:
    sys.exit(str(error))
"""


@dataclass(frozen=True, slots=True)
class Proof:
    """A claim, whether it held when it was tried, and what was seen."""

    claim: str
    held: bool
    why: tuple[str, ...]


class Recording(Protocol):
    """A capture under way."""

    def stop(self) -> Report:
        """End it; what was seen."""
        ...


class World(Protocol):
    """What a person with kubectl and access to the wires could see and do."""

    def log(self, namespace: str, pod: str, container: str) -> str:
        """All that a container wrote."""
        ...

    def execute(
        self, namespace: str, pod: str, container: str, command: Sequence[str], seconds: float
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in a container. Raises DemoError, subprocess.TimeoutExpired."""
        ...

    def capture(self, namespace: str, pod: str) -> Recording:
        """Begin to record a pod's wire. Raises DemoError."""
        ...

    def apply(self, manifest: Object) -> object:
        """Create an object. Raises DemoError."""
        ...


@dataclass(frozen=True, slots=True)
class ProofSetup:
    """What the proofs need: the pods that serve and dial, and how to reach the first with the other's files."""

    world: World
    server: Server
    client: Client
    target: Target
    identity: Identity
    spiffe_id: str
    mode: str
    patience: float = 5.0  # seconds that Nginx's log may lag behind what a client sees

    def nginx_log(self, pod: str) -> str:
        """All that Nginx of a pod of the server's namespace wrote."""
        return self.world.log(self.server.namespace, pod, SIDECAR_CONTAINER)


def plain_http_works(setup: ProofSetup) -> Iterator[Proof]:
    """The app's own `http://` reaches the other app, and the wire between the pods carries TLS records only."""
    received, report = "", Report((), 0, 0)
    for _ in range(_CAPTURES):
        capture = setup.world.capture(setup.server.namespace, setup.server.pod)
        try:
            received = dial(setup.world, setup.client)
        finally:
            report = between_pods(capture.stop())
        if report.is_tls_only or report.plaintext:
            break
    status, _, rest = received.partition("\r\n")
    body = rest.partition("\r\n\r\n")[2].strip()
    yield Proof(
        f"{setup.client.pod} asks {setup.client.url} in plain HTTP and gets the answer",
        status.startswith("HTTP/1."),
        (
            f"answer: {status or 'none'}",
            f"body: {_first_line(body)}",
            f"its own log says: {_last_line(_new_log(setup))}",
        ),
    )
    yield _wire_proof(setup, report)


def _new_log(setup: ProofSetup) -> str:
    """The client app's log once it has a new line: an older one may be of a time when the server was not ready yet."""

    def read() -> str:
        return setup.world.log(setup.client.namespace, setup.client.pod, setup.client.container)

    before, deadline = read(), time.monotonic() + min(setup.patience, _OWN_LOG_SECONDS)
    while (log := read()) == before and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
    return log


def refusals(setup: ProofSetup) -> Iterator[Proof]:
    """Everybody else gets no application byte. The first proof is the control: the same client with the right files."""
    honest = ask(setup.target, setup.identity)
    yield Proof(
        f"control: the same client with {setup.client.pod}'s own files gets the answer",
        honest.received.startswith(b"HTTP/1."),
        (f"received {len(honest.received)} bytes by {honest.version}: {_first_line(honest.received.decode())}",),
    )
    if setup.mode == "mtls":
        yield _refusal(
            setup, "no certificate", lambda: ask(setup.target, None), "client sent no required SSL certificate"
        )
        yield _foreign_certificate(setup)
    yield _refusal(
        setup, "plaintext on the TLS port", lambda: ask_in_plaintext(setup.target), "SSL_do_handshake() failed"
    )


def wrong_name(setup: ProofSetup, visitor: str) -> Iterator[Proof]:
    """A pod dials a Service whose endpoints lead to the server's pods, but whose name the CA gave to nobody."""
    right = dial(setup.world, visit(setup.server, setup.server.service))
    yield Proof(
        f"control: {visitor} dials {setup.server.name} by its right name and gets the answer",
        right.startswith("HTTP/1."),
        (f"answer: {_first_line(right)}",),
    )
    before = len(setup.nginx_log(visitor))
    received = dial(setup.world, visit(setup.server, IMPOSTOR))
    reason = _wait_for_line(setup, visitor, after=before, fragment="upstream SSL certificate does not match")
    yield Proof(
        "a wrong name is refused: the server's certificate does not carry it",
        not received and bool(reason),
        (f"application bytes received: {len(received)}", f"Nginx of {visitor}: {reason or 'says nothing of it'}"),
    )


def dial(world: World, client: Client) -> str:
    """What an app in the client's container receives when it asks in plain HTTP; "" when nothing came back.

    Raises DemoError when nothing happens at all.
    """
    command = ["python3", "-c", _DIAL, client.host, str(client.port)]
    try:
        return world.execute(client.namespace, client.pod, client.container, command, _DIAL_SECONDS).stdout
    except subprocess.TimeoutExpired as error:
        raise DemoError(f"{client.pod}: {client.url} gave no answer for {_DIAL_SECONDS:g} s") from error


def between_pods(report: Report) -> Report:
    """The same without the node's own streams: kubelet probes the app in plaintext, from the node it runs on."""
    streams = tuple(stream for stream in report.streams if GATEWAY not in {stream.source[0], stream.destination[0]})
    return replace(report, streams=streams)


def _wire_proof(setup: ProofSetup, report: Report) -> Proof:
    records = ", ".join(f"{count} {kind}" for kind, count in report.records.items() if count)
    clear = report.plaintext[0].plaintext[:40] if report.plaintext else b""
    return Proof(
        f"between the pods the wire of {setup.server.pod} carries TLS records and nothing else",
        report.is_tls_only,
        (
            f"captured on its veth: {len(report.streams)} streams, records: {records or 'none'}",
            f"plaintext: {clear!r}" if clear else f"plaintext: none; frames missed: {report.lost + report.unknown}",
        ),
    )


def _foreign_certificate(setup: ProofSetup) -> Proof:
    with tempfile.TemporaryDirectory(prefix="podtls-foreign-") as folder:
        identity = foreign_identity(setup.spiffe_id, Path(folder, "client"))
        return _refusal(
            setup,
            f"a foreign CA's certificate that claims to be {setup.spiffe_id}",
            lambda: ask(setup.target, identity),
            "client SSL certificate verify error",
        )


def _refusal(setup: ProofSetup, what: str, attempt: Callable[[], Attempt], reason: str) -> Proof:
    """It held when no application byte came back and Nginx gave just this reason."""
    pod = setup.server.pod
    before = len(setup.nginx_log(pod))
    made = attempt()
    line = _wait_for_line(setup, pod, after=before, fragment=reason)
    return Proof(
        f"{what} is refused",
        not made.received and bool(line),
        (
            f"application bytes received: {len(made.received)}; the client sees: {made.ended}",
            f"Nginx of {pod}: {line or 'says nothing of it'}",
        ),
    )


def _wait_for_line(setup: ProofSetup, pod: str, *, after: int, fragment: str) -> str:
    """The first new line of the pod's Nginx that has the fragment, from there on; "" when none came in time."""
    deadline = time.monotonic() + setup.patience
    while True:
        for line in setup.nginx_log(pod)[after:].splitlines():
            if fragment in line:
                return line[line.index(fragment) :]
        if time.monotonic() > deadline:
            return ""
        time.sleep(_POLL_SECONDS)


def _last_line(text: str) -> str:
    return next(iter(reversed(text.splitlines())), "nothing")


def _first_line(text: str) -> str:
    return next(iter(text.splitlines()), "nothing")
