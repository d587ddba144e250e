"""Reads from the cluster what `podtls status` shows, namespace by namespace, and hands it to the pure modules.

What the caller may not read is a note, not a silence.
"""

from dataclasses import asdict, dataclass, field
from typing import Any, Final

from contract.dns import is_label
from contract.names import INJECTED
from podtls.check.namespaces import is_enrolled_namespace
from podtls.check.trust import Certificates, parse_bundle
from podtls.errors import ForbiddenError, InputError
from podtls.kubernetes import installation
from podtls.kubernetes.objects import Object, name_of
from podtls.kubernetes.pods import is_finished
from podtls.kubernetes.reader import ClusterReader, iterate_items, list_items, read_object
from podtls.manifests.shipped import excluded_namespaces
from podtls.status import services
from podtls.status.enrolled import EnrolledPod, describe_enrolled
from podtls.status.services import FailedCreate, PlaintextPort, ServiceBackend
from podtls.status.unenrolled import NamespaceAdmission, UnenrolledPod, explain_unenrolled, is_enrolled

_ZONE: Final = "PODTLS_ZONE"


@dataclass(frozen=True, slots=True)
class StatusReport:
    """All that `podtls status` shows; `notes` say what could not be read, or what is not there."""

    namespaces: tuple[str, ...]
    notes: tuple[str, ...]
    enrolled: tuple[EnrolledPod, ...]
    plain: tuple[UnenrolledPod, ...]
    failed: tuple[FailedCreate, ...]
    plaintext: tuple[PlaintextPort, ...]

    def to_json(self) -> dict[str, Any]:
        """As `-o json` prints it."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class _Reader:
    """The cluster; what the caller may not read of it becomes a note that names the consequence."""

    cluster: ClusterReader
    notes: list[str]

    def read(self, path: str, consequence: str) -> Object | None:
        try:
            return read_object(self.cluster, path)
        except ForbiddenError:
            self.notes.append(f"you may not read {path}: {consequence}")
            return None

    def list(self, path: str, consequence: str, **query: str) -> list[Object]:
        try:
            return list_items(self.cluster, path, **query)
        except ForbiddenError:
            self.notes.append(f"you may not list {path}: {consequence}")
            return []


@dataclass(frozen=True, slots=True)
class _Installation:
    """What is the same for all namespaces."""

    configuration: Object | None
    is_known: bool
    bundle: Certificates
    zone: str


@dataclass(frozen=True, slots=True)
class _Found:
    """What is found in one namespace after the other."""

    enrolled: list[EnrolledPod] = field(default_factory=list)
    plain: list[UnenrolledPod] = field(default_factory=list)
    failed: list[FailedCreate] = field(default_factory=list)
    plaintext: list[PlaintextPort] = field(default_factory=list)


def read_status(cluster: ClusterReader, namespace: str | None) -> StatusReport:
    """Of one namespace, else of all that are enrolled or still have enrolled pods.

    Raises UnreachableError, CredentialsError, ForbiddenError (pods or namespaces may not be listed) or InputError
    (no such namespace).
    """
    reader = _Reader(cluster, [])
    installed = _read_installation(reader)
    chosen = _list_enrolled(cluster) if namespace is None else {namespace: _read_namespace(reader, namespace)}
    found = _Found()
    for name, each in sorted(chosen.items()):
        _add_namespace(found, reader, installed, name=name, namespace=each)
    return StatusReport(
        namespaces=tuple(sorted(chosen)),
        notes=tuple(reader.notes),
        enrolled=tuple(found.enrolled),
        plain=tuple(found.plain),
        failed=tuple(found.failed),
        plaintext=tuple(found.plaintext),
    )


def _read_installation(reader: _Reader) -> _Installation:
    bundle = reader.read(installation.BUNDLE, "no bundle of a pod can be compared")
    configuration = reader.read(installation.MUTATING, "why a pod is not enrolled is not always known")
    authority = reader.read(installation.CA.path, f"names are computed for the zone {installation.ZONE}")
    is_known = configuration is not None or not any(installation.MUTATING in note for note in reader.notes)
    if is_known and configuration is None:
        reader.notes.append("podtls is not installed in this cluster, or not completely: podtls check")
    return _Installation(configuration, is_known, parse_bundle(bundle), _read_zone(authority))


def _read_zone(authority: Object | None) -> str:
    containers = authority["spec"]["template"]["spec"]["containers"] if authority else []
    variables = [variable for each in containers for variable in each.get("env") or []]
    return next((each["value"] for each in variables if each["name"] == _ZONE and each.get("value")), installation.ZONE)


def _list_enrolled(cluster: ClusterReader) -> dict[str, Object | None]:
    """Enrolled namespaces, and those whose label is gone while pods still have certificates."""
    listed = {name_of(each): each for each in list_items(cluster, installation.NAMESPACES)}
    pods = iterate_items(cluster, installation.PODS, labelSelector=f"{INJECTED}=true")
    injected = {pod["metadata"]["namespace"] for pod in pods}
    names = injected | {name for name, each in listed.items() if is_enrolled_namespace(each)}
    return {name: listed.get(name) for name in names if name not in excluded_namespaces()}


def _read_namespace(reader: _Reader, name: str) -> Object | None:
    # The name becomes part of paths.
    if not is_label(name):
        raise InputError(f"--namespace: got {name!r}, expected an RFC 1123 label")
    before = len(reader.notes)
    found = reader.read(f"{installation.NAMESPACES}/{name}", "whether it is enrolled is not known")
    if found is None and len(reader.notes) == before:
        raise InputError(f"--namespace: there is no namespace {name!r}")
    return found


def _add_namespace(
    found: _Found, reader: _Reader, installed: _Installation, *, name: str, namespace: Object | None
) -> None:
    path = f"{installation.NAMESPACES}/{name}"
    listed = reader.list(f"{path}/services", "names and plaintext ports are not known")
    events = reader.list(f"{path}/events", "refused pods are not shown", fieldSelector="reason=FailedCreate")
    admission = NamespaceAdmission(namespace, installed.configuration, installed.is_known)
    backends: list[ServiceBackend] = []
    for item in iterate_items(reader.cluster, f"{path}/pods"):
        # The API server leaves the kind out of a list's items.
        pod = {"apiVersion": "v1", "kind": "Pod", **item}
        if is_enrolled(pod):
            found.enrolled.append(describe_enrolled(pod, listed, bundle=installed.bundle, zone=installed.zone))
            if not is_finished(pod):
                backends.append(services.read_backend(pod))
        elif not is_finished(pod):
            found.plain.append(explain_unenrolled(pod, admission))
    found.failed.extend(services.summarize_failed_creates(events))
    found.plaintext.extend(port for each in listed for port in services.find_plaintext_ports(each, backends))
