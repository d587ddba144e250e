"""Which JSON values are the same to Kubernetes, and which items of two lists belong together."""

from typing import Any


def pair_items(old: list[Any], new: list[Any]) -> list[tuple[int | None, Any]]:
    """Return each new item with the index of the next old one that equals it or, failing that, has its name.

    Items without a name, such as those of a `kind: List`, belong together by their place when the lists are equally
    long. Both lists are in one order: items are added and removed, never sorted.
    """
    pairs: list[tuple[int | None, Any]] = []
    at = 0
    for place, item in enumerate(new):
        rest = range(at, len(old))
        match = next((index for index in rest if is_same(old[index], item)), None)
        if match is None and _name(item) is not None:
            match = next((index for index in rest if _name(old[index]) == _name(item)), None)
        elif match is None and len(old) == len(new) and place in rest and _is_unnamed(old[place], item):
            match = place
        pairs.append((match, item))
        at = at if match is None else match + 1
    return pairs


def _name(item: Any) -> Any:
    return item.get("name") if isinstance(item, dict) else None


def _is_unnamed(*items: Any) -> bool:
    return all(isinstance(item, dict) and _name(item) is None for item in items)


def is_same(one: Any, other: Any) -> bool:
    """Whether two JSON values are the same."""
    # Python calls True, 1 and 1.0 equal; YAML does not.
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(is_same(item, other[key]) for key, item in one.items())
    if isinstance(one, list):
        return len(one) == len(other) and all(map(is_same, one, other))
    return bool(one == other)
