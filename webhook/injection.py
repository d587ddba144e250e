"""inject(...) -> list[Operation]: all that an injected Pod has more than the user wrote. Pure; decides nothing.

Operations only add. What carries reserved names is managed by podtls: where it equals what we compute it stays, else it
is replaced in its place, and the operation's `note` says so. Injecting an injected Pod gives no operations.
"""

from dataclasses import replace
from typing import Any, Final

from contract.names import INJECTED, SIDECAR_CONTAINER, STATUS, VERSION
from contract.status_annotation import InjectionStatus
from webhook.containers import build_init_container, build_sidecar, build_volumes
from webhook.decision import Inject
from webhook.jsonpatch import Operation, append, prepend, put
from webhook.managed import (
    RESERVED_CONTAINERS,
    build_replacement,
    is_equal_container,
    is_reserved_volume,
    replace_managed,
)
from webhook.pods import Pod
from webhook.ports import SYSCTL
from webhook.settings import InjectionSettings
from webhook.upstreams import build_host_aliases, is_upstream_address

_INIT_CONTAINERS: Final = "/spec/initContainers"
_LABELS: Final = "/metadata/labels"
_ANNOTATIONS: Final = "/metadata/annotations"


def inject(pod: Pod, plan: Inject, record_id: str, settings: InjectionSettings) -> list[Operation]:
    """Returns the patch that makes `pod` what `plan` says; empty where it is that already.

    `record_id` is written to podtls.io/status; an equal Pod keeps the id that is there.
    """
    operations = [
        *_put_init_containers(pod, build_init_container(plan, settings), build_sidecar(plan, settings)),
        *replace_managed("/spec/volumes", pod.raw_volumes, build_volumes(), key="name", is_managed=is_reserved_volume),
        *replace_managed(
            "/spec/hostAliases",
            pod.raw_host_aliases,
            build_host_aliases(plan.upstreams),
            key="ip",
            is_managed=is_upstream_address,
        ),
        *_add_sysctl(pod, plan),
    ]
    return [*operations, *_put_metadata(pod, plan, record_id, changed=bool(operations))]


def _put_init_containers(pod: Pod, init: dict[str, Any], nginx: dict[str, Any]) -> list[Operation]:
    found = pod.raw_init_containers
    places = [index for index, entry in enumerate(found) if entry.get("name") in RESERVED_CONTAINERS]
    if not places:
        # First, so that the user's own init containers have their upstreams too.
        return prepend(_INIT_CONTAINERS, found, [init, nginx])
    first, *more = places
    if not more and found[first].get("name") == SIDECAR_CONTAINER:
        return [*_put_at(first, found[first], nginx), Operation("add", f"{_INIT_CONTAINERS}/{first}", init)]
    if not more:
        return [*_put_at(first, found[first], init), Operation("add", f"{_INIT_CONTAINERS}/{first + 1}", nginx)]
    # In the wrong order the two would wait for each other without end, so the right order fills the first two places.
    second, *others = more
    return [*_put_at(first, found[first], init), *_put_at(second, found[second], nginx), *_remove(others)]


def _put_at(place: int, found: dict[str, Any], written: dict[str, Any]) -> list[Operation]:
    if is_equal_container(found, written):
        return []
    return [build_replacement(f"{_INIT_CONTAINERS}/{place}", written, written["name"])]


def _remove(places: list[int]) -> list[Operation]:
    note = "podtls: removed a second container of a reserved name"
    return [Operation("remove", f"{_INIT_CONTAINERS}/{place}", note=note) for place in reversed(places)]


def _add_sysctl(pod: Pod, plan: Inject) -> list[Operation]:
    if not plan.set_sysctl:
        return []
    entry = {"name": SYSCTL, "value": "0"}
    if not pod.has_security_context:
        return [Operation("add", "/spec/securityContext", {"sysctls": [entry]})]
    return append("/spec/securityContext/sysctls", pod.sysctls, [entry])


def _put_metadata(pod: Pod, plan: Inject, record_id: str, *, changed: bool) -> list[Operation]:
    status = InjectionStatus(VERSION, plan.mode, plan.ports_text, record_id)
    if not pod.has_metadata:
        members = {"labels": {INJECTED: "true"}, "annotations": {STATUS: str(status)}}
        return [Operation("add", "/metadata", members)]
    label = _put_member(_LABELS, pod.labels, INJECTED, "true")
    # `podtls inject` has no record and writes an empty id, the same one each time.
    if not changed and not label and pod.status == replace(status, record=pod.earlier_record or record_id):
        return []
    return [*label, *_put_member(_ANNOTATIONS, pod.annotations, STATUS, str(status))]


def _put_member(path: str, present: dict[str, str | None], key: str, value: str) -> list[Operation]:
    if key not in present:
        return [put(path, present, key, value)]
    if present[key] == value:
        return []
    return [build_replacement(put(path, present, key, value).path, value, key)]
