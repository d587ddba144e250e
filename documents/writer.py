"""Values to YAML that every reader takes for the same values: YAML 1.1, YAML 1.2, and kubectl, which is neither."""

import json
import re
from collections.abc import Iterator
from typing import Any, Final

from documents.values import WORDS

# Text that needs no quotes, if it is not one of the words: it begins with a letter, or is a quantity such as 100m.
_PLAIN_TEXT: Final = re.compile(
    r"[A-Za-z/](?:[\w./=+@()%,;~*'\"$-]|:(?=[\w./])|[ ](?=[\w./(*'\"$-]))*|[0-9]+(?:m|[KMG]i)"
)


def to_yaml(value: Any, *, step: int = 2, offset: int = 0) -> str:
    """Return a JSON value as one YAML document, mappings and lists indented so far below their keys."""
    return "\n".join(_lines(value, " " * step, " " * offset)) + "\n"


def to_flow(value: Any) -> str:
    """Return a JSON value as one line: JSON, with all escaped that YAML 1.1 could take for an end of line."""
    return "".join(
        character if character.isprintable() else ascii(character)[1:-1]
        for character in json.dumps(value, ensure_ascii=False)
    )


def _lines(value: Any, step: str, offset: str) -> Iterator[str]:
    if isinstance(value, dict) and value:
        for key, item in value.items():
            first, *more = _lines(item, step, offset)
            head = f"{_scalar(str(key))}:"
            if isinstance(item, dict | list) and item:
                yield head
                yield from _indent([first, *more], step if isinstance(item, dict) else offset)
            else:
                yield from (f"{head} {first}", *more)
    elif isinstance(value, list) and value:
        for item in value:
            first, *more = _lines(item, step, offset)
            yield from (f"- {first}", *_indent(more, "" if isinstance(item, str) else "  "))
    elif isinstance(value, str) and _is_block(value):
        yield "|" if value.endswith("\n") else "|-"
        yield from _indent(value.removesuffix("\n").split("\n"), "  ")
    else:
        yield _scalar(value)


def _indent(lines: list[str], blanks: str) -> list[str]:
    return [blanks + line if line else "" for line in lines]


def _is_block(text: str) -> bool:
    """Whether `|` shows the text as it is, with no blank that an eye or an editor would lose."""
    lines = text.removesuffix("\n").split("\n")
    is_shown = all(line.isprintable() and line == line.rstrip() for line in lines)
    return "\n" in text and is_shown and bool(lines[0] and lines[-1]) and not lines[0].startswith(" ")


def _scalar(value: Any) -> str:
    if not isinstance(value, str) or not value.isprintable():
        return to_flow(value)
    if _PLAIN_TEXT.fullmatch(value) and value not in WORDS:
        return value
    return "'" + value.replace("'", "''") + "'"
