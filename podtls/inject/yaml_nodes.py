"""YAML text to nodes and back, and what a node means to Kubernetes. Knows nothing of changes, nor of pods.

PyYAML reads and writes YAML 1.1, kubectl's Go parser a dialect of its own, others YAML 1.2: `on`, `0o777`, `1e3`,
`12:30` mean another thing to each. Nodes keep the characters and quotes they came with, and text that we make is quoted
where any of the dialects could misread it.
"""

import io
import json
import math
import re
import sys
from collections.abc import Iterable, Iterator
from typing import Any, Final, TextIO

from yaml._yaml import CParser
from yaml.emitter import Emitter
from yaml.events import CollectionEndEvent, CollectionStartEvent
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from yaml.resolver import Resolver
from yaml.serializer import Serializer

from podtls.errors import InputError

# Aliases make a small text a huge tree ("billion laughs"). The largest real manifests have some 100,000 values.
_VALUES_LIMIT: Final = 1_000_000
_DEPTH_LIMIT: Final = 200

_TAG: Final = "tag:yaml.org,2002:"
# Ends of lines to YAML 1.1, and letters to YAML 1.2. Between double quotes they are written as escapes.
_BREAKS: Final = re.compile("[\x85\u2028\u2029]")
MERGE: Final = f"{_TAG}merge"


class _Dialects(Resolver):
    """YAML 1.1 as PyYAML reads it, and what only YAML 1.2 or kubectl's Go parser take for something else than text."""


_Dialects.add_implicit_resolver(f"{_TAG}bool", re.compile(r"[yYnN]$"), list("yYnN"))
_Dialects.add_implicit_resolver(f"{_TAG}int", re.compile(r"[-+]?0[oO][0-7_]+$"), list("-+0"))
_Dialects.add_implicit_resolver(
    f"{_TAG}float", re.compile(r"[-+]?(?:[0-9][0-9_]*\.?[0-9_]*|\.[0-9_]+)[eE][-+]?[0-9]+$"), list("-+.0123456789")
)


class _Reader(CParser, _Dialects):
    def __init__(self, text: str) -> None:
        CParser.__init__(self, text)
        _Dialects.__init__(self)


class _Writer(Emitter, Serializer, _Dialects):
    # Not libyaml's emitter, which writes every emoji as an escape.
    def __init__(self, stream: TextIO, *, explicit_start: bool) -> None:
        Emitter.__init__(self, stream, allow_unicode=True, width=sys.maxsize)
        Serializer.__init__(self, explicit_start=explicit_start)
        _Dialects.__init__(self)


def compose(text: str, source: str) -> Iterator[Node]:
    """The root node of each document. Raises yaml.YAMLError, and InputError for a text that is nested too deeply."""
    _check_depth(text, source)
    reader = _Reader(text)
    try:
        while reader.check_node():
            node = reader.get_node()
            assert node is not None
            yield node
    finally:
        reader.dispose()


def _check_depth(text: str, source: str) -> None:
    # libyaml composes recursively in C: 100,000 brackets would end in a segmentation fault.
    reader, depth = _Reader(text), 0
    try:
        while reader.check_event():
            event = reader.get_event()
            depth += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)
            if depth > _DEPTH_LIMIT:
                raise InputError(f"{source}: more than {_DEPTH_LIMIT} levels of nesting")
    finally:
        reader.dispose()


def write(nodes: Iterable[Node], *, explicit_start: bool) -> str:
    """The nodes as a stream of documents; long lines stay one line, non-ASCII stays readable."""
    stream = io.StringIO()
    writer = _Writer(stream, explicit_start=explicit_start)
    writer.open()
    for node in nodes:
        writer.serialize(_settle(node, in_flow=False))
    writer.close()
    return stream.getvalue()


def _settle(node: Node, *, in_flow: bool) -> Node:
    """Rewrites, in place, what the emitter would not write as it came."""
    if isinstance(node, MappingNode):
        for pair in node.value:
            for part in pair:
                _settle(part, in_flow=in_flow or bool(node.flow_style))
    elif isinstance(node, SequenceNode):
        for item in node.value:
            _settle(item, in_flow=in_flow or bool(node.flow_style))
    elif isinstance(node, ScalarNode):
        _settle_scalar(node, in_flow=in_flow)
    return node


