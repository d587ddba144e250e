"""JSON Patch (RFC 6902) as values: Operation, pointer escaping, additions that create a missing parent.

Knows nothing of Pods. Applying patches is not done here: the API server does it, and in tests the `jsonpatch` library.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

OperationName = Literal["add", "replace", "remove"]


@dataclass(frozen=True, slots=True)
class Operation:
    """One step of a patch. `note` tells people why something was changed; the patch does not contain it."""

    op: OperationName
    path: str
    value: Any = None
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        """Returns the members of RFC 6902 section 4; `remove` has no value."""
        if self.op == "remove":
            return {"op": self.op, "path": self.path}
        return {"op": self.op, "path": self.path, "value": self.value}


def build_pointer(*parts: str | int) -> str:
    """Returns the JSON Pointer of `parts`, with `~` and `/` escaped in this order (RFC 6901 section 4)."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)


def append(path: str, present: Sequence[Any] | None, values: Sequence[Any]) -> list[Operation]:
    """Adds `values` behind what is `present`. Adding `.../-` fails where there is no list, so one is made."""
    if not values:
        return []
    if not present:
        return [Operation("add", path, list(values))]
    return [Operation("add", f"{path}/-", value) for value in values]


def prepend(path: str, present: Sequence[Any] | None, values: Sequence[Any]) -> list[Operation]:
    """Adds `values` before what is `present`, keeping their order; makes a missing list."""
    if not present:
        return append(path, None, values)
    return [Operation("add", f"{path}/{index}", value) for index, value in enumerate(values)]


def put(path: str, present: Mapping[str, Any] | None, key: str, value: Any) -> Operation:
    """Adds the member `key` to the object at `path`; makes a missing object."""
    if not present:
        return Operation("add", path, {key: value})
    return Operation("add", path + build_pointer(key), value)
