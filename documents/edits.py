"""A document with another value, in which every character that need not change stays. Knows nothing of pods.

ruamel.yaml's own round trip writes a whole document anew: of the pods in public repositories nearly half would lose an
aligned value, `{ a: b }`, a folded line or mixed indentation. Here the difference between two values becomes edits of
the text, at the places that ruamel.yaml names.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ruamel.yaml.nodes import MappingNode, Node, SequenceNode

from documents.comparison import is_same, pair_items
from documents.layout import Child, Layout
from documents.nodes import aliases, anchors, is_alias, is_flow, is_merge
from documents.stream import Document
from documents.writer import to_flow, to_yaml


@dataclass(frozen=True, slots=True)
class _Edit:
    start: int
    end: int
    text: str


def edit_document(document: Document, value: Any) -> str:
    """Return the document's text with another value. Comments inside an alias or `<<` that changes are lost."""
    if is_same(document.value, value):
        return document.text
    if document.root is None:
        return _edit_json(document.text, value)
    # What changes at an anchor must not change at its aliases: those are written out, which may change more anchors.
    layout = Layout(document.text, document.root)
    written_out: frozenset[str] = frozenset()
    while True:
        editor = _Editor(layout, written_out)
        edits = list(editor.edit_child(layout.root, document.value, value, in_flow=False))
        if editor.changed_anchors <= written_out:
            return _apply(document.text, edits)
        written_out |= editor.changed_anchors


def _apply(text: str, edits: Sequence[_Edit]) -> str:
    parts, at = [], 0
    for change in sorted(edits, key=lambda change: (change.start, change.end)):
        parts += [text[at : change.start], change.text]
        at = change.end
    edited = "".join([*parts, text[at:]])
    # A last line that was not one before may end a block of text, which needs its end of line.
    return f"{edited}\n" if at == len(text) and not text.endswith("\n") else edited


def _edit_json(text: str, value: Any) -> str:
    """JSON has no comments; it is written anew, with the indentation that it had."""
    start, end = text.index("{"), text.rindex("}") + 1
    indented = re.match(r"\{\s*\n([ \t]+)", text[start:])
    indent = indented[1] if indented else None
    separators = (",", ": ") if indent else (", ", ": ") if '": ' in text else (",", ":")
    written = json.dumps(value, indent=indent, separators=separators, ensure_ascii=text.isascii())
    return text[:start] + written + text[end:]


