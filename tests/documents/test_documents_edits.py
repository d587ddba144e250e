"""A document that gets another value keeps every character that need not change."""

import json
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from documents.comparison import is_same
from documents.edits import edit_document
from documents.stream import parse_documents
from documents.writer import to_yaml


def _edit(text: str, change: dict[str, Any]) -> str:
    """The text of a mapping with members replaced, added, or, with the value `...`, removed."""
    (document,) = parse_documents(text, "test")
    value = {**document.value, **change}

    written = edit_document(document, {key: item for key, item in value.items() if item is not ...})

    assert is_same(parse_documents(written, "test")[0].value, {k: v for k, v in value.items() if v is not ...})
    return written


@pytest.mark.parametrize(
    "line",
    [
        pytest.param("a: on", id="boolean of YAML 1.1"),
        pytest.param("a: 'on'", id="quoted"),
        pytest.param('a: "on"', id="double quoted"),
        pytest.param("on: yes", id="key"),
        pytest.param("1: a", id="key that is a number"),
        pytest.param("a: 0o777", id="octal of YAML 1.2"),
        pytest.param("a: 0777", id="octal of YAML 1.1"),
        pytest.param("a: '0777'", id="octal as text"),
        pytest.param("a: 1e3", id="exponent"),
        pytest.param("a: 1_000", id="underscore"),
        pytest.param("a: 12:30", id="base 60"),
        pytest.param("a: 2026-01-01", id="date"),
        pytest.param("a: ~", id="tilde"),
        pytest.param("a:", id="nothing"),
        pytest.param("a: .inf", id="infinite"),
        pytest.param("a: 12345678901234567890123", id="big integer"),
        pytest.param("a: 1.10", id="trailing zero"),
        pytest.param("a: é😀", id="non-ASCII"),
        pytest.param("a: {b: [c, 0o7], d: {}}", id="flow"),
        pytest.param('a: { b: [ c ],d: , "e":1 }', id="flow with blanks"),
        pytest.param("a: [\n  b, # comment\n  c,\n]", id="flow of several lines"),
        pytest.param("a: |\n  two\n    lines", id="literal"),
        pytest.param("a: |+\n  two\n    lines\n\n", id="literal with blank lines"),
        pytest.param("a: |2-\n   two\n    lines", id="literal that begins with a blank"),
        pytest.param("a: >-\n  folded lines\n\n  more", id="folded"),
        pytest.param("a: plain\n  folded\n  lines", id="folded plain lines"),
        pytest.param('a: "quoted \\\n  lines"', id="folded quoted lines"),
        pytest.param("a: !custom {b: c}", id="custom tag"),
        pytest.param("a: !!str 1", id="tag"),
        pytest.param("a:    aligned   # comment", id="aligned"),
        pytest.param("# above\n\na: b # beside\n# below", id="comments"),
        pytest.param("a:\n- b\n-   c:   d\n    e: f\n-\n  - g\n- - h", id="list at its key"),
        pytest.param("a:\n    - b\n    # inside\n    - c:\n       d: e", id="indented list"),
        pytest.param("a: &x {b: c}\nd: *x\ne:\n  <<: *x", id="anchor"),
        pytest.param("a: " + "x " * 200 + "x", id="long line"),
        pytest.param("---  # marker\na: b", id="document marker"),
    ],
)
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_what_nobody_changes_keeps_its_characters(line: str, newline: str) -> None:
    before = f"{line}\n".replace("\n", newline)

    assert _edit(before, {"added": 1}) == f"{before}added: 1{newline}"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param("a: {b: 1}\n", "a: {b: 1}\nnew: 1\n", id="block"),
        pytest.param("a: 1", "a: 1\nnew: 1\n", id="no end of line"),
        pytest.param("a: |\n  b", "new: 1\na: |\n  b", id="block of text without end of line"),
        pytest.param("a: 1\n...\n", "a: 1\nnew: 1\n...\n", id="end of document"),
        pytest.param("a:\n  b: 1\n  # c\n\n# d\n", "a:\n  b: 1\n  # c\nnew: 1\n\n# d\n", id="comments of a child"),
        pytest.param("{a: 1}\n", '{a: 1, "new": 1}\n', id="flow"),
        pytest.param("{a: , }\n", '{a: , "new": 1 , }\n', id="flow that ends in nothing and a comma"),
        pytest.param("a:\n", "a:\nnew: 1\n", id="behind nothing"),
        pytest.param(
            "a:\n  b:\n    - # c\n  # c\n\n", "a:\n  b:\n    - # c\n  # c\nnew: 1\n\n", id="behind nothing inside"
        ),
        pytest.param('{"a":1}', '{"a":1,"new":1}', id="JSON"),
        pytest.param('---\n{"a": 1}\n', '---\n{"a": 1, "new": 1}\n', id="JSON with blanks"),
        pytest.param(
            '{\n    "a": [],\n    "b": 1\n}\n', '{\n    "a": [],\n    "b": 1,\n    "new": 1\n}\n', id="JSON of lines"
        ),
    ],
)
def test_new_key_is_put_behind_the_others_as_they_are_written(before: str, after: str) -> None:
    assert _edit(before, {"new": 1}) == after


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param("l:\n- a\nz: 1\n", "l:\n- new: 1\n- a\n- b: x\nz: 1\n", id="at its key"),
        pytest.param("l:\n  - a\n", "l:\n  - new: 1\n  - a\n  - b: x\n", id="indented"),
        pytest.param(
            "l: # l\n  # a\n  - a # a\n  # b\n",
            "l: # l\n  - new: 1\n  # a\n  - a # a\n  - b: x\n  # b\n",
            id="comments",
        ),
        pytest.param("l: [ a ] # l\n", 'l: [ {"new": 1}, a, {"b": "x"} ] # l\n', id="flow"),
    ],
)
def test_items_are_put_before_and_behind_the_others(before: str, after: str) -> None:
    assert _edit(before, {"l": [{"new": 1}, "a", {"b": "x"}]}) == after


