"""Files of manifests for the commands that change them: reading, and the diff. Knows nothing of pods."""

import difflib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from rich.text import Text

from podtls.console import make_console, printable
from podtls.errors import InputError
from podtls.inject.documents import Document, dump

_COLOURS: Final = {"+": "green", "-": "red", "@": "cyan"}


def read(files: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Name and text of each file; `-` is stdin. Raises InputError naming the file."""
    for file in files:
        try:
            content = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
            # kubectl on Windows writes a byte order mark.
            yield ("stdin" if file == "-" else file), content.decode("utf-8-sig")
        except OSError as error:
            raise InputError(f"--filename: {file}: {error.strerror or error}") from error
        except UnicodeDecodeError as error:
            raise InputError(f"--filename: {file}: not UTF-8 at byte {error.start}") from error


def print_diffs(changes: Sequence[tuple[str, Document, Document]]) -> None:
    """A unified diff of each document that changed, both sides as we write YAML, so that only changes show."""
    out = make_console()
    for source, before, after in changes:
        lines = difflib.unified_diff(
            dump([before]).splitlines(), dump([after]).splitlines(), source, f"{source} (podtls)", lineterm=""
        )
        for line in lines:
            out.print(Text(printable(line), style=_COLOURS.get(line[:1], "")))
