"""How things look: whole and plain when piped, coloured on a terminal, and never believed to be markup."""

import io
from typing import Any, Literal

import pytest
from cryptography import x509
from rich.console import Console

from lab.demo.show import Show, names, shorten, summary
from lab.sandbox.certificates import foreign_client, self_signed


def _shown(*, terminal: bool = False) -> tuple[Show, io.StringIO]:
    stream = io.StringIO()
    colours: Literal["standard"] | None = "standard" if terminal else None
    return Show(Console(file=stream, width=200, force_terminal=terminal, color_system=colours)), stream


def test_steps_are_numbered() -> None:
    show, stream = _shown()

    show.step("First")
    show.step("Second")

    lines = stream.getvalue().splitlines()
    assert lines[1].startswith(" 1  First")
    assert lines[3].startswith(" 2  Second")


def test_patch_is_one_line_an_operation() -> None:
    show, stream = _shown()

    show.patch(
        [
            {"op": "add", "path": "/metadata/labels/a~1b", "value": "true"},
            {"op": "replace", "path": "/spec/x", "value": 1},
            {"op": "remove", "path": "/spec/y"},
            {"op": "test", "path": "/spec/z", "value": None},
        ]
    )

    assert [line.strip() for line in stream.getvalue().splitlines()] == [
        '+ /metadata/labels/a~1b  "true"',
        "~ /spec/x  1",
        "- /spec/y",
        "? /spec/z  null",
    ]


def test_patch_is_green_on_a_terminal() -> None:
    show, stream = _shown(terminal=True)

    show.patch([{"op": "add", "path": "/a", "value": 1}])

    assert "\x1b[32m+ /a" in stream.getvalue()


def test_what_strangers_sent_is_neither_markup_nor_control() -> None:
    show, stream = _shown(terminal=True)

    show.fact("warning", "[red]boo[/red] \x1b]0;title\x07")

    assert "[red]boo[/red] \\x1b]0;title\\x07" in stream.getvalue()


@pytest.mark.parametrize(("held", "mark"), [(True, "held"), (False, "FAILED")])
def test_verdict_shows_claim_and_reasons(held: bool, mark: str) -> None:
    show, stream = _shown()

    show.verdict("no certificate is refused", ("0 bytes", "Nginx says so"), held=held)

    first, second, third = [line.strip() for line in stream.getvalue().splitlines()]
    assert first.split(maxsplit=1) == [mark, "no certificate is refused"]
    assert (second, third) == ("0 bytes", "Nginx says so")


def test_certificate_shows_names_serial_and_validity() -> None:
    show, stream = _shown()
    leaf = x509.load_pem_x509_certificate(self_signed("a", dns=("a.shop.svc",)).certificate.encode())

    show.certificate("payments-1", leaf)
    show.line("that is all", "dim")

    text = stream.getvalue()
    assert "a.shop.svc" in text
    assert f"{leaf.serial_number:x}" in text
    assert "ECDSA secp256r1" in text
    assert "UTC" in text


def test_names_are_uri_first_and_none_without_the_extension() -> None:
    claimed = x509.load_pem_x509_certificate(foreign_client("spiffe://x/ns/a/sa/b").certificate.encode())
    nameless = x509.load_pem_x509_certificate(self_signed("a").certificate.encode())

    assert names(claimed) == ["spiffe://x/ns/a/sa/b"]
    assert names(nameless) == []


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param([{"name": "a", "image": "x"}, {"name": "b"}], "a, b", id="containers are named"),
        pytest.param([{"ip": "127.0.1.1"}], '[{"ip": "127.0.1.1"}]', id="other lists are JSON"),
        pytest.param([], "[]", id="empty list"),
        pytest.param({"a": 1}, '{"a": 1}', id="object"),
    ],
)
def test_value_is_told_in_a_line(value: Any, expected: str) -> None:
    assert summary(value) == expected


def test_long_value_is_cut_in_the_middle() -> None:
    assert shorten("a" * 50 + "b" * 50, 25) == "a" * 10 + " ... " + "b" * 10
    assert shorten("short", 25) == "short"
