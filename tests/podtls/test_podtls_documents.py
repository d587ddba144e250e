"""A document that goes through podtls means the same to every reader, and reads as it did."""

import itertools
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from podtls.errors import InputError
from podtls.inject.documents import dump, graft, parse, to_yaml

# What YAML 1.1, YAML 1.2 and kubectl's Go parser do not agree on.
_TRAPS = [
    *("on", "off", "yes", "no", "y", "n", "Y", "N", "true", "True", "TRUE", "null", "~", ""),
    *("0o777", "0777", "0x1F", "0b11", "1_000", "08", "1e3", "12e03", "1.5e-3", ".5", "1.", ".inf", "-.INF", ".nan"),
    *("12:30", "12:30:45", "1:2.5", "2026-01-01", "2026-01-01T10:00:00Z", "=", "<<", "-", "?", "1.2.3", "0.1.0"),
    *(
        "a: b",
        "# no comment",
        " padded ",
        "é",
        "😀",
        "tab\there",
        "two\nlines",
        "two\nlines\n",
        "\n",
        "@at",
        "%p",
        "*a",
        "&a",
    ),
    *("{}", "[]", "!tag", "'", '"', "|", ">", "\x85", "\u2028", "\x1b[31m", "9223372036854775808", "+1", "-0"),
]


@pytest.mark.parametrize("trap", _TRAPS)
def test_text_that_we_write_is_text_to_every_reader(trap: str) -> None:
    written = to_yaml({"text": trap, trap: "key", "list": [trap]})

    expected = {"text": trap, trap: "key", "list": [trap]}
    assert yaml.safe_load(written) == expected
    assert parse(written, "test")[0].value == expected


@pytest.mark.parametrize("trap", ["y", "n", "0o777", "1e3", "12e03", "-0O7", "1_0e5"])
def test_text_that_only_go_or_yaml_1_2_misread_is_quoted(trap: str) -> None:
    assert to_yaml([trap]) == f"- '{trap}'\n"


@pytest.mark.parametrize(
    "line",
    [
        pytest.param("a: on", id="boolean of YAML 1.1"),
        pytest.param("a: 'on'", id="quoted"),
        pytest.param('a: "on"', id="double quoted"),
        pytest.param("on: yes", id="key"),
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
        pytest.param("a: |\n  two\n    lines", id="literal"),
        pytest.param("a: >-\n  folded lines\n\n  more", id="folded"),
        pytest.param("a: !custom {b: c}", id="custom tag"),
        pytest.param("a: " + "x " * 200 + "x", id="long line"),
    ],
)
def test_what_nobody_changes_keeps_its_characters(line: str) -> None:
    (document,) = parse(f"{line}\n", "test")

    written = dump([graft(document, {**document.value, "added": 1})])

    assert written == f"{line}\nadded: 1\n"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        pytest.param("yes", True, id="yes"),
        pytest.param("Off", False, id="off"),
        pytest.param("0o17", 15, id="octal 1.2"),
        pytest.param("017", 15, id="octal 1.1"),
        pytest.param("-0x1F", -31, id="hexadecimal"),
        pytest.param("0b11", 3, id="binary"),
        pytest.param("1_000", 1000, id="underscore"),
        pytest.param("1e3", 1000.0, id="exponent"),
        pytest.param(".inf", ".inf", id="infinite is no JSON"),
        pytest.param("12:30", "12:30", id="base 60 is text to kubectl"),
        pytest.param("2026-01-01", "2026-01-01", id="date is text to kubectl"),
        pytest.param("'1'", "1", id="quoted"),
        pytest.param("!!str 1", "1", id="tagged"),
    ],
)
def test_plain_scalars_mean_what_they_mean_to_kubectl(text: str, value: Any) -> None:
    (document,) = parse(f"a: {text}", "test")

    assert document.value["a"] == value
    assert type(document.value["a"]) is type(value)


def test_plain_text_in_flow_that_yaml_1_1_takes_for_a_number_gets_quotes_and_no_tag() -> None:
    (document,) = parse('{time: 12:30, empty: , image: "a:1", emoji: "😀"}', "test")

    assert dump([document]) == "{time: '12:30', empty: null, image: \"a:1\", emoji: '😀'}\n"


def test_documents_are_counted_even_where_they_are_empty() -> None:
    text = "# head\n---\na: 1\n---\n---\n# only a comment\n---\nb: 2\n"
    documents = parse(text, "test")

    written = dump(documents)

    assert [document.value for document in documents] == [{"a": 1}, None, None, {"b": 2}]
    assert [document.value for document in parse(written, "test")] == [{"a": 1}, None, None, {"b": 2}]
    assert written.count("---") == 4


