"""Our own entries in a Pod: recognised by name, compared in a canonical form, replaced in place. Never believed.

"Equal" allows for what the API server and its in-tree plugins do to what we wrote, and for nothing else:
nulls and empty strings vanish, AlwaysPullImages changes imagePullPolicy, LimitRanger adds resources.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

from contract.names import INIT_CONTAINER, SIDECAR_CONTAINER, VOLUME_PREFIX
from webhook.errors import shown
from webhook.jsonpatch import Operation, append, pointer

Equal = Callable[[Any, dict[str, Any]], bool]
RESERVED_CONTAINERS: Final = (INIT_CONTAINER, SIDECAR_CONTAINER)


def is_reserved_volume(name: object) -> bool:
    """Asks whether a volume's name is one of ours."""
    return isinstance(name, str) and name.startswith(VOLUME_PREFIX)


def reconcile(
    path: str,
    found: Sequence[dict[str, Any]],
    written: Sequence[dict[str, Any]],
    *,
    key: str,
    ours: Callable[[Any], bool],
) -> list[Operation]:
    """Makes the entries of the list at `path` whose `key` is `ours` those in `written`, each where it stands.

    Entries of others are not touched. Replacements come first and removals from the back, so that no index shifts.
    """
    wanted = {entry[key]: entry for entry in written}
    replaced, removed = [], []
    for index, entry in enumerate(found):
        name = entry.get(key)
        if not ours(name):
            continue
        want = wanted.pop(name, None)
        if want is None:
            removed.append(
                Operation("remove", path + pointer(index), note=f"podtls: removed {shown(name)} from {path}")
            )
        elif not is_equal(entry, want):
            replaced.append(replacement(path + pointer(index), want, name))
    return [*replaced, *reversed(removed), *append(path, found, list(wanted.values()))]


def replacement(path: str, value: Any, name: object) -> Operation:
    """Replaces an entry that has our name and another content."""
    return Operation(
        "replace", path, value, note=f"podtls: {shown(name)} differed from what podtls writes and was replaced"
    )


def is_equal_container(found: dict[str, Any], written: dict[str, Any]) -> bool:
    """Asks whether a container is what we wrote, once what in-tree plugins may do to it is put aside."""
    container = dict(found)
    if container.get("imagePullPolicy") == "Always":
        container["imagePullPolicy"] = written["imagePullPolicy"]
    container["resources"] = _ours_of_resources(container.get("resources"), written.get("resources"))
    return is_equal(container, written)


def is_equal(found: Any, written: Any) -> bool:
    """Asks whether `found` says the same as `written`. Goes no deeper than `written` does, whatever a sender nests."""
    if isinstance(written, dict):
        return isinstance(found, dict) and _have_equal_members(found, written)
    if isinstance(written, list):
        return isinstance(found, list) and len(found) == len(written) and all(map(is_equal, found, written))
    # In Python True == 1; in JSON it is not.
    return isinstance(found, bool) == isinstance(written, bool) and bool(found == written)


def _have_equal_members(found: dict[str, Any], written: dict[str, Any]) -> bool:
    present = {key for key, value in found.items() if value is not None}
    # Go leaves an empty string out (omitempty): an env entry without a value.
    absent = {key for key, value in written.items() if value == "" and key not in present}
    return present == written.keys() - absent and all(is_equal(found[key], written[key]) for key in present)


def _ours_of_resources(found: Any, written: dict[str, Any] | None) -> Any:
    if written is None or not isinstance(found, dict):
        return None if written is None else found
    return {kind: _ours_of_quantities(value, written.get(kind)) for kind, value in found.items()}


def _ours_of_quantities(found: Any, written: dict[str, str] | None) -> Any:
    if written is None or not isinstance(found, dict):
        return found
    return {name: quantity for name, quantity in found.items() if name in written}
