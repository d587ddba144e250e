"""The clients of the proofs, against a real TLS server: what came back, and how it ended."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import trustme

from lab.demo.proofs.clients import (
    Identity,
    Target,
    ask,
    ask_again,
    ask_in_plaintext,
    foreign_identity,
    held_connection,
)
from lab.demo.show import names
from tests.lab.sandbox.tls_app import REPLY, TLSApp, save_identity, tls_app

NAME = "payments.shop.svc"
AUTHORITY = trustme.CA()
BUNDLE = AUTHORITY.cert_pem.bytes().decode()

Serve = Callable[[str | None], TLSApp]


@pytest.fixture
def serve() -> Iterator[Serve]:
    with ExitStack() as stack:
        yield lambda clients: stack.enter_context(tls_app(AUTHORITY.issue_cert(NAME), clients))


@pytest.fixture
def identity(tmp_path: Path) -> Identity:
    return save_identity(AUTHORITY.issue_cert("checkout"), tmp_path)


def test_client_with_the_right_files_gets_the_answer(serve: Serve, identity: Identity) -> None:
    app = serve(BUNDLE)

    attempt = ask(app.target(NAME, BUNDLE), identity)

    assert attempt.received.startswith(b"HTTP/1.1 200")
    assert attempt.received.endswith(REPLY)
    assert attempt.version == "TLSv1.3"
    assert attempt.certificate is not None
    assert names(attempt.certificate) == [NAME]


def test_client_without_a_certificate_gets_no_byte(serve: Serve) -> None:
    app = serve(BUNDLE)

    attempt = ask(app.target(NAME, BUNDLE), None)

    assert attempt.received == b""
    assert app.wait_for_log() == ["client sent no required SSL certificate while SSL handshaking"]


def test_client_with_a_foreign_certificate_gets_no_byte(serve: Serve, tmp_path: Path) -> None:
    app = serve(BUNDLE)
    foreign = foreign_identity("spiffe://cluster.local/ns/shop/sa/checkout", tmp_path / "foreign")

    attempt = ask(app.target(NAME, BUNDLE), foreign)

    assert attempt.received == b""
    assert app.wait_for_log() == ["client SSL certificate verify error: (18:self-signed certificate)"]


def test_server_of_another_name_is_not_believed(serve: Serve, identity: Identity) -> None:
    app = serve(None)

    attempt = ask(app.target("ledger.shop.svc", BUNDLE), identity)

    assert attempt.received == b""
    assert "ledger.shop.svc" in attempt.ended


def test_alert_in_answer_to_plaintext_is_no_application_byte(serve: Serve) -> None:
    app = serve(None)

    attempt = ask_in_plaintext(app.target(NAME, BUNDLE))

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


def test_held_connection_is_asked_again(serve: Serve, identity: Identity) -> None:
    app = serve(BUNDLE)

    with held_connection(app.target(NAME, BUNDLE), identity) as connection:
        first, second = ask_again(connection), ask_again(connection)

    assert first == second
    assert (second.received, second.ended) == (REPLY, "HTTP 200")


def test_held_connection_that_was_cut_is_not_opened_anew(serve: Serve, identity: Identity) -> None:
    app = serve(None)

    with held_connection(app.target(NAME, BUNDLE), identity) as connection:
        app.reply = None
        cut = ask_again(connection)
        app.reply = REPLY
        again = ask_again(connection)

    assert cut.ended.startswith("the connection was cut: RemoteDisconnected")
    assert again.ended.startswith("the connection was cut: NotConnected")