def _settle_scalar(node: ScalarNode, *, in_flow: bool) -> None:
    # Inside {} and [] the emitter quotes what is empty or has a colon, and adds a tag (`!!int '12:30'`) that Go
    # refuses. To kubectl these are null and text, so they are written as null and text.
    if in_flow and not node.style and node.tag == f"{_TAG}null":
        node.value = node.value or "null"
    elif in_flow and not node.style and ":" in node.value:
        node.tag, node.style = f"{_TAG}str", "'"
    elif _BREAKS.search(node.value):
        node.style = '"'
    # Between double quotes it escapes all beyond the basic plane.
    elif node.style == '"' and any(character > "\uffff" for character in node.value):
        node.style = "'"


def represent(value: Any) -> Node:
    """Nodes of a JSON value."""
    if isinstance(value, dict):
        items = [(represent(str(key)), represent(item)) for key, item in value.items()]
        return MappingNode(f"{_TAG}map", items, flow_style=False)
    if isinstance(value, list):
        return SequenceNode(f"{_TAG}seq", [represent(item) for item in value], flow_style=False)
    if isinstance(value, str):
        style = "|" if "\n" in value else None
        return ScalarNode(f"{_TAG}str", value, style='"' if _BREAKS.search(value) else style)
    tag = {type(None): "null", bool: "bool", int: "int", float: "float"}[type(value)]
    return ScalarNode(_TAG + tag, json.dumps(value))


def pairs_of(node: MappingNode) -> dict[str, tuple[Node, Node]]:
    """Key and value nodes of a mapping by key text; what `<<` merges in comes first and yields to the mapping's own."""
    pairs: dict[str, tuple[Node, Node]] = {}
    for key, value in node.value:
        if key.tag == MERGE:
            sources = value.value if isinstance(value, SequenceNode) else [value]
            for source in reversed(sources):
                if isinstance(source, MappingNode):
                    pairs |= pairs_of(source)
    pairs |= {key.value: (key, value) for key, value in node.value if key.tag != MERGE}
    return pairs


class Values:
    """Turns nodes into JSON values. Keys become text, as in Kubernetes' own conversion from YAML to JSON."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._count = 0

    def of(self, node: Node, depth: int = 0) -> Any:
        """The value of a node. Raises InputError naming source and line for what Kubernetes would not take either."""
        self._count += 1
        if self._count > _VALUES_LIMIT or depth > _DEPTH_LIMIT:
            limits = f"allowed are {_VALUES_LIMIT} values and {_DEPTH_LIMIT} levels, aliases counted"
            raise InputError(f"{self._place(node)} too large or too deep, {limits}")
        if isinstance(node, MappingNode):
            self._check_keys(node)
            return {key: self.of(value, depth + 1) for key, (_, value) in pairs_of(node).items()}
        if isinstance(node, SequenceNode):
            return [self.of(item, depth + 1) for item in node.value]
        try:
            return _scalar(node)
        except ValueError as error:
            raise InputError(f"{self._place(node)} {node.value!r} is no {node.tag.removeprefix(_TAG)}") from error

    def _check_keys(self, node: MappingNode) -> None:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, ScalarNode):
                raise InputError(f"{self._place(key)} a key that is no text")
            if key.value in seen:
                raise InputError(f"{self._place(key)} key {key.value!r} stands twice in one mapping")
            seen.add(key.value)

    def _place(self, node: Node) -> str:
        return f"{self._source}: line {node.start_mark.line + 1}:"


def _scalar(node: Node) -> Any:
    text = str(node.value)
    plain = text.replace("_", "").lower()
    if node.tag == f"{_TAG}null":
        return None
    if node.tag == f"{_TAG}bool":
        return plain in {"y", "yes", "true", "on"}
    if node.tag == f"{_TAG}int" and ":" not in plain:
        # A leading 0 is octal in YAML 1.1 and in Go.
        octal = re.fullmatch(r"([-+]?)0o?([0-7]+)", plain)
        return int(f"{octal[1]}{octal[2]}", 8) if octal else int(plain, 0)
    if node.tag == f"{_TAG}float" and ":" not in plain:
        number = float(plain.replace(".inf", "inf").replace(".nan", "nan"))
        return number if math.isfinite(number) else text
    # Dates, times and base 60 are text for Kubernetes.
    return text