def test_anchors_stay_and_what_changes_at_an_alias_changes_only_there() -> None:
    (document,) = parse("base: &base {k: v}\none: *base\ntwo: *base\nmerged:\n  <<: *base\n  own: 1\n", "test")
    value = {**document.value, "two": {"k": "w"}}

    written = dump([graft(document, value)])

    assert parse(written, "test")[0].value == value
    assert "one: *id001" in written
    assert "two:\n  k: w\n" in written
    assert "<<: *id001" in written


def test_merged_mapping_that_changes_is_written_out() -> None:
    (document,) = parse("base: &b\n  k: v\nother: &c\n  k: x\n  l: z\nmerged:\n  <<: [*b, *c]\n  own: 'on'\n", "test")
    assert document.value["merged"] == {"k": "v", "l": "z", "own": "on"}

    written = dump([graft(document, {**document.value, "merged": {"k": "v", "l": "z", "own": "on", "new": 1}})])

    assert written.endswith("merged:\n  k: v\n  l: z\n  own: 'on'\n  new: 1\n")


def test_items_of_a_list_keep_their_style_when_one_is_put_before_or_changed() -> None:
    (document,) = parse("list:\n- {name: 'a', on: 'yes'}\n- name: b\n  mode: 0o7\n- 'c'\n", "test")
    a, b, c = document.value["list"]

    written = dump([graft(document, {"list": [{"name": "new"}, a, {**b, "more": True}, c, c]})])

    assert written == (
        "list:\n- name: new\n- {name: 'a', on: 'yes'}\n- name: b\n  mode: 0o7\n  more: true\n- 'c'\n- c\n"
    )


def test_true_and_one_are_not_the_same() -> None:
    (document,) = parse("a: [yes, 1, 1.0]", "test")

    written = dump([graft(document, {"a": [1, True, 1]})])

    assert parse(written, "test")[0].value == {"a": [1, True, 1]}
    assert [type(item) for item in parse(written, "test")[0].value["a"]] == [int, bool, int]


def test_json_with_tabs_and_surrogates_is_read_as_json_and_written_as_yaml() -> None:
    documents = parse('{\n\t"a": "\\ud83d\\ude00",\n\t"b": [true, 1.50, null, 12345678901234567890123]\n}', "test")

    assert dump(documents) == "a: 😀\nb:\n- true\n- 1.5\n- null\n- 12345678901234567890123\n"


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda c: st.lists(c) | st.dictionaries(st.text(), c),
        max_leaves=10,
    )
)
def test_any_json_value_survives(value: Any) -> None:
    written = to_yaml({"root": value})

    assert parse(written, "test")[0].value == {"root": value}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param("a: [", "f: line 2: not YAML: did not find expected node content", id="unclosed"),
        pytest.param("a:\n\t- b", "f: line 2: not YAML: found character that cannot start any token", id="tab"),
        pytest.param("a: \x00", "f: not YAML: unacceptable character", id="control character"),
        pytest.param("a: *b", "f: line 1: not YAML: found undefined alias", id="undefined alias"),
        pytest.param("b: 1\na: 1\na: 2", "f: line 3: key 'a' stands twice", id="twice"),
        pytest.param('{"a": 1, "a": 2}', "f: key 'a' stands twice in one object", id="twice in JSON"),
        pytest.param("? [a]\n: 1", "f: line 1: a key that is no text", id="key"),
        pytest.param("&a [*a]", "f: line 1: too large or too deep", id="alias to itself"),
        pytest.param("[" * 100_000, "f: more than 200 levels of nesting", id="deep"),
        pytest.param('{"a":' * 100_000, "f: nested too deeply", id="deep JSON"),
        pytest.param(
            "a: &a [x,x,x,x,x,x,x,x,x,x]\n"
            + "".join(f"{n}: &{n} [{','.join([f'*{p}'] * 10)}]\n" for p, n in itertools.pairwise("abcdefg")),
            "too large or too deep, allowed are 1000000 values",
            id="billion laughs",
        ),
        pytest.param("a: !!int x", "f: line 1: 'x' is no int", id="wrong tag"),
    ],
)
def test_what_is_no_document_is_refused_with_place_and_reason(text: str, reason: str) -> None:
    with pytest.raises(InputError) as refusal:
        parse(text, "f")

    assert reason in str(refusal.value)
