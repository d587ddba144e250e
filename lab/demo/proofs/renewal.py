"""The proof of renewal: a Service is added, the certificate follows it, and no connection is cut, held or new."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from typing import Final

from cryptography import x509

from lab.demo.peers import LATER, later_service
from lab.demo.proofs.clients import ask, ask_again, held_connection
from lab.demo.proofs.refusals import Proof, ProofSetup
from lab.demo.show import names

# The sidecar looks 3 s and 15 s after its start, then after a minute (design, section 3).
_SECONDS: Final = 75.0
_POLL_SECONDS: Final = 0.2


@dataclass(slots=True)
class Renewal:
    """A renewal that is under way: what was served before, and a connection from before that is held open."""

    setup: ProofSetup
    before: x509.Certificate
    held: HTTPConnection
    seconds: float
    failures: list[str] = field(default_factory=list)
    asked: int = 0

    def finish(self) -> tuple[x509.Certificate, list[Proof]]:
        """Wait for the new certificate; it, and the proofs."""
        after = self._wait()
        name = f"{LATER}.{self.setup.server.namespace}.svc"
        answer = ask_again(self.held)
        proofs = [
            Proof(
                "a Service added later appears in the certificate",
                name in names(after) and name not in names(self.before),
                (f"new name: {name}" if name in names(after) else f"after {self.seconds:g} s still {names(after)}",),
            ),
            Proof(
                "the certificate was renewed, and no new connection failed meanwhile",
                after.serial_number != self.before.serial_number and not self.failures,
                (
                    f"serial {self.before.serial_number:x} became {after.serial_number:x}",
                    f"{self.asked} new connections during it, failed: {', '.join(self.failures) or 'none'}",
                ),
            ),
            Proof(
                "a connection that was open before the renewal still answers",
                answer.ended.startswith("HTTP "),
                (f"{answer.ended}, {len(answer.received)} bytes on the connection opened before",),
            ),
        ]
        return after, proofs

    def _wait(self) -> x509.Certificate:
        leaf, deadline = self.before, time.monotonic() + self.seconds
        while leaf.serial_number == self.before.serial_number and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
            attempt = ask(self.setup.target, self.setup.identity)
            self.asked += 1
            if attempt.certificate is None or not attempt.received:
                self.failures.append(attempt.ended)
            else:
                leaf = attempt.certificate
        return leaf


@contextmanager
def begun_renewal(setup: ProofSetup, before: x509.Certificate, *, seconds: float = _SECONDS) -> Iterator[Renewal]:
    """Open a connection, then add a Service: from now on the pod's sidecar finds that its names changed.

    `seconds`: how long to wait for it. Raises OSError, DemoError.
    """
    with held_connection(setup.target, setup.identity) as held:
        # It is kept for the one question after the renewal: many servers close after their first answer.
        setup.world.apply(later_service(setup.server))
        yield Renewal(setup, before, held, seconds)
