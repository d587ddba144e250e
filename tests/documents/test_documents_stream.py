"""What podtls reads is what kubectl reads, and what it writes is the same to every reader."""

import itertools
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from documents.errors import DocumentError
from documents.stream import join_documents, parse_documents
from documents.writer import to_yaml
from tests.podtls.kubectl import read_by_kubectl

# What YAML 1.1, YAML 1.2 and kubectl's Go parser do not agree on.
_TRAPS = [
    *("on", "off", "yes", "no", "y", "n", "Y", "N", "true", "True", "TRUE", "null", "Null", "~", ""),
    *("0o777", "0777", "0x1F", "0b11", "1_000", "08", "1e3", "12e03", "1.5e-3", ".5", "1.", ".inf", "-.INF", ".nan"),
    *("12:30", "12:30:45", "1:2.5", "2026-01-01", "2026-01-01T10:00:00Z", "=", "<<", "-", "?", "1.2.3", "0.1.0"),
    *("a: b", "a #b", "# no comment", " padded ", "é", "😀", "tab\there", "two\nlines", "two\nlines\n", "\n", "a\n\n"),
    *("@at", "%p", "*a", "&a", "{}", "[]", "!tag", "'", '"', "|", ">", "\x85", "\u2028", "\x1b[31m"),
    *("9223372036854775808", "+1", "-0", "1E", "100m", "96Mi", "a:", "it's", "image:1", "/a/b", "a - b", " \n a\n"),
]


@pytest.mark.parametrize("trap", _TRAPS)
def test_text_that_we_write_is_text_to_every_reader(trap: str) -> None:
    written = to_yaml({"text": trap, trap: "key", "list": [trap]})

    expected = {"text": trap, trap: "key", "list": [trap]}
    assert yaml.safe_load(written) == expected
    assert parse_documents(written, "test")[0].value == expected


def test_text_that_we_write_is_text_to_kubectl() -> None:
    annotations = {f"trap-{number}": trap for number, trap in enumerate(_TRAPS)}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "on", "annotations": annotations}}

    (read,) = read_by_kubectl(to_yaml(pod))

    assert read["metadata"]["annotations"] == annotations
    assert read["metadata"]["name"] == "on"


@pytest.mark.parametrize("trap", ["y", "n", "0o777", "1e3", "12e03", "-0O7", "1_0e5", "08"])
def test_text_that_only_go_or_yaml_1_2_misread_is_quoted(trap: str) -> None:
    assert to_yaml([trap]) == f"- '{trap}'\n"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        pytest.param("yes", True, id="yes"),
        pytest.param("Off", False, id="off"),
        pytest.param("y", True, id="y"),
        pytest.param("0o17", 15, id="octal 1.2"),
        pytest.param("017", 15, id="octal 1.1"),
        pytest.param("08", 8.0, id="not octal"),
        pytest.param("-0x1F", -31, id="hexadecimal"),
        pytest.param("0b11", 3, id="binary"),
        pytest.param("1_000", 1000, id="underscore"),
        pytest.param("1e3", 1000.0, id="exponent"),
        pytest.param("_1", "_1", id="text that begins with an underscore"),
        pytest.param(".inf", ".inf", id="infinite is no JSON"),
        pytest.param("12:30", "12:30", id="base 60 is text to kubectl"),
        pytest.param("2026-01-01", "2026-01-01", id="date is text to kubectl"),
        pytest.param("'1'", "1", id="quoted"),
        pytest.param("!!str 1", "1", id="tagged"),
        pytest.param("!!int 1", 1, id="tagged as what it is"),
    ],
)
def test_plain_scalars_mean_what_they_mean_to_kubectl(text: str, value: Any) -> None:
    (document,) = parse_documents(f"a: {text}", "test")

    assert document.value["a"] == value
    assert type(document.value["a"]) is type(value)


def test_kubectl_agrees_on_plain_scalars() -> None:
    words = ("yes", "y", "No", "0o17", "017", "08", "-0x1F", "0b11", "1_000", "1e3", "-.5", "1.", "_1", "12:30", "~")
    # An object that kubectl has no type for keeps its values as they were read.
    stream = f"apiVersion: example.com/v1\nkind: Any\nmetadata: {{name: a}}\nspec: [{', '.join(words)}]\n"

    (read,) = read_by_kubectl(stream)

    assert read == parse_documents(stream, "test")[0].value


def test_documents_are_counted_even_where_they_are_empty() -> None:
    text = "# head\n---\na: 1\n---\n---\n# only a comment\n---\nb: 2\n"

    documents = parse_documents(text, "test")

    assert [document.value for document in documents] == [{"a": 1}, None, None, {"b": 2}]
    assert join_documents(document.text for document in documents) == text


