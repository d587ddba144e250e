"""What YAML means to kubectl: nodes to JSON values.

kubectl's parser is of neither YAML 1.1 nor 1.2: `on` and `y` are booleans, `0o7` and `017` numbers, `1e3` is one, and a
date is text.
"""

import re
from typing import Any, Final

from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from documents.errors import DocumentError
from documents.nodes import UNTAGGED, is_merge

# Aliases make a small text a huge tree ("billion laughs"). The largest real manifests have some 100,000 values.
_VALUES_LIMIT: Final = 1_000_000
DEPTH_LIMIT: Final = 100

WORDS: Final[dict[str, bool | None]] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"), True),
    **dict.fromkeys(("n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"), False),
}
_INTEGER: Final = re.compile(r"[-+]?(?:0[xX][0-9a-fA-F]+|0[bB][01]+|0|[1-9][0-9]*)")
_OCTAL: Final = re.compile(r"([-+]?)0[oO]?([0-7]+)")
_FLOAT: Final = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_TYPES: Final = {f"tag:yaml.org,2002:{name}": name for name in ("null", "bool", "int", "float")}


def plain_value(text: str) -> Any:
    """Return what a word without quotes means. Dates, times, base 60 and infinity are text."""
    if text in WORDS:
        return WORDS[text]
    plain = text.replace("_", "") if text[0] in "+-.0123456789" else ""
    if _INTEGER.fullmatch(plain):
        return int(plain, 0)
    if octal := _OCTAL.fullmatch(plain):
        return int("".join(octal.groups()), 8)
    return float(plain) if _FLOAT.fullmatch(plain) else text


def duplicate_key(key: str) -> str:
    """Return the warning of a key that is written twice."""
    return f"duplicate key {key!r}; the last one counts, as for kubectl"


class Values:
    """Turns nodes into JSON values, and counts them. Keys become text, as in Kubernetes' own conversion to JSON."""

    def __init__(self, source: str, line: int) -> None:
        self.warnings: list[str] = []
        self._source = source
        self._line = line
        self._count = 0

    def of(self, node: Node, depth: int = 0) -> Any:
        """Return the value of a node. Raises DocumentError naming source and line for what kubectl refuses too."""
        self._count += 1
        if self._count > _VALUES_LIMIT or depth > DEPTH_LIMIT:
            limits = f"allowed are {_VALUES_LIMIT} values and {DEPTH_LIMIT} levels, aliases counted"
            raise DocumentError(f"{self._place(node)} too large or too deep, {limits}")
        if isinstance(node, MappingNode):
            return self._mapping(node, depth)
        if isinstance(node, SequenceNode):
            return [self.of(item, depth + 1) for item in node.value]
        return self._scalar(node)

    def _mapping(self, node: Node, depth: int) -> dict[str, Any]:
        merged: dict[str, Any] = {}
        own: dict[str, Any] = {}
        for key, value in node.value:
            if is_merge(key):
                merged |= self._merged(value, depth + 1)
            elif not isinstance(key, ScalarNode):
                raise DocumentError(f"{self._place(key)} a key that is not text")
            else:
                if key.value in own:
                    self.warnings.append(f"{self._place(key)} {duplicate_key(key.value)}")
                own[key.value] = self.of(value, depth + 1)
        return merged | own

    def _merged(self, value: Node, depth: int) -> dict[str, Any]:
        merged: dict[str, Any] = {}
        # The first of several wins.
        for source in reversed(value.value) if isinstance(value, SequenceNode) else [value]:
            if not isinstance(source, MappingNode):
                raise DocumentError(f"{self._place(source)} << merges mappings only")
            merged |= self.of(source, depth)
        return merged

    def _scalar(self, node: Node) -> Any:
        text, tag = str(node.value), str(node.tag)
        if tag != UNTAGGED and tag not in _TYPES:
            return text
        value = plain_value(text)
        if tag != UNTAGGED and isinstance(value, str):
            raise DocumentError(f"{self._place(node)} {text!r} is not a value of the type {_TYPES[tag]}")
        return value

    def _place(self, node: Node) -> str:
        return f"{self._source}: line {self._line + node.start_mark.line + 1}:"
