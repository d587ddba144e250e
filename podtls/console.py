"""How the command writes to a terminal or a pipe: columns, colours, untrusted text. Knows no records and no pods."""

import difflib
import json
import re
import sys
from collections.abc import Sequence
from typing import Any, Final, TextIO

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from documents.writer import to_yaml

# Wider than any line, so that nothing is cut or folded in a pipe.
_PIPE_WIDTH: Final = 1_000_000
_BATCH: Final = 500
_DIFF_COLOURS: Final = {"+": "green", "-": "red", "@": "cyan"}
# JSON itself escapes what is below 0x20. These are C1 controls, and those that turn the direction of text.
_INVISIBLE: Final = re.compile("[\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]")


def make_console(stream: TextIO | None = None) -> Console:
    """A console that colours only for a terminal and honours NO_COLOR, and folds only for a terminal."""
    stream = stream or sys.stdout
    width = None if stream.isatty() else _PIPE_WIDTH
    return Console(file=stream, width=width, highlight=False, markup=False, emoji=False, soft_wrap=False)


def printable(text: str) -> str:
    """The text with all control and other invisible characters escaped: records hold untrusted text."""
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)


def printable_json(text: str) -> str:
    """JSON of the same values without invisible characters that a terminal would obey."""
    return _INVISIBLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def note(text: str) -> None:
    """Print one line on stderr, for the person and never for the pipe."""
    click.echo(f"podtls: {printable(text)}", err=True)


def count_noun(count: int, noun: str) -> str:
    """As in "no problems, 1 warning"."""
    return f"{count or 'no'} {noun}{'s' * (count != 1)}"


def print_values(values: dict[str, Any], output: str) -> None:
    """Print as `-o json` or `-o yaml` does; untrusted text in them cannot command a terminal."""
    text = json.dumps(values, indent=2, ensure_ascii=False)
    # By way of JSON, whose lists are lists.
    click.echo(to_yaml(json.loads(text)) if output == "yaml" else f"{printable_json(text)}\n", nl=False)


def print_diff(name: str, before: str, after: str) -> None:
    """Print what changes in a text as a unified diff, nothing if nothing does."""
    out = make_console()
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), name, f"{name} (podtls)", lineterm="")
    for line in lines:
        out.print(Text(printable(line), style=_DIFF_COLOURS.get(line[:1], "")))


class Columns:
    """Rows printed batch by batch, aligned to the widest cells so far, as `kubectl get --watch` does."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self._widths = [len(name) for name in names]
        self._console = make_console()
        self._started = False

    def print(self, rows: Sequence[tuple[str, Sequence[str]]]) -> None:
        """Print rows of a style ("" for none) and cells; the first call prints the names above them."""
        cells = [[printable(cell) for cell in row] for _, row in rows]
        for row in cells:
            self._widths = [max(width, len(cell)) for width, cell in zip(self._widths, row, strict=True)]
        fits = sum(self._widths) + 2 * len(self._widths) <= self._console.width
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=not self._started)
        for name, width in zip(self._names, self._widths, strict=True):
            table.add_column(name, min_width=width if fits else None, overflow="fold")
        for (style, _), row in zip(rows, cells, strict=True):
            table.add_row(*(Text(cell) for cell in row), style=style)
        self._started = True
        with self._console.capture() as capture:
            self._console.print(table)
        # A pipe gets no blanks at the ends of lines.
        click.echo("\n".join(line.rstrip() for line in capture.get().splitlines()))


def print_section(title: str, names: Sequence[str], rows: Sequence[tuple[str, Sequence[str]]]) -> None:
    """Print a title and rows of a style ("" for none) and cells below it; nothing where there are no rows."""
    if not rows:
        return
    click.echo(f"{title}:")
    columns = Columns(names)
    for start in range(0, len(rows), _BATCH):
        columns.print(rows[start : start + _BATCH])
    click.echo("")
