"""What a Pod may not have, and what its developer should be warned of. Part of `decide`; checks raise RefusedError."""

from collections.abc import Iterable
from typing import Any, Final

from contract.names import (
    INIT_CONTAINER,
    INJECT,
    INJECT_DISABLED,
    INJECTED,
    SIDECAR_CONTAINER,
    STATUS,
    UPSTREAM_NETWORK,
    UPSTREAMS,
)
from webhook import annotations
from webhook.errors import RefusedError, shown
from webhook.managed import RESERVED_CONTAINERS, is_reserved_volume
from webhook.pods import Container, Pod
from webhook.ports import foreign_containers, reserved_port_names
from webhook.settings import PodSettings
from webhook.upstreams import Upstream, is_our_address

SYSCTL: Final = "net.ipv4.ip_unprivileged_port_start"
# More than any injection ever left in a Pod; each of them would be an operation, and a part of the record.
_MAX_OURS: Final = 512

_COPY: Final = (
    "podtls: a copy without the labels and annotations of its original, so it follows its namespace; "
    "kubectl debug --copy-to keeps them with --keep-labels --keep-annotations"
)


def reserved(pod: Pod) -> None:
    """Refuses the user's use of names that are ours, where replacing what carries them would break the Pod."""
    for container in pod.containers:
        if container.name in RESERVED_CONTAINERS:
            raise RefusedError(f"container {container.name}: this name is reserved for podtls; choose another one")
    for container in foreign_containers(pod):
        _check_container(container)
    ours = sum(container.name in RESERVED_CONTAINERS for container in pod.init_containers)
    ours += sum(is_reserved_volume(volume.get("name")) for volume in pod.raw_volumes)
    ours += sum(is_our_address(alias.get("ip")) for alias in pod.raw_host_aliases)
    if ours > _MAX_OURS:
        raise RefusedError(f"{ours} init containers, volumes and hostAliases carry names reserved for podtls")


def _check_container(container: Container) -> None:
    name = shown(container.name)
    for port_name in reserved_port_names(container):
        raise RefusedError(f"container {name}: port name {port_name} is reserved for podtls; choose another one")
    for mount in container.volume_mounts or []:
        # The key and the CA's token are on these; and one that is not ours by content is about to be replaced.
        if is_reserved_volume(mount.name):
            raise RefusedError(
                f"container {name}: volume {shown(mount.name)} is reserved for podtls and cannot be mounted"
            )


def aliases(pod: Pod, upstreams: Iterable[Upstream], settings: PodSettings) -> None:
    """Refuses host aliases in our network without our containers, and names that would lead past Nginx or the CA."""
    if not is_injected(pod):
        for alias in pod.raw_host_aliases:
            if is_our_address(alias.get("ip")):
                network = UPSTREAM_NETWORK
                raise RefusedError(
                    f"hostAliases: {shown(alias.get('ip'))} is in {network}, which is reserved for podtls"
                )
    taken = _aliased(pod)
    for upstream in upstreams:
        for name in upstream.names:
            if name in taken:
                raise RefusedError(f"annotation {UPSTREAMS}: {name} has an entry in hostAliases already")
            if name == settings.ca_host:
                raise RefusedError(f"annotation {UPSTREAMS}: {name} is the CA of podtls itself")


def _aliased(pod: Pod) -> set[str]:
    return {
        name
        for alias in pod.raw_host_aliases
        if not is_our_address(alias.get("ip"))
        for name in _strings(alias.get("hostnames"))
    }


def _strings(value: Any) -> list[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def needs_sysctl(pod: Pod, privileged: list[int]) -> bool:
    """Asks whether the sysctl for `privileged` ports must be added; refuses one that is there and does not suffice."""
    if not privileged:
        return False
    for sysctl in pod.sysctls:
        # https://kubernetes.io/docs/tasks/administer-cluster/sysctl-cluster/: slashes and dots are one.
        if (sysctl.name or "").replace("/", ".") == SYSCTL:
            start = sysctl.value or ""
            if not (start.isascii() and start.isdigit() and len(start) <= 5 and int(start) <= privileged[0]):
                raise RefusedError(
                    f"sysctl {SYSCTL}: {shown(start)} keeps Nginx from port {privileged[0]}; "
                    f"allowed: at most {privileged[0]}"
                )
            return False
    return True


def is_injected(pod: Pod) -> bool:
    """Asks whether the Pod has a container of ours, which makes all that carries our names ours."""
    return any(container.name in RESERVED_CONTAINERS for container in pod.init_containers)


def accepted_images(pod: Pod, settings: PodSettings) -> tuple[str, str]:
    """Returns the images of init container and sidecar: ours, or where the setting allows, what a mirror made of it."""
    found = {raw.get("name"): raw.get("image") for raw in pod.raw_init_containers}
    return (
        _accepted(found.get(INIT_CONTAINER), settings),
        _accepted(found.get(SIDECAR_CONTAINER), settings),
    )


def _accepted(found: object, settings: PodSettings) -> str:
    if not settings.accept_image_rewrite or not isinstance(found, str):
        return settings.image
    # A mirror puts its own registry and folders before; name, tag and digest stay.
    same = found.rpartition("/")[2] == settings.image.rpartition("/")[2]
    return found if same else settings.image


def warnings(pod: Pod, settings: PodSettings) -> list[str]:
    """Returns what works otherwise than its developer may expect."""
    found = [*_copy(pod), *_before_ours(pod), *_images(pod, settings)]
    if pod.dns_policy in {"Default", "None"}:
        found.append(f"podtls: dnsPolicy {pod.dns_policy}: the CA's name {settings.ca_host} may not resolve")
    value = pod.labels.get(INJECT)
    if value not in {None, "enabled"}:
        found.append(f"podtls: label {INJECT}: {shown(value)} does not opt out; only {INJECT_DISABLED} does")
    found += [
        f"podtls: annotation {shown(key)} is unknown and means nothing" for key in annotations.unknown(pod.annotations)
    ]
    return found


def left_over(pod: Pod) -> tuple[str, ...]:
    """Returns a warning for a Pod that is skipped and has our containers all the same."""
    return ("podtls: its containers named podtls-... are left as they are",) if is_injected(pod) else ()


def _copy(pod: Pod) -> list[str]:
    if is_injected(pod) and INJECTED not in pod.labels and STATUS not in pod.annotations:
        return [_COPY]
    return []


def _before_ours(pod: Pod) -> list[str]:
    names = [container.name for container in pod.init_containers]
    first = next((index for index, name in enumerate(names) if name in RESERVED_CONTAINERS), 0)
    return [
        f"podtls: init container {shown(name)} runs before {INIT_CONTAINER} and has no upstreams"
        for name in names[:first]
    ]


def _images(pod: Pod, settings: PodSettings) -> list[str]:
    return [
        f"podtls: image {shown(image)} accepted in place of {settings.image}"
        for image in sorted(set(accepted_images(pod, settings)) - {settings.image})
    ]
