"""Documents that are changed in a few places and otherwise stay as somebody wrote them. Knows nothing of pods.

A document keeps its node tree; a change grafts new nodes into it. Comments are lost.
"""

import copy
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from podtls.errors import InputError
from podtls.inject.yaml_nodes import MERGE, Values, compose, represent, write


@dataclass(frozen=True, slots=True)
class Document:
    """One document: `value` as JSON has it (what kubectl would send), and the nodes it was written with."""

    value: Any
    node: Node


def parse(text: str, source: str) -> list[Document]:
    """Every document of a YAML stream, or one of JSON. Raises InputError naming source, line and problem."""
    try:
        return _parse(text, source)
    except yaml.MarkedYAMLError as error:
        where = f" line {error.problem_mark.line + 1}:" if error.problem_mark else ""
        raise InputError(f"{source}:{where} not YAML: {error.problem or error.context}") from error
    except yaml.YAMLError as error:
        raise InputError(f"{source}: not YAML: {str(error).splitlines()[0]}") from error
    except RecursionError as error:
        raise InputError(f"{source}: nested too deeply") from error


def _parse(text: str, source: str) -> list[Document]:
    if text.lstrip().startswith("{"):
        # As JSON it may have tabs and surrogate pairs, which YAML reads differently. If it is none, it is flow YAML.
        try:
            value = json.loads(text, object_pairs_hook=lambda pairs: _unique(pairs, source))
        except json.JSONDecodeError:
            pass
        else:
            return [Document(value, represent(value))]
    values = Values(source)
    return [Document(values.of(node), node) for node in compose(text, source)]


def _unique(pairs: list[tuple[str, Any]], source: str) -> dict[str, Any]:
    keys: set[str] = set()
    for key, _ in pairs:
        if key in keys:
            raise InputError(f"{source}: key {key!r} stands twice in one object")
        keys.add(key)
    return dict(pairs)


def graft(document: Document, value: Any) -> Document:
    """The document with another value: what did not change keeps its nodes, with quotes, styles and anchors."""
    return Document(value, _graft(document.node, document.value, value))


def dump(documents: Iterable[Document]) -> str:
    """The documents as a YAML stream, each opened by `---` if there are several."""
    nodes = [document.node for document in documents]
    return write(nodes, explicit_start=len(nodes) > 1)


def to_yaml(value: Any) -> str:
    """A JSON value as one YAML document."""
    return write([represent(value)], explicit_start=False)


def _graft(node: Node, old: Any, new: Any) -> Node:
    if _is_same(old, new):
        # A node that stands twice becomes an anchor and an alias: right for what was one, noise for single words.
        return copy.copy(node) if isinstance(node, ScalarNode) else node
    if isinstance(node, MappingNode) and isinstance(new, dict):
        # What `<<` merged in is written out: it may have changed.
        own = {key.value: (key, value) for key, value in node.value if key.tag != MERGE}
        pairs = [
            (copy.copy(own[key][0]), _graft(own[key][1], old[key], item))
            if key in own
            else (represent(key), represent(item))
            for key, item in new.items()
        ]
        return MappingNode(node.tag, pairs, flow_style=False)
    if isinstance(node, SequenceNode) and isinstance(new, list):
        return SequenceNode(node.tag, list(_graft_items(node, old, new)), flow_style=False)
    return represent(new)


def _graft_items(node: SequenceNode, old: list[Any], new: list[Any]) -> Iterator[Node]:
    """Pairs each new item with the next old one that equals it or, failing that, has its name: we add, never sort."""
    at = 0
    for item in new:
        rest = range(at, len(old))
        match = next((index for index in rest if _is_same(old[index], item)), None)
        if match is None and _name(item) is not None:
            match = next((index for index in rest if _name(old[index]) == _name(item)), None)
        if match is None:
            yield represent(item)
        else:
            yield _graft(node.value[match], old[match], item)
            at = match + 1


def _name(item: Any) -> Any:
    return item.get("name") if isinstance(item, dict) else None


def _is_same(one: Any, other: Any) -> bool:
    # Python calls True, 1 and 1.0 equal; YAML does not.
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_is_same(item, other[key]) for key, item in one.items())
    if isinstance(one, list):
        return len(one) == len(other) and all(map(_is_same, one, other))
    return bool(one == other)