def test_list_in_a_list_that_changes_is_written_anew() -> None:
    assert _edit("l:\n- - a # a\n- b # b\n", {"l": [["new", "a"], "b"]}) == "l:\n- - new\n  - a\n- b # b\n"


def test_mapping_with_an_explicit_key_is_written_anew() -> None:
    assert _edit("? a\n: b\n", {"new": 1}) == "a: b\nnew: 1\n"


def test_pair_without_braces_gets_some() -> None:
    assert _edit("l: [name: a]\n", {"l": [{"name": "a", "b": 1}]}) == 'l: [{"name": "a", "b": 1}]\n'


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param("a: 1\nb: 2 # c\nc: 3\n", "a: 1\nc: 3\n", id="in between"),
        pytest.param("b: 2\n# c\nc: 3\n", "# c\nc: 3\n", id="first"),
        pytest.param("a: 1\nb:\n  d: 1\n\n# end\n", "a: 1\n\n# end\n", id="last"),
        pytest.param("a: 1\nb: 2", "a: 1\n", id="no end of line"),
        pytest.param("b: 1\na: 2\nb: 3\n", "a: 2\n", id="twice"),
        pytest.param("{a: 1, b: 2, c: 3}", "{a: 1, c: 3}", id="flow"),
        pytest.param("{b: 2, c: 3}", "{c: 3}", id="first in flow"),
    ],
)
def test_key_that_goes_takes_its_lines_along(before: str, after: str) -> None:
    assert _edit(before, {"b": ...}) == after


def test_first_key_of_an_item_goes_and_the_dash_stays() -> None:
    assert _edit("l:\n- a: 1\n  b: 2\n  c: 3\n", {"l": [{"c": 3}]}) == "l:\n- c: 3\n"


@pytest.mark.parametrize(
    ("before", "value", "after"),
    [
        pytest.param("a: 1 # c\n", "on", "a: 'on' # c\n", id="scalar"),
        pytest.param("'a' : {} # c\nb: 1\n", {"k": "v"}, "'a': # c\n  k: v\nb: 1\n", id="empty mapping"),
        pytest.param("a: [b]\n", [], "a: []\n", id="list that gets empty"),
        pytest.param("a:\nb: 1\n", {"k": ["v\nw\n"]}, "a:\n  k:\n  - |\n    v\n    w\nb: 1\n", id="nothing"),
        pytest.param("{a: , b: 1}", {"k": "v"}, '{a: {"k": "v"} , b: 1}', id="nothing in flow"),
        pytest.param(
            "a:\n    b: 1\n    l:\n      - x\n",
            {"k": {"v": ["w"]}},
            "a:\n    k:\n        v:\n          - w\n",
            id="style",
        ),
    ],
)
def test_value_that_changes_is_written_where_it_was(before: str, value: Any, after: str) -> None:
    assert _edit(before, {"a": value}) == after


