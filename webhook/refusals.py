"""What a Pod may not have. Part of `decide`: every function raises RefusedError, or returns None."""

from collections.abc import Iterable
from typing import Any, Final

from contract.names import CAPTURE, MODE, SUPPORTED_CAPTURES, SUPPORTED_MODES, UPSTREAM_NETWORK, UPSTREAMS, VERSION
from webhook.errors import RefusedError, quote
from webhook.managed import RESERVED_CONTAINERS, is_injected, is_reserved_volume
from webhook.pods import Container, Pod
from webhook.ports import SYSCTL, find_foreign_containers, find_port_sysctl, find_reserved_port_names
from webhook.upstreams import DialledUpstream, is_upstream_address

_SUPPORTED: Final = {MODE: SUPPORTED_MODES, CAPTURE: SUPPORTED_CAPTURES}
# More than any injection ever left in a Pod; each of them would be an operation, and a part of the record.
_MAX_MANAGED: Final = 512


def check_supported(key: str, *, wish: str | None, default: str) -> None:
    """Refuses a mode or capture that this version does not support; `default` is the namespace's."""
    value = default if wish is None else wish
    if value not in _SUPPORTED[key]:
        source = "label on the namespace" if wish is None else "annotation on the pod"
        raise RefusedError(
            f"{key}: {value} ({source}) is not supported yet by podtls {VERSION}; "
            f"supported: {', '.join(_SUPPORTED[key])}"
        )


def check_reserved_names(pod: Pod) -> None:
    """Refuses the user's use of reserved names, where replacing what carries them would break the Pod."""
    for container in pod.containers:
        if container.name in RESERVED_CONTAINERS:
            raise RefusedError(f"container {container.name}: this name is reserved for podtls; choose another one")
    for container in find_foreign_containers(pod):
        _check_container(container)
    managed = sum(container.name in RESERVED_CONTAINERS for container in pod.init_containers)
    managed += sum(is_reserved_volume(volume.get("name")) for volume in pod.raw_volumes)
    managed += sum(is_upstream_address(alias.get("ip")) for alias in pod.raw_host_aliases)
    if managed > _MAX_MANAGED:
        raise RefusedError(f"{managed} init containers, volumes and hostAliases carry names reserved for podtls")


def check_name_clashes(pod: Pod, upstreams: Iterable[DialledUpstream], ca_host: str) -> None:
    """Refuses host aliases in our network without our containers, and names that would lead past Nginx or the CA."""
    if not is_injected(pod):
        for alias in pod.raw_host_aliases:
            if is_upstream_address(alias.get("ip")):
                address = quote(alias.get("ip"))
                raise RefusedError(f"hostAliases: {address} is in {UPSTREAM_NETWORK}, which is reserved for podtls")
    taken = _find_foreign_aliases(pod)
    for dialled in upstreams:
        for name in dialled.names:
            if name in taken:
                raise RefusedError(f"annotation {UPSTREAMS}: {name} has an entry in hostAliases already")
            if name == ca_host:
                raise RefusedError(f"annotation {UPSTREAMS}: {name} is the CA of podtls itself")


def check_port_sysctl(pod: Pod, privileged: list[int]) -> None:
    """Refuses a sysctl of the user's that keeps Nginx from a port that it has to listen on."""
    start = find_port_sysctl(pod)
    if not privileged or start is None:
        return
    if not (start.isascii() and start.isdigit() and len(start) <= 5 and int(start) <= privileged[0]):
        raise RefusedError(
            f"sysctl {SYSCTL}: {quote(start)} keeps Nginx from port {privileged[0]}; allowed: at most {privileged[0]}"
        )


def _check_container(container: Container) -> None:
    name = quote(container.name)
    for port_name in find_reserved_port_names(container):
        raise RefusedError(f"container {name}: port name {port_name} is reserved for podtls; choose another one")
    for mount in container.volume_mounts or []:
        # The key and the CA's token are on these, and a volume of this name that is not ours is about to be replaced.
        if is_reserved_volume(mount.name):
            raise RefusedError(
                f"container {name}: volume {quote(mount.name)} is reserved for podtls and cannot be mounted"
            )


def _find_foreign_aliases(pod: Pod) -> set[str]:
    return {
        name
        for alias in pod.raw_host_aliases
        if not is_upstream_address(alias.get("ip"))
        for name in _list_strings(alias.get("hostnames"))
    }


def _list_strings(value: Any) -> list[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []
