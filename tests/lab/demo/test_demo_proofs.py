"""Proofs that can fail: each is tried against what must hold it, and against what must not."""

import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trustme

from lab.demo.peers import IMPOSTOR, LATER, Client, Server
from lab.demo.proofs import refusals, renewal
from lab.demo.proofs.clients import ask
from lab.sandbox.apiserver.store import Object
from lab.sandbox.errors import DemoError
from lab.sandbox.linux.capture import Report, Stream
from lab.sandbox.linux.network import GATEWAY
from tests.lab.sandbox.tls_app import TLSApp, save_identity, tls_app

NAME = "payments.shop.svc"
AUTHORITY = trustme.CA()
BUNDLE = AUTHORITY.cert_pem.bytes().decode()
LATER_NAME = f"{LATER}.shop.svc"
ANSWER = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nyes"
MISMATCH = 'upstream SSL certificate does not match "x"'


@dataclass(slots=True)
class FakeWorld:
    """A World of one app behind TLS: what containers receive and what wires carried is scripted."""

    app: TLSApp
    answers: dict[str, str] = field(default_factory=dict)
    reports: list[Report] = field(default_factory=list)
    on_apply: Callable[[], None] = lambda: None
    on_dial: Callable[[], None] = lambda: None

    def log(self, namespace: str, pod: str, container: str) -> str:
        return "\n".join([f"{namespace}/{pod}/{container} starts", *self.app.log])

    def execute(
        self, namespace: str, pod: str, container: str, command: Sequence[str], seconds: float
    ) -> subprocess.CompletedProcess[str]:
        self.on_dial()
        host = command[-2]
        if host not in self.answers:
            raise subprocess.TimeoutExpired(f"{namespace}/{pod}/{container}", seconds)
        return subprocess.CompletedProcess(command, 0, self.answers[host], "")

    def capture(self, namespace: str, pod: str) -> "FakeWorld":
        assert (namespace, pod) == ("shop", "payments-1")
        return self

    def stop(self) -> Report:
        return self.reports.pop(0) if len(self.reports) > 1 else self.reports[0]

    def apply(self, manifest: Object) -> None:
        assert manifest["metadata"]["name"] == LATER
        self.on_apply()


Play = Callable[..., tuple[refusals.ProofSetup, FakeWorld]]


@pytest.fixture
def play(tmp_path: Path) -> Iterator[Play]:
    with ExitStack() as stack:

        def make(
            *, clients: str | None = BUNDLE, mode: str = "mtls", patience: float = 10
        ) -> tuple[refusals.ProofSetup, FakeWorld]:
            app = stack.enter_context(tls_app(AUTHORITY.issue_cert(NAME), clients))
            world = FakeWorld(app)
            server = Server("shop", "payments", 443, "payments-1", 8443, {"app": "payments"})
            client = Client("shop", "checkout-1", "app", "payments.shop", 80)
            identity = save_identity(AUTHORITY.issue_cert("checkout"), tmp_path)
            target = app.target(NAME, BUNDLE)
            setup = refusals.ProofSetup(
                world, server, client, target, identity, "spiffe://x/ns/shop/sa/checkout", mode, patience
            )
            return setup, world

        yield make


def _stream(source: str, records: dict[int, int], plaintext: bytes = b"") -> Stream:
    return Stream((source, 40000), ("10.244.0.2", 8443), records, plaintext)


TLS_ONLY = Report((_stream("10.244.0.3", {22: 2, 23: 4}),), unknown=0, lost=0)


def _verdicts(given: Iterator[refusals.Proof]) -> list[bool]:
    return [proof.held for proof in given]


def test_strict_server_holds_every_refusal_with_nginx_reason(play: Play) -> None:
    setup, _ = play()

    given = list(refusals.refusals(setup))

    assert [proof.held for proof in given] == [True] * 4
    assert "client sent no required SSL certificate" in given[1].why[1]
    assert "client SSL certificate verify error" in given[2].why[1]
    assert "SSL_do_handshake() failed" in given[3].why[1]
    assert all("application bytes received: 0" in proof.why[0] for proof in given[1:])


def test_server_that_asks_for_no_certificate_fails_the_proofs(play: Play) -> None:
    setup, _ = play(clients=None, patience=0.5)

    control, nobody, foreigner, plaintext = refusals.refusals(setup)

    assert control.held
    assert not nobody.held
    assert not foreigner.held
    assert plaintext.held
    assert nobody.why[1] == "Nginx of payments-1: says nothing of it"


def test_mode_tls_does_not_claim_what_it_does_not_promise(play: Play) -> None:
    setup, _ = play(clients=None, mode="tls")

    given = list(refusals.refusals(setup))

    assert [proof.claim.partition(" ")[0] for proof in given] == ["control:", "plaintext"]


