import copy
from typing import Any

import jsonpatch
import jsonpointer
import pytest
from hypothesis import given
from hypothesis import strategies as st

from webhook.jsonpatch import Operation, append, build_pointer, prepend, put

KEYS = st.text(st.sampled_from("~/01ab é\x00🔒"), max_size=6)


def applied(operations: list[Operation], document: Any) -> Any:
    return jsonpatch.JsonPatch([step.to_json() for step in operations]).apply(document)


@given(key=KEYS, value=st.integers())
def test_escaped_pointer_leads_to_the_key(key: str, value: int) -> None:
    assert jsonpointer.resolve_pointer({"a": {key: value}}, build_pointer("a", key)) == value


def test_tilde_is_escaped_before_slash() -> None:
    assert build_pointer("a/b~c", "~1", 0) == "/a~1b~0c/~01/0"


@given(key=KEYS, present=st.dictionaries(KEYS, st.integers()))
def test_put_keeps_what_is_there(key: str, present: dict[str, int]) -> None:
    result = applied([put("/a", present, key, -1)], {"a": present})

    assert result == {"a": {**present, key: -1}}


@pytest.mark.parametrize("document", [{}, {"a": None}, {"a": []}, {"a": [1, 2]}], ids=repr)
def test_lists_grow_at_both_ends_whatever_was_there(document: dict[str, Any]) -> None:
    present = document.get("a")
    before = copy.deepcopy(document)

    behind = applied(append("/a", present, [8, 9]), document)
    ahead = applied(prepend("/a", present, [8, 9]), document)

    assert behind == {"a": [*(present or []), 8, 9]}
    assert ahead == {"a": [8, 9, *(present or [])]}
    assert document == before


@pytest.mark.parametrize("document", [{}, {"a": None}, {"a": {}}], ids=repr)
def test_missing_object_is_made(document: dict[str, Any]) -> None:
    assert applied([put("/a", document.get("a"), "x/y", 1)], document) == {"a": {"x/y": 1}}


def test_appending_nothing_gives_no_operation() -> None:
    assert append("/a", None, []) == []
    assert prepend("/a", [1], []) == []


def test_remove_has_no_value_and_the_patch_has_no_note() -> None:
    assert Operation("remove", "/a", note="why").to_json() == {"op": "remove", "path": "/a"}
    assert Operation("add", "/a", None, note="why").to_json() == {"op": "add", "path": "/a", "value": None}