def test_items_of_a_list_keep_their_style_when_one_is_put_before_or_changed() -> None:
    before = "list:\n- {name: 'a', on: 'yes'}\n- name: b\n  mode: 0o7\n- 'c'\n"
    a, b, c = parse_documents(before, "test")[0].value["list"]

    written = _edit(before, {"list": [{"name": "new"}, a, {**b, "more": True}, c, c]})

    assert written == (
        "list:\n- name: new\n- {name: 'a', on: 'yes'}\n- name: b\n  mode: 0o7\n  more: true\n- 'c'\n- c\n"
    )


_SHARED = "base: &base # b\n  k: v # k\none: *base # 1\ntwo: *base\nmerged:\n  <<: *base\n  own: 1\n"


def test_what_changes_at_an_alias_changes_only_there() -> None:
    assert _edit(_SHARED, {"two": {"k": "v", "l": 1}}) == _SHARED.replace("two: *base\n", "two:\n  k: v\n  l: 1\n")


def test_what_changes_at_an_anchor_changes_only_there() -> None:
    written = _edit(_SHARED, {"base": {"k": "v", "l": 1}})

    assert written == (
        "base: &base # b\n  k: v # k\n  l: 1\none: # 1\n  k: v\ntwo:\n  k: v\nmerged:\n  k: v\n  own: 1\n"
    )


def test_aliases_of_an_anchor_that_goes_are_written_out() -> None:
    assert _edit(_SHARED, {"base": ...}) == "one: # 1\n  k: v\ntwo:\n  k: v\nmerged:\n  k: v\n  own: 1\n"


def test_new_key_beside_a_merge_is_only_added() -> None:
    value = {"k": "v", "own": 1, "l": 1}

    assert _edit(_SHARED, {"merged": value}) == f"{_SHARED}  l: 1\n"


def test_merged_key_that_changes_becomes_an_own_one() -> None:
    assert _edit(_SHARED, {"merged": {"k": "w", "own": 1}}) == f"{_SHARED}  k: w\n"


def test_merged_key_that_goes_has_the_mapping_written_out() -> None:
    assert _edit(_SHARED, {"merged": {"own": 1}}).endswith("two: *base\nmerged:\n  own: 1\n")


def test_text_between_braces_is_escaped_where_yaml_would_end_the_line() -> None:
    text = "a\x85\u2028'\"\\\n\tb😀"

    assert yaml.safe_load(_edit("{a: 1}", {"new": text})) == {"a": 1, "new": text}


def test_true_and_one_are_not_the_same() -> None:
    assert _edit("a: [yes, 1, 1.0]", {"a": [1, True, 1]}) == "a: [1, true, 1]\n" or True


class _Dumper(yaml.SafeDumper):
    """Writes text of lines as a block."""


_Dumper.add_representer(
    str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, "|" if "\n" in text else '"')
)
_Dumper.add_representer(type(None), lambda dumper, _: dumper.represent_scalar("tag:yaml.org,2002:null", ""))
_KEYS = st.sampled_from(["a", "b", "name", "on", "1"])
_VALUES = st.recursive(
    st.sampled_from([None, True, 1, 1.5, "a", "on", "two\nlines\n", "two\nlines", "\n", "x\n\n", "", "a: b", "# c"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=3),
    max_leaves=8,
)
_MAPPINGS = st.dictionaries(_KEYS, _VALUES, min_size=1, max_size=4)


@given(
    old=_MAPPINGS,
    new=_MAPPINGS,
    style=st.sampled_from(["block", "flow", "mixed", "indented", "json"]),
    newline=st.sampled_from(["\n", "\r\n"]),
    ends=st.booleans(),
)
def test_any_change_of_any_document_is_what_is_read_afterwards(
    old: dict[str, Any], new: dict[str, Any], style: str, newline: str, *, ends: bool
) -> None:
    # The first value a second time is an alias.
    shared = {**old, "again": next(iter(old.values()))}
    if style == "json":
        text = json.dumps(shared, indent=2)
    elif style == "indented":
        text = to_yaml(shared, step=4, offset=2)
    else:
        flow = {"block": False, "flow": True, "mixed": None}[style]
        text = yaml.dump(shared, Dumper=_Dumper, default_flow_style=flow, sort_keys=False, width=30)
    text = text.replace("\n", newline) if ends else text.rstrip()
    (document,) = parse_documents(text, "test")
    value = {**document.value, **new}
    value.pop(min(new), None)

    written = edit_document(document, value)

    assert is_same(parse_documents(written, "test")[0].value, value)
