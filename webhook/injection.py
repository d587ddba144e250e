"""inject(...) -> list[Operation]: all that an injected Pod has more than the user wrote. Pure; decides nothing.

Operations only add. What carries our reserved names is ours: equal to what we compute it stays, different it is
replaced where it stands, and the operation's `note` says so. Injecting an injected Pod gives no operations.
"""

import re
from typing import Any, Final

import orjson

from contract.names import INJECTED, SIDECAR_CONTAINER, STATUS, VERSION
from webhook.checks import SYSCTL
from webhook.containers import init_container, sidecar, volumes
from webhook.decision import Inject
from webhook.jsonpatch import Operation, append, prepend, put
from webhook.managed import RESERVED_CONTAINERS, is_equal_container, is_reserved_volume, reconcile, replacement
from webhook.pods import Pod
from webhook.settings import PodSettings
from webhook.upstreams import host_aliases, is_our_address

_INIT_CONTAINERS: Final = "/spec/initContainers"
_LABELS: Final = "/metadata/labels"
_ANNOTATIONS: Final = "/metadata/annotations"
_RECORD: Final = re.compile(r"[0-9a-f]{32}")


def inject(pod: Pod, plan: Inject, record_id: str, settings: PodSettings) -> list[Operation]:
    """Returns the patch that makes `pod` what `plan` says; empty where it is that already.

    `record_id` is written to podtls.io/status; an equal Pod keeps the id that stands there.
    """
    operations = [
        *_init_containers(pod, init_container(plan, settings), sidecar(plan, settings)),
        *reconcile("/spec/volumes", pod.raw_volumes, volumes(), key="name", ours=is_reserved_volume),
        *reconcile(
            "/spec/hostAliases", pod.raw_host_aliases, host_aliases(plan.upstreams), key="ip", ours=is_our_address
        ),
        *_sysctl(pod, plan),
    ]
    return [*operations, *_metadata(pod, plan, record_id, changed=bool(operations))]


def kept_record(pod: Pod) -> str:
    """Returns the record id in podtls.io/status, empty where there is none that looks like one."""
    record = _status_of(pod).get("record")
    return record if isinstance(record, str) and _RECORD.fullmatch(record) else ""


def _init_containers(pod: Pod, init: dict[str, Any], nginx: dict[str, Any]) -> list[Operation]:
    found = pod.raw_init_containers
    places = [index for index, entry in enumerate(found) if entry.get("name") in RESERVED_CONTAINERS]
    if not places:
        # First, so that the user's own init containers have their upstreams too.
        return prepend(_INIT_CONTAINERS, found, [init, nginx])
    first, *more = places
    if not more and found[first].get("name") == SIDECAR_CONTAINER:
        return [*_at(first, found[first], nginx), Operation("add", f"{_INIT_CONTAINERS}/{first}", init)]
    if not more:
        return [*_at(first, found[first], init), Operation("add", f"{_INIT_CONTAINERS}/{first + 1}", nginx)]
    # In the wrong order the two would wait for each other for ever: the first two places are filled in the right one.
    second, *others = more
    return [*_at(first, found[first], init), *_at(second, found[second], nginx), *_remove(others)]


def _at(place: int, found: dict[str, Any], written: dict[str, Any]) -> list[Operation]:
    if is_equal_container(found, written):
        return []
    return [replacement(f"{_INIT_CONTAINERS}/{place}", written, written["name"])]


def _remove(places: list[int]) -> list[Operation]:
    note = "podtls: removed a second container of a reserved name"
    return [Operation("remove", f"{_INIT_CONTAINERS}/{place}", note=note) for place in reversed(places)]


def _sysctl(pod: Pod, plan: Inject) -> list[Operation]:
    if not plan.set_sysctl:
        return []
    entry = {"name": SYSCTL, "value": "0"}
    if not pod.has_security_context:
        return [Operation("add", "/spec/securityContext", {"sysctls": [entry]})]
    return append("/spec/securityContext/sysctls", pod.sysctls, [entry])


def _metadata(pod: Pod, plan: Inject, record_id: str, *, changed: bool) -> list[Operation]:
    status = {"version": VERSION, "mode": plan.mode, "ports": plan.ports_text}
    text = orjson.dumps({**status, "record": record_id}).decode()
    if not pod.has_metadata:
        members = {"labels": {INJECTED: "true"}, "annotations": {STATUS: text}}
        return [Operation("add", "/metadata", members)]
    label = _member(_LABELS, pod.labels, INJECTED, "true")
    # `podtls inject` has no record and writes an empty id, twice the same one.
    if not changed and not label and _status_of(pod) == {**status, "record": kept_record(pod) or record_id}:
        return []
    return [*label, *_member(_ANNOTATIONS, pod.annotations, STATUS, text)]


def _member(path: str, present: dict[str, str | None], key: str, value: str) -> list[Operation]:
    if key not in present:
        return [put(path, present, key, value)]
    if present[key] == value:
        return []
    return [replacement(put(path, present, key, value).path, value, key)]


def _status_of(pod: Pod) -> dict[str, Any]:
    try:
        status = orjson.loads(pod.annotations.get(STATUS) or "null")
    except orjson.JSONDecodeError:
        return {}
    return status if isinstance(status, dict) else {}