def test_server_that_answers_nobody_fails_the_control(play: Play) -> None:
    setup, world = play()
    world.app.reply = None

    control, *_ = refusals.refusals(setup)

    assert not control.held


def test_plain_http_with_tls_only_on_the_wire_holds(play: Play) -> None:
    setup, world = play(patience=0)
    world.answers, world.reports = {"payments.shop": ANSWER}, [TLS_ONLY]

    reply, wire = refusals.plain_http_works(setup)

    assert reply.held
    assert reply.why[:2] == ("answer: HTTP/1.1 200 OK", "body: yes")
    assert wire.held
    assert "2 handshake, 4 application_data" in wire.why[0]


@pytest.mark.parametrize(
    ("answer", "report", "verdicts"),
    [
        pytest.param("", TLS_ONLY, [False, True], id="no answer"),
        pytest.param("SSH-2.0\r\n", TLS_ONLY, [False, True], id="no HTTP"),
        pytest.param(ANSWER, Report((), 0, 0), [True, False], id="nothing seen on the wire"),
        pytest.param(
            ANSWER,
            Report((*TLS_ONLY.streams, _stream("10.244.0.3", {}, b"GET / HTTP/1.1")), 0, 0),
            [True, False],
            id="plaintext between the pods",
        ),
        pytest.param(ANSWER, Report(TLS_ONLY.streams, unknown=0, lost=1), [True, False], id="a frame was lost"),
        pytest.param(
            ANSWER,
            Report((*TLS_ONLY.streams, _stream(GATEWAY, {}, b"GET /healthz")), 0, 0),
            [True, True],
            id="plaintext of kubelet's own probe",
        ),
    ],
)
def test_wire_and_answer_are_judged_apart(play: Play, answer: str, report: Report, verdicts: list[bool]) -> None:
    setup, world = play(patience=0)
    world.answers, world.reports = {"payments.shop": answer}, [report]

    assert _verdicts(refusals.plain_http_works(setup)) == verdicts


def test_capture_that_missed_something_is_made_again(play: Play) -> None:
    setup, world = play(patience=0)
    world.answers = {"payments.shop": ANSWER}
    world.reports = [Report(TLS_ONLY.streams, unknown=1, lost=0), TLS_ONLY]

    assert _verdicts(refusals.plain_http_works(setup)) == [True, True]


def test_app_that_never_answers_ends_the_demo_with_its_url(play: Play) -> None:
    setup, world = play(patience=0)
    world.reports = [TLS_ONLY]

    with pytest.raises(DemoError, match=r"checkout-1: http://payments\.shop/ gave no answer for 15 s"):
        list(refusals.plain_http_works(setup))


@pytest.mark.parametrize(
    ("received", "logged", "held"),
    [
        pytest.param("", MISMATCH, True, id="refused for its name"),
        pytest.param("", "connection refused", False, id="refused for something else"),
        pytest.param(ANSWER, MISMATCH, False, id="answered"),
    ],
)
def test_wrong_name_is_judged_by_bytes_and_log(play: Play, received: str, logged: str, held: bool) -> None:
    setup, world = play(patience=0.5)
    world.answers = {"payments.shop": ANSWER, f"{IMPOSTOR}.shop": received}
    world.on_dial = lambda: world.app.log.append(logged)

    control, wrong = refusals.wrong_name(setup, "visitor")

    assert control.held
    assert wrong.held is held


def test_reason_in_the_log_from_before_the_attempt_does_not_count(play: Play) -> None:
    setup, world = play(patience=0.5)
    world.app.log.append(MISMATCH)
    world.answers = {"payments.shop": ANSWER, f"{IMPOSTOR}.shop": ""}

    _, wrong = refusals.wrong_name(setup, "visitor")

    assert not wrong.held


def test_renewal_with_the_new_name_and_no_cut_holds(play: Play) -> None:
    setup, world = play()
    before = ask(setup.target, setup.identity).certificate
    assert before is not None

    renewed = AUTHORITY.issue_cert(NAME, LATER_NAME)
    world.on_apply = lambda: renewed.configure_cert(world.app.context)

    with renewal.begun_renewal(setup, before, seconds=20) as begun:
        leaf, given = begun.finish()

    assert leaf.serial_number != before.serial_number
    assert [proof.held for proof in given] == [True, True, True]


def test_renewal_that_cuts_connections_fails_its_proofs(play: Play) -> None:
    setup, world = play()
    before = ask(setup.target, setup.identity).certificate
    assert before is not None

    with renewal.begun_renewal(setup, before, seconds=1.0) as begun:
        world.app.reply = None
        leaf, given = begun.finish()

    assert leaf is before
    assert [proof.held for proof in given] == [False, False, False]
    assert "still ['payments.shop.svc']" in given[0].why[0]
    assert "the connection was cut" in given[2].why[0]
