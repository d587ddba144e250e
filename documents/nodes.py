"""The node tree of one YAML document, as ruamel.yaml composes it: where each part is in the text."""

import copy
import re
from collections.abc import Iterator
from typing import Any, Final

from ruamel.yaml import YAML
from ruamel.yaml.composer import Composer
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.events import AliasEvent, ScalarEvent
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

# The tag of a word without quotes and tag: what it means is not said here.
UNTAGGED: Final = "untagged"
_INNER_BLANKS: Final = re.compile(r"(?<=\S)[ \t]+")


class _Composer(Composer):
    """Keeps what ruamel.yaml forgets: where an alias is (its anchor begins with `*`), and which words are plain."""

    warn_double_anchors = False

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.parser.peek_event()
        node = super().compose_node(parent, index)
        if isinstance(event, AliasEvent):
            node = copy.copy(node)
            node.anchor, node.start_mark, node.end_mark = f"*{event.anchor}", event.start_mark, event.end_mark
        elif isinstance(event, ScalarEvent) and event.implicit[0]:
            node.tag = UNTAGGED
        return node


def compose(text: str, depth_limit: int) -> Node | None:
    """Return the root node of one document, None for an empty one. Raises ruamel.yaml's YAMLError."""
    try:
        return _compose(text, depth_limit)
    except MarkedYAMLError:
        if "\t" not in text:
            raise
        # kubectl takes tabs between words and at the end of a line, ruamel.yaml does not.
        return _compose(_INNER_BLANKS.sub(lambda blanks: " " * len(blanks[0]), text), depth_limit)


def _compose(text: str, depth_limit: int) -> Node | None:
    reader = YAML(typ="safe", pure=True)
    reader.Composer, reader.version, reader.max_depth = _Composer, (1, 1), depth_limit
    root: Node | None = reader.compose(text)
    return root


def is_merge(key: Node) -> bool:
    """Whether a key is the `<<` that merges other mappings in."""
    return bool(key.value == "<<" and key.tag == UNTAGGED)


def is_alias(node: Node) -> bool:
    """Whether a node is written as an alias (`*name`)."""
    return str(node.anchor or "").startswith("*")


def is_flow(node: Node) -> bool:
    """Whether a node is a mapping or list between braces."""
    return isinstance(node, MappingNode | SequenceNode) and bool(node.flow_style)


def is_block(node: Node) -> bool:
    """Whether a node is a mapping or list with a line for each member, written here."""
    return isinstance(node, MappingNode | SequenceNode) and not node.flow_style and not is_alias(node)


def is_block_text(node: Node) -> bool:
    """Whether a node is text behind `|` or `>`."""
    return isinstance(node, ScalarNode) and node.style in ("|", ">") and not is_alias(node)


def last_leaf(node: Node) -> Node:
    """Return the node whose characters are the last ones of a node."""
    while is_block(node):
        last = node.value[-1]
        node = last[1] if isinstance(last, tuple) else last
    return node


def walk(node: Node) -> Iterator[Node]:
    """A node and all below it that are written there, not those that an alias names."""
    yield node
    if not is_alias(node) and isinstance(node, MappingNode | SequenceNode):
        for member in node.value:
            for each in member if isinstance(member, tuple) else (member,):
                yield from walk(each)


def anchors(node: Node) -> set[str]:
    """The names of the anchors that are written in a node."""
    return {str(each.anchor) for each in walk(node) if each.anchor and not is_alias(each)}


def aliases(node: Node) -> set[str]:
    """The names of the aliases that are written in a node."""
    return {str(each.anchor).removeprefix("*") for each in walk(node) if is_alias(each)}


def indentation(root: Node) -> dict[str, int]:
    """How far mappings (`step`) and lists (`offset`) are indented below their keys, where the first ones are."""
    style: dict[str, int] = {}
    for node in walk(root):
        if isinstance(node, MappingNode) and is_block(node):
            for key, value in node.value:
                if is_block(value) and not value.anchor:
                    name = "step" if isinstance(value, MappingNode) else "offset"
                    style.setdefault(name, value.start_mark.column - key.start_mark.column)
    return style