@pytest.mark.parametrize(
    ("texts", "stream"),
    [
        pytest.param(["a: 1\n", "b: 2\n"], "a: 1\n---\nb: 2\n", id="no marker"),
        pytest.param(["---\na: 1", "--- # second\nb: 2"], "---\na: 1\n--- # second\nb: 2", id="markers"),
        pytest.param(["a: 1\n", "# comment\n---\nb: 2\n"], "a: 1\n# comment\n---\nb: 2\n", id="comment before marker"),
        pytest.param(['{"a": 1}\n', '{"b": 2}'], '{"a": 1}\n---\n{"b": 2}', id="JSON"),
    ],
)
def test_texts_of_several_files_become_one_stream(texts: list[str], stream: str) -> None:
    assert join_documents(texts) == stream


def test_json_with_tabs_and_surrogates_is_read_as_json() -> None:
    text = '{\n\t"a": "\\ud83d\\ude00",\n\t"b": [true, 1.50, null, 12345678901234567890123]\n}'

    (document,) = parse_documents(text, "test")

    assert document.value == {"a": "😀", "b": [True, 1.5, None, 12345678901234567890123]}


def test_json_objects_one_after_another_are_as_many_documents() -> None:
    documents = parse_documents('---\n{"a": 1}\n{"b": 2} {"c": 3}\n', "test")

    assert [document.value for document in documents] == [{"a": 1}, {"b": 2}, {"c": 3}]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("a:\tb\t\nc: d\t# comment\n", id="between words and at the end"),
        pytest.param("a: b\r\nc: d\r\n", id="CRLF"),
        pytest.param("{a: b, c: d}", id="flow"),
        pytest.param('{a: b, # comment\n\n "c": "d"}', id="flow with a comment"),
        pytest.param("a: b\nc: d\n...\n", id="end of the document"),
    ],
)
def test_other_ways_to_write_a_document_are_read(text: str) -> None:
    assert parse_documents(text, "test")[0].value == {"a": "b", "c": "d"}


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        pytest.param("b: 1\n---\na: 1\na: 2", "f: line 4: duplicate key 'a'; the last one counts", id="YAML"),
        pytest.param('{"b": 2}{"a": 1, "a": 2}', "f: duplicate key 'a'; the last one counts", id="JSON"),
    ],
)
def test_last_one_of_two_equal_keys_counts_with_a_warning(text: str, warning: str) -> None:
    *_, document = parse_documents(text, "f")

    assert document.value == {"a": 2}
    assert document.warnings == (f"{warning}, as for kubectl",)


def test_merge_keys_yield_to_own_keys_and_to_earlier_ones() -> None:
    text = "b: &b\n  k: v\no: &c\n  k: x\n  l: z\nmerged:\n  <<: [*b, *c]\n  own: 'on'\n"

    (document,) = parse_documents(text, "test")

    assert document.value["merged"] == {"k": "v", "l": "z", "own": "on"}


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda c: st.lists(c) | st.dictionaries(st.text(), c),
        max_leaves=10,
    ),
    st.sampled_from([0, 2]),
)
def test_any_json_value_survives(value: Any, offset: int) -> None:
    written = to_yaml({"root": value}, offset=offset)

    assert parse_documents(written, "test")[0].value == {"root": value}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param("a: [", "f: line 1: not YAML: expected the node content, but found '<stream end>'", id="unclosed"),
        pytest.param("a: 1\n---\na:\n\t- b", "f: line 4: not YAML: found character '\\t' that cannot", id="tab"),
        pytest.param("a: \x00", "f: not YAML: unacceptable character #x0000", id="control character"),
        pytest.param("a: *b", "f: line 1: not YAML: found undefined alias 'b'", id="undefined alias"),
        pytest.param("a: 1\n...\nb: 2\n", "f: line 3: not YAML: expected '<document start>'", id="second document"),
        pytest.param("? [a]\n: 1", "f: line 1: a key that is not text", id="key"),
        pytest.param("<<: 1", "f: line 1: << merges mappings only", id="merge of a number"),
        pytest.param("&a [*a]", "f: line 1: too large or too deep", id="alias to itself"),
        pytest.param("[" * 100_000, "f: more than 100 levels of nesting", id="deep"),
        pytest.param('{"a":' * 100_000, "f: nested too deeply", id="deep JSON"),
        pytest.param('{"a":' * 200 + "1" + "}" * 200, "f: nested too deeply", id="JSON that is not quite as deep"),
        pytest.param(
            "a: &a [x,x,x,x,x,x,x,x,x,x]\n"
            + "".join(f"{n}: &{n} [{','.join([f'*{p}'] * 10)}]\n" for p, n in itertools.pairwise("abcdefg")),
            "too large or too deep, allowed are 1000000 values",
            id="billion laughs",
        ),
        pytest.param("a: !!int x", "f: line 1: 'x' is not a value of the type int", id="wrong tag"),
    ],
)
def test_what_is_no_document_is_refused_with_place_and_reason(text: str, reason: str) -> None:
    with pytest.raises(DocumentError) as refusal:
        parse_documents(text, "f")

    assert reason in str(refusal.value)
