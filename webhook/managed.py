"""The entries of a Pod that podtls manages: recognised by name, compared with what we write, replaced in place.

A name proves nothing, so no content is trusted. "Equal" allows for what the API server and its in-tree plugins do to
what we wrote, and for nothing else: nulls and empty strings vanish, AlwaysPullImages changes imagePullPolicy,
LimitRanger adds resources.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from contract.names import INIT_CONTAINER, SIDECAR_CONTAINER, VOLUME_PREFIX
from webhook.errors import quote
from webhook.jsonpatch import Operation, append, build_pointer
from webhook.pods import Pod

RESERVED_CONTAINERS: Final = (INIT_CONTAINER, SIDECAR_CONTAINER)


def is_injected(pod: Pod) -> bool:
    """Whether the Pod has a container of ours; then podtls manages all that carries reserved names."""
    return any(container.name in RESERVED_CONTAINERS for container in pod.init_containers)


def is_reserved_volume(name: object) -> bool:
    """Whether only podtls may use a volume of this name."""
    return isinstance(name, str) and name.startswith(VOLUME_PREFIX)


def find_mirrored_images(init_containers: Iterable[dict[str, Any]], image: str | None) -> dict[str, str]:
    """Returns the images of our containers that a registry mirror made of `image`, by container; None accepts none."""
    if image is None:
        return {}
    found = {container.get("name"): container.get("image") for container in init_containers}
    return {name: str(found[name]) for name in RESERVED_CONTAINERS if _is_mirrored(found.get(name), image)}


def _is_mirrored(found: object, image: str) -> bool:
    # A mirror puts its own registry and folders before; name, tag and digest stay.
    return isinstance(found, str) and found != image and found.rpartition("/")[2] == image.rpartition("/")[2]


def replace_managed(
    path: str,
    found: Sequence[dict[str, Any]],
    written: Sequence[dict[str, Any]],
    *,
    key: str,
    is_managed: Callable[[Any], bool],
) -> list[Operation]:
    """Makes the entries of the list at `path` whose `key` is managed equal to those in `written`, each in its place.

    Entries of others are not touched. Replacements come first and removals from the back, so that no index shifts.
    """
    wanted = {entry[key]: entry for entry in written}
    replaced, removed = [], []
    for index, entry in enumerate(found):
        name = entry.get(key)
        if not is_managed(name):
            continue
        want = wanted.pop(name, None)
        if want is None:
            removed.append(
                Operation("remove", path + build_pointer(index), note=f"podtls: removed {quote(name)} from {path}")
            )
        elif not is_equal(entry, want):
            replaced.append(build_replacement(path + build_pointer(index), want, name))
    return [*replaced, *reversed(removed), *append(path, found, list(wanted.values()))]


def build_replacement(path: str, value: Any, name: object) -> Operation:
    """Returns the replacement of an entry that has a reserved name and another content than ours."""
    return Operation(
        "replace", path, value, note=f"podtls: {quote(name)} differed from what podtls writes and was replaced"
    )


def is_equal_container(found: dict[str, Any], written: dict[str, Any]) -> bool:
    """Whether a container matches what we wrote, ignoring changes that in-tree admission plugins make."""
    container = dict(found)
    if container.get("imagePullPolicy") == "Always":
        container["imagePullPolicy"] = written["imagePullPolicy"]
    container["resources"] = _drop_added_resources(container.get("resources"), written.get("resources"))
    return is_equal(container, written)


def is_equal(found: Any, written: Any) -> bool:
    """Whether `found` says the same as `written`. Goes no deeper than `written` does, whatever a sender nests."""
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


def _drop_added_resources(found: Any, written: dict[str, Any] | None) -> Any:
    if written is None or not isinstance(found, dict):
        return None if written is None else found
    return {kind: _drop_added_quantities(value, written.get(kind)) for kind, value in found.items()}


def _drop_added_quantities(found: Any, written: dict[str, str] | None) -> Any:
    if written is None or not isinstance(found, dict):
        return found
    return {name: quantity for name, quantity in found.items() if name in written}