class _Editor:
    """Walks nodes and two values; collects the anchors whose nodes change."""

    def __init__(self, layout: Layout, written_out: frozenset[str]) -> None:
        self.changed_anchors: set[str] = set()
        self._layout = layout
        self._text = layout.text
        self._written_out = written_out

    def edit_child(self, child: Child, old: Any, new: Any, *, in_flow: bool) -> Iterator[_Edit]:
        """What makes the old value of a child the new one."""
        node, same = child.node, is_same(old, new)
        if same and (not self._written_out or self._written_out.isdisjoint(aliases(node))):
            return
        if not same and node.anchor and not is_alias(node):
            self.changed_anchors.add(node.anchor)
        if self._can_edit_mapping(node, old, new):
            yield from self._edit_mapping(node, old, new)
        elif self._can_edit_list(node, old, new):
            yield from self._edit_list(node, old, new)
        else:
            self.changed_anchors |= anchors(node)
            yield self._replacement(child, new, in_flow=in_flow)

    def _can_edit_mapping(self, node: Node, old: Any, new: Any) -> bool:
        if not isinstance(node, MappingNode) or not isinstance(new, dict) or is_alias(node):
            return False
        merged = [value for key, value in node.value if is_merge(key)]
        merged_aliases = set[str]().union(*map(aliases, merged))
        if merged and (old.keys() - new.keys() or not self._written_out.isdisjoint(merged_aliases)):
            return False
        return self._layout.is_regular(node) and any(is_merge(key) or key.value in new for key, _ in node.value)

    def _can_edit_list(self, node: Node, old: Any, new: Any) -> bool:
        if not isinstance(node, SequenceNode) or not isinstance(new, list) or is_alias(node):
            return False
        return not self._layout.ends_open(node) and any(index is not None for index, _ in pair_items(old, new))

    def _edit_mapping(self, node: Node, old: dict[str, Any], new: dict[str, Any]) -> Iterator[_Edit]:
        children = self._layout.children(node)
        # Of a key that is there twice the last one counts.
        own = {key.value: child for (key, _), child in zip(node.value, children, strict=True) if not is_merge(key)}
        for key, child in own.items():
            if key in new:
                yield from self.edit_child(child, old[key], new[key], in_flow=is_flow(node))
        kept = [index for index, (key, _) in enumerate(node.value) if is_merge(key) or key.value in new]
        for key, value in new.items():
            # What `<<` merged in is written out where it changed.
            if key not in own and not (key in old and is_same(old[key], value)):
                yield self._insertion(node, children, kept[-1], {key: value})
        yield from self._removals(node, children, kept)

    def _edit_list(self, node: Node, old: list[Any], new: list[Any]) -> Iterator[_Edit]:
        children = self._layout.children(node)
        kept: list[int] = []
        for index, item in pair_items(old, new):
            if index is None:
                yield self._insertion(node, children, kept[-1] if kept else None, [item])
            else:
                kept.append(index)
                yield from self.edit_child(children[index], old[index], item, in_flow=is_flow(node))
        yield from self._removals(node, children, kept)

    def _insertion(self, node: Node, children: Sequence[Child], after: int | None, new: Any) -> _Edit:
        """One pair or item behind the child of that index, or before all."""
        first, layout = children[0], self._layout
        if is_flow(node):
            written = to_flow(new)[1:-1]
            if after is None:
                return _Edit(first.start, first.start, f"{written}, ")
            end = children[after].end
            # Behind an empty value a comma would become part of the key.
            return _Edit(end, end, f"{' ' if self._text[end - 1] == ':' else ''}, {written}")
        column = layout.column(first.start)
        lines = self._block(new, column)
        is_mapping = isinstance(node, MappingNode)
        if after is not None and not (is_mapping and layout.ends_open(children[after].node)):
            # A comment at the column of a list's dashes belongs to the next item.
            at = layout.behind_comments(children[after].end, column if is_mapping else column + 1)
            return _Edit(at, at, layout.newline + lines)
        line = layout.above_comments(first)
        at = layout.end_before(line)
        return _Edit(at, at, layout.newline + lines if line else lines + layout.newline)

    def _replacement(self, child: Child, new: Any, *, in_flow: bool) -> _Edit:
        head = self._text[child.key.start_mark.index : child.key.end_mark.index] if child.key else ""
        if in_flow:
            return _Edit(child.start, child.end, f"{head}: {to_flow(new)}" if head else to_flow(new))
        if child is self._layout.root:
            return _Edit(child.start, child.end, self._block(new, 0))
        lines = self._block({"k": new} if head else [new], self._layout.column(child.start))
        first, *more = lines.lstrip().removeprefix("k" if head else "").split(self._layout.newline)
        # A comment stays behind the first line.
        end = self._layout.behind_comment(child.end) if more else child.end
        return _Edit(child.start, end, self._layout.newline.join([head + first + self._text[child.end : end], *more]))

    def _removals(self, node: Node, children: Sequence[Child], kept: Sequence[int]) -> Iterator[_Edit]:
        layout = self._layout
        for index, child in enumerate(children):
            if index in kept:
                continue
            self.changed_anchors |= anchors(child.node)
            if is_flow(node) and index > kept[0]:
                yield _Edit(children[index - 1].end, child.end, "")
            elif index < kept[0] and (is_flow(node) or not layout.starts_line(children[0])):
                yield _Edit(child.start, children[index + 1].start, "")
            else:
                line, end = child.start - layout.column(child.start), layout.behind_comment(child.end)
                # With the end of the line before, so that what comes behind the child can still be added there.
                yield _Edit(layout.end_before(line), end, "") if line else _Edit(0, layout.next_line(end), "")

    def _block(self, new: Any, column: int) -> str:
        """The lines of a value at a column, without the last end of line."""
        lines = to_yaml(new, **self._layout.indentation).removesuffix("\n").split("\n")
        return self._layout.newline.join(" " * column + line if line else "" for line in lines)
