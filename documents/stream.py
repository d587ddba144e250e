"""Files of YAML or JSON to documents, and documents to one stream."""

import functools
import json
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ruamel.yaml.composer import MaxDepthExceededError
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import Node

from documents.errors import DocumentError
from documents.nodes import compose
from documents.values import DEPTH_LIMIT, Values, duplicate_key

_LONE_CR: Final = re.compile(r"\r(?!\n)")
# kubectl cuts a stream at the same lines.
_MARKER: Final = re.compile(r"^---(?=\s|\Z)", re.MULTILINE)
_NOTHING: Final = re.compile(r"(?:[ \t]*(?:[#%].*)?\r?\n)*")
_BLANK: Final = re.compile(r"\s*")


@dataclass(frozen=True, slots=True)
class Document:
    """One document: its characters, its value as kubectl would send it, and where in the text each part is."""

    text: str
    value: Any
    # None for JSON and for what is empty.
    root: Node | None = None
    warnings: tuple[str, ...] = ()


def read_documents(files: Sequence[str]) -> Iterator[tuple[str, Document]]:
    """Each document of the files of `--filename`, with the name of its file. Raises DocumentError."""
    for file in files:
        source = "stdin" if file == "-" else file
        for document in parse_documents(read_text(file, f"--filename: {file}"), source):
            yield source, document


def read_text(file: str, source: str) -> str:
    """Return the text of a file; `-` is stdin. Raises DocumentError that begins with `source`."""
    try:
        content = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        # kubectl on Windows writes a byte order mark.
        return content.decode("utf-8-sig")
    except OSError as error:
        raise DocumentError(f"{source}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise DocumentError(f"{source}: not UTF-8 at byte {error.start}") from error


def parse_documents(text: str, source: str) -> list[Document]:
    """Return every document of a stream. Raises DocumentError naming source, line and problem."""
    try:
        return [document for line, part in _parts(text) for document in _documents(part, source, line)]
    except RecursionError as error:
        raise DocumentError(f"{source}: nested too deeply") from error


def join_documents(texts: Iterable[str]) -> str:
    """Return the texts of documents as one stream, in which each but the first has its `---`."""
    stream = ""
    for text in texts:
        if stream and not stream.endswith("\n"):
            stream += "\n"
        if stream and not _MARKER.match(text, _start(text)):
            stream += "---\n"
        stream += text
    return stream


def _parts(text: str) -> Iterator[tuple[int, str]]:
    """Cut before each `---`, with the number of lines before. Comments before the first one belong to it."""
    cuts = [match.start() for match in _MARKER.finditer(text)]
    if cuts and _start(text) == cuts[0]:
        del cuts[0]
    line = 0
    for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True):
        yield line, text[start:end]
        line += text.count("\n", start, end)


def _start(text: str) -> int:
    nothing = _NOTHING.match(text)
    return nothing.end() if nothing else 0


def _documents(part: str, source: str, line: int) -> Iterator[Document]:
    # As JSON it may have tabs and surrogate pairs, which YAML reads differently. If it is not, it is flow YAML.
    marker = _MARKER.match(part)
    start = _blank_end(part, marker.end() if marker else 0)
    if part.startswith("{", start):
        try:
            yield from list(_json_documents(part, source, start))
        except json.JSONDecodeError:
            pass
        else:
            return
    yield _yaml_document(part, source, line)


def _json_documents(part: str, source: str, at: int) -> Iterator[Document]:
    """The JSON objects of a text, one after another (`jq -c` writes no `---`)."""
    begin = 0
    while at < len(part):
        warnings: list[str] = []
        decoder = json.JSONDecoder(object_pairs_hook=functools.partial(_object, warnings, source))
        value, at = decoder.raw_decode(part, at)
        _check_depth(value)
        at = _blank_end(part, at)
        yield Document(part[begin:at], value, None, tuple(warnings))
        begin = at


def _object(warnings: list[str], source: str, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        keys = [key for key, _ in pairs]
        warnings += [f"{source}: {duplicate_key(key)}" for key in members if keys.count(key) > 1]
    return members


def _check_depth(value: Any, depth: int = 0) -> None:
    if depth > DEPTH_LIMIT:
        raise RecursionError
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _check_depth(item, depth + 1)


def _blank_end(text: str, at: int) -> int:
    blank = _BLANK.match(text, at)
    return blank.end() if blank else at


def _yaml_document(part: str, source: str, line: int) -> Document:
    # YAML takes CR alone for the end of a line. Nothing writes that today, and every edit counts lines by LF.
    if lone := _LONE_CR.search(part):
        ended = line + part.count("\n", 0, lone.start()) + 1
        raise DocumentError(f"{source}: line {ended}: ends with CR alone, expected LF or CR LF")
    try:
        root = compose(part, DEPTH_LIMIT)
    except MaxDepthExceededError as error:
        raise DocumentError(f"{source}: more than {DEPTH_LIMIT} levels of nesting") from error
    except MarkedYAMLError as error:
        where = f" line {line + error.problem_mark.line + 1}:" if error.problem_mark else ""
        raise DocumentError(f"{source}:{where} not YAML: {error.problem or error.context}") from error
    except YAMLError as error:
        raise DocumentError(f"{source}: not YAML: {str(error).splitlines()[0]}") from error
    values = Values(source, line)
    return Document(part, None if root is None else values.of(root), root, tuple(values.warnings))
