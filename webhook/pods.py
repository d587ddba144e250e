"""What we read of a Pod, as values. No policy, no HTTP.

The wire structs name the fields that we read; msgspec skips all others without building them. Entries that podtls may
manage (init containers, volumes, host aliases) stay raw, because they are compared as a whole.
"""

from dataclasses import dataclass
from typing import Annotated, Any

import msgspec

from contract.status_annotation import InjectionStatus
from webhook.errors import ReviewError
from webhook.wishes import has_status, is_mirror_pod, read_earlier_record, read_status

# What goes verbatim into the evidence log is as flat as Kubernetes has it, so that no nesting can break its encoding.
Scalar = str | bool | None | Annotated[int, msgspec.Meta(ge=-(2**53), le=2**53)]
Flat = Scalar | list[Scalar] | dict[str, Scalar | list[Scalar]]


class Port(msgspec.Struct, frozen=True, rename="camel"):
    """A containerPort; without a protocol it is TCP."""

    container_port: int | None = None
    name: str | None = None
    protocol: str | None = None


class VolumeMount(msgspec.Struct, frozen=True):
    """A volumeMount, of which only the volume's name matters here."""

    name: str | None = None


class Container(msgspec.Struct, frozen=True, rename="camel"):
    """A container of the user, in `containers` or `initContainers`."""

    name: str | None = None
    ports: list[Port] | None = None
    volume_mounts: list[VolumeMount] | None = None


class Sysctl(msgspec.Struct, frozen=True):
    """An entry of securityContext.sysctls."""

    name: str | None = None
    value: str | None = None


class _SecurityContext(msgspec.Struct, frozen=True):
    sysctls: list[Sysctl] | None = None


class _OperatingSystem(msgspec.Struct, frozen=True):
    name: str | None = None


class _Metadata(msgspec.Struct, frozen=True, rename="camel"):
    name: str | None = None
    generate_name: str | None = None
    labels: dict[str, str | None] | None = None
    annotations: dict[str, str | None] | None = None
    owner_references: list[dict[str, Flat]] | None = None


class _Spec(msgspec.Struct, frozen=True, rename="camel"):
    containers: list[Container] | None = None
    init_containers: list[dict[str, Any]] | None = None
    volumes: list[dict[str, Any]] | None = None
    host_aliases: list[dict[str, Any]] | None = None
    security_context: _SecurityContext | None = None
    resources: dict[str, Any] | None = None
    host_network: bool | None = None
    os: _OperatingSystem | None = None
    node_selector: dict[str, str | None] | None = None
    dns_policy: str | None = None
    restart_policy: str | None = None
    service_account_name: str | None = None


class WirePod(msgspec.Struct, frozen=True, rename="camel"):
    """A Pod, or a pod template, as JSON has it."""

    spec: _Spec
    metadata: _Metadata | None = None
    kind: str | None = None
    api_version: str | None = None


@dataclass(frozen=True, slots=True)
class Pod:
    """What we read of a Pod. Absent, null and empty are one: an empty container or an empty string.

    `annotations` are for wishes.py and for the patch alone. `status` is podtls.io/status, None unless it is exactly as
    podtls writes it; `earlier_record` is the id that it names, else empty.
    """

    has_metadata: bool
    name: str
    generate_name: str
    labels: dict[str, str | None]
    annotations: dict[str, str | None]
    has_status: bool
    status: InjectionStatus | None
    earlier_record: str
    mirror: bool
    owners: list[dict[str, Any]]
    containers: list[Container]
    init_containers: list[Container]
    raw_init_containers: list[dict[str, Any]]
    raw_volumes: list[dict[str, Any]]
    raw_host_aliases: list[dict[str, Any]]
    has_security_context: bool
    sysctls: list[Sysctl]
    has_resources: bool
    host_network: bool
    windows: bool
    dns_policy: str
    restart_policy: str
    service_account: str


def parse_pod(raw: dict[str, Any]) -> Pod:
    """Reads a Pod, or a pod template, that somebody parsed already; raises ReviewError naming the wrong field."""
    try:
        return flatten_pod(msgspec.convert(raw, WirePod))
    except msgspec.ValidationError as error:
        raise ReviewError(f"not a Pod: {error}") from error


def flatten_pod(wire: WirePod) -> Pod:
    """Flattens the wire struct; raises msgspec.ValidationError where an init container is malformed."""
    metadata, spec = wire.metadata or _Metadata(), wire.spec
    annotations = metadata.annotations or {}
    return Pod(
        has_metadata=wire.metadata is not None,
        name=metadata.name or "",
        generate_name=metadata.generate_name or "",
        labels=metadata.labels or {},
        annotations=annotations,
        has_status=has_status(annotations),
        status=read_status(annotations),
        earlier_record=read_earlier_record(annotations),
        mirror=is_mirror_pod(annotations),
        owners=metadata.owner_references or [],
        containers=spec.containers or [],
        init_containers=msgspec.convert(spec.init_containers or [], list[Container]),
        raw_init_containers=spec.init_containers or [],
        raw_volumes=spec.volumes or [],
        raw_host_aliases=spec.host_aliases or [],
        has_security_context=spec.security_context is not None,
        sysctls=(spec.security_context and spec.security_context.sysctls) or [],
        has_resources=bool(spec.resources),
        host_network=bool(spec.host_network),
        windows=_is_windows(spec),
        dns_policy=spec.dns_policy or "ClusterFirst",
        restart_policy=spec.restart_policy or "Always",
        service_account=spec.service_account_name or "default",
    )


def _is_windows(spec: _Spec) -> bool:
    """Whether `spec.os` says so, or the well-known node label, which is all that older workloads carry."""
    if spec.os is not None and spec.os.name is not None:
        return spec.os.name == "windows"
    return (spec.node_selector or {}).get("kubernetes.io/os") == "windows"
