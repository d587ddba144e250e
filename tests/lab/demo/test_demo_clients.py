"""The clients of the proofs, against a real TLS server: what came back, and how it ended."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from lab.demo.proofs.clients import Identity, Target, ask, ask_again, ask_in_plaintext, held_connection, save
from lab.sandbox.certificates import Pair, foreign_client, self_signed
from tests.lab.sandbox.tls_app import REPLY, TLSApp, tls_app

NAME = "payments.shop.svc"

Serve = Callable[[str | None], TLSApp]


@pytest.fixture(scope="module")
def certificate() -> Pair:
    return self_signed("payments", dns=(NAME,))


@pytest.fixture(scope="module")
def client() -> Pair:
    return self_signed("checkout")


@pytest.fixture
def serve(certificate: Pair, tmp_path: Path) -> Iterator[Serve]:
    with ExitStack() as stack:
        yield lambda clients: stack.enter_context(tls_app(certificate, tmp_path, clients))


@pytest.fixture
def identity(client: Pair, tmp_path: Path) -> Identity:
    return save(client, tmp_path / "client")


def test_client_with_the_right_files_gets_the_answer(
    serve: Serve, certificate: Pair, client: Pair, identity: Identity
) -> None:
    app = serve(client.certificate)

    attempt = ask(app.target(NAME, certificate.certificate), identity)

    assert attempt.received.startswith(b"HTTP/1.1 200")
    assert attempt.received.endswith(REPLY)
    assert attempt.version == "TLSv1.3"
    assert attempt.certificate is not None
    assert attempt.certificate.subject.rfc4514_string() == "CN=payments"


def test_client_without_a_certificate_gets_no_byte(serve: Serve, certificate: Pair, client: Pair) -> None:
    app = serve(client.certificate)

    attempt = ask(app.target(NAME, certificate.certificate), None)

    assert attempt.received == b""
    assert app.wait_for_log() == ["client sent no required SSL certificate while SSL handshaking"]


def test_client_with_a_foreign_certificate_gets_no_byte(
    serve: Serve, certificate: Pair, client: Pair, tmp_path: Path
) -> None:
    app = serve(client.certificate)
    foreign = save(foreign_client("spiffe://cluster.local/ns/shop/sa/checkout"), tmp_path / "foreign")

    attempt = ask(app.target(NAME, certificate.certificate), foreign)

    assert attempt.received == b""
    assert app.wait_for_log() == ["client SSL certificate verify error: (18:self-signed certificate)"]


def test_server_of_another_name_is_not_believed(serve: Serve, certificate: Pair, identity: Identity) -> None:
    app = serve(None)

    attempt = ask(app.target("ledger.shop.svc", certificate.certificate), identity)

    assert attempt.received == b""
    assert "ledger.shop.svc" in attempt.ended


def test_server_of_another_bundle_is_not_believed(serve: Serve, client: Pair) -> None:
    app = serve(None)

    attempt = ask(app.target(NAME, client.certificate), None)

    assert (attempt.received, attempt.ended) == (b"", "self-signed certificate")


def test_alert_in_answer_to_plaintext_is_no_application_byte(serve: Serve, certificate: Pair) -> None:
    app = serve(None)

    attempt = ask_in_plaintext(app.target(NAME, certificate.certificate))

    assert attempt.received == b""


def _answering_once(data: bytes) -> tuple[Target, threading.Thread]:
    listener = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        with listener, listener.accept()[0] as connection:
            connection.recv(1024)
            connection.sendall(data)

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    return Target(listener.getsockname(), NAME, ""), thread


def test_plain_answer_behind_an_alert_is_seen() -> None:
    target, thread = _answering_once(b"\x15\x03\x01\x00\x02\x02\x46HTTP/1.1 400")

    attempt = ask_in_plaintext(target)
    thread.join(5)

    assert attempt.received == b"HTTP/1.1 400"
    assert attempt.ended == "the server closed the connection"


@pytest.mark.parametrize("asking", [ask_in_plaintext, lambda target: ask(target, None)], ids=["plaintext", "TLS"])
def test_nobody_there_is_an_answer_and_no_error(certificate: Pair, asking: Callable[[Target], object]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        target = Target(listener.getsockname(), NAME, certificate.certificate)

    attempt = asking(target)

    assert getattr(attempt, "ended") == "connection refused"  # noqa: B009 - one name for both kinds of asking.


def test_held_connection_is_asked_again(serve: Serve, certificate: Pair, client: Pair, identity: Identity) -> None:
    app = serve(client.certificate)

    with held_connection(app.target(NAME, certificate.certificate), identity) as connection:
        first, second = ask_again(connection), ask_again(connection)

    assert first == second
    assert (second.received, second.ended) == (REPLY, "HTTP 200")


def test_held_connection_that_was_cut_is_not_opened_anew(serve: Serve, certificate: Pair, identity: Identity) -> None:
    app = serve(None)

    with held_connection(app.target(NAME, certificate.certificate), identity) as connection:
        app.reply = None
        cut = ask_again(connection)
        app.reply = REPLY
        again = ask_again(connection)

    assert cut.ended.startswith("the connection was cut: RemoteDisconnected")
    assert again.ended.startswith("the connection was cut: NotConnected")
