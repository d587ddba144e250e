"""How things look: whole and plain when piped, coloured on a terminal, and never believed to be markup."""

import io
from typing import Literal

import pytest
from rich.console import Console

from lab.demo.show import Show


def _shown(*, terminal: bool = False) -> tuple[Show, io.StringIO]:
    stream = io.StringIO()
    colours: Literal["standard"] | None = "standard" if terminal else None
    return Show(Console(file=stream, width=200, force_terminal=terminal, color_system=colours)), stream


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
