"""Where the parts of a document begin and end in its text. ruamel.yaml's own ends take in blank lines and comments."""

import re
from dataclasses import dataclass
from typing import Final

from ruamel.yaml.nodes import MappingNode, Node

from documents.nodes import indentation, is_block, is_block_text, is_flow, last_leaf

_COMMENT: Final = re.compile(r"[ \t]*(?:#[^\r\n]*)?")
_BEFORE_CONTENT: Final = re.compile(r"(?:\s|#.*|[&!]\S*)*")
_LINE_BREAK: Final = re.compile(r"[ \t]*\r?\n")
_COLON: Final = re.compile(r"[ \t]*:")


@dataclass(frozen=True, slots=True)
class Child:
    """A pair of a mapping or an item of a list: from its key, dash or first character to its last one."""

    start: int
    end: int
    node: Node
    key: Node | None = None


class Layout:
    """The text of a document, asked with its nodes."""

    def __init__(self, text: str, root: Node) -> None:
        self.text = text
        self.newline = "\r\n" if "\r\n" in text else "\n"
        self.indentation = indentation(root)
        self.root = Child(root.start_mark.index, self._end(root), root)

    def children(self, node: Node) -> list[Child]:
        """Return the pairs of a mapping or the items of a list."""
        if isinstance(node, MappingNode):
            return [Child(key.start_mark.index, self._pair_end(key, value), value, key) for key, value in node.value]
        children: list[Child] = []
        at = node.start_mark.index
        for item in node.value:
            start = item.start_mark.index if is_flow(node) else self._match(_BEFORE_CONTENT, at)
            at = self._end(item)
            children.append(Child(start, at, item))
        return children

    def _end(self, node: Node) -> int:
        start, end = int(node.start_mark.index), int(node.end_mark.index)
        if is_block(node):
            last = node.value[-1]
            return self._pair_end(*last) if isinstance(last, tuple) else self._end(last)
        if not is_block_text(node):
            return end
        # With `|+` the blank lines are part of the text.
        written = self.text[start:end]
        is_kept = node.value.endswith("\n\n") or not node.value.strip("\n")
        return start + len(re.sub(r"\r?\n\Z", "", written) if is_kept else written.rstrip())

    def _pair_end(self, key: Node, value: Node) -> int:
        is_empty = value.start_mark.index == value.end_mark.index
        return self._match(_COLON, key.end_mark.index) if is_empty else self._end(value)

    def is_regular(self, node: Node) -> bool:
        """Whether a mapping is neither `[key: value]`, which has no braces, nor has a key of the form `? key`."""
        if is_flow(node) and self.text[self._match(_BEFORE_CONTENT, node.start_mark.index)] != "{":
            return False
        return all(_COLON.match(self.text, key.end_mark.index) for key, _ in node.value)

    def ends_open(self, node: Node) -> bool:
        """Whether the text ends with a block of lines in `node` that lacks its last end of line: it must stay last."""
        leaf = last_leaf(node)
        return leaf.end_mark.index == len(self.text) and not self.text.endswith("\n") and is_block_text(leaf)

    def column(self, at: int) -> int:
        """Return how many characters are before a place in its line."""
        return at - self.text.rfind("\n", 0, at) - 1

    def starts_line(self, child: Child) -> bool:
        """Whether nothing but blanks is before a child: no dash of a list that it is in."""
        return not self.text[child.start - self.column(child.start) : child.start].strip()

    def behind_comment(self, at: int) -> int:
        """Return the end of a line whose content ends at `at`."""
        return self._match(_COMMENT, at)

    def behind_comments(self, at: int, column: int) -> int:
        """Return the end of that line and of the comments below that are indented as far as `column`."""
        return self._match(re.compile(rf"(?:\r?\n {{{column},}}#[^\r\n]*)*"), self.behind_comment(at))

    def above_comments(self, child: Child) -> int:
        """Return the start of the line of a child, or of the comments above it, which belong to it."""
        line = child.start - self.column(child.start)
        while line:
            above = self.text.rfind("\n", 0, line - 1) + 1
            if not self.text[above:line].lstrip().startswith("#"):
                break
            line = above
        return line

    def end_before(self, line: int) -> int:
        """Return the end of the line before the one that starts at `line`."""
        return line - (2 if self.text.endswith("\r\n", 0, line) else 1) if line else 0

    def next_line(self, at: int) -> int:
        """Return the start of the line behind the end of one."""
        return self._match(_LINE_BREAK, at)

    def _match(self, pattern: re.Pattern[str], at: int) -> int:
        found = pattern.match(self.text, at)
        return found.end() if found else at
