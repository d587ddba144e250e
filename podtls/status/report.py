"""status(): asks the cluster what `podtls status` tells, namespace by namespace. Judging is the pure modules'.

What the caller may not read is a note, not a silence.
"""

from dataclasses import asdict, dataclass, field
from typing import Any, Final

from contract.names import INJECTED
from podtls.check import trust
from podtls.check.namespaces import is_enrolled as is_labelled
from podtls.errors import ForbiddenError, InputError
from podtls.kubernetes import installation
from podtls.kubernetes.pods import is_finished
from podtls.kubernetes.reader import ClusterReader, Object, each_item, items, read
from podtls.status.enrolled import EnrolledPod, enrolled
from podtls.status.services import Backend, FailedCreate, PlaintextPort, backend, failed_creates, plaintext_ports
from podtls.status.surroundings import Surroundings
from podtls.status.unenrolled import PlainPod, is_enrolled, plain
from webhook.request import NAMESPACE

_ZONE: Final = "PODTLS_ZONE"


@dataclass(frozen=True, slots=True)
class Status:
    """All that `podtls status` tells; `notes` say what could not be read, or what is not there."""

    namespaces: tuple[str, ...]
    notes: tuple[str, ...]
    enrolled: tuple[EnrolledPod, ...]
    plain: tuple[PlainPod, ...]
    failed: tuple[FailedCreate, ...]
    plaintext: tuple[PlaintextPort, ...]

    def to_json(self) -> dict[str, Any]:
        """As `-o json` prints it."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class _Common:
    """What is the same for all namespaces."""

    configuration: Object | None
    configuration_known: bool
    bundle: trust.Certificates
    zone: str


@dataclass(frozen=True, slots=True)
class _Pods:
    """What is kept of the pods of a namespace."""

    enrolled: list[EnrolledPod] = field(default_factory=list)
    plain: list[PlainPod] = field(default_factory=list)
    backends: list[Backend] = field(default_factory=list)


def status(cluster: ClusterReader, namespace: str | None) -> Status:
    """Of one namespace, else of all that are enrolled or still have enrolled pods.

    Raises UnreachableError, CredentialsError, ForbiddenError (pods or namespaces may not be listed) or InputError
    (no such namespace).
    """
    notes: list[str] = []
    common = _common(cluster, notes)
    chosen = _all(cluster) if namespace is None else {namespace: _one(cluster, namespace, notes)}
    parts = [_part(cluster, name, found, common, notes) for name, found in sorted(chosen.items())]
    return Status(
        namespaces=tuple(sorted(chosen)),
        notes=tuple(notes),
        enrolled=tuple(each for part in parts for each in part.enrolled),
        plain=tuple(each for part in parts for each in part.plain),
        failed=tuple(each for part in parts for each in part.failed),
        plaintext=tuple(each for part in parts for each in part.plaintext),
    )


def _common(cluster: ClusterReader, notes: list[str]) -> _Common:
    bundle = _read(cluster, installation.BUNDLE, notes, "no bundle of a pod can be compared")
    configuration = _read(cluster, installation.MUTATING, notes, "why a pod is not enrolled is not always known")
    authority = _read(cluster, installation.CA.path, notes, f"names are computed for the zone {installation.ZONE}")
    known = configuration is not None or not any(installation.MUTATING in note for note in notes)
    if known and configuration is None:
        notes.append("podtls is not installed in this cluster, or not completely: podtls check")
    return _Common(configuration, known, trust.bundle_of(bundle), _zone(authority))


def _all(cluster: ClusterReader) -> dict[str, Object | None]:
    """Enrolled namespaces, and those whose label is gone while pods still have our certificates."""
    listed = {each["metadata"]["name"]: each for each in items(cluster, installation.NAMESPACES)}
    pods = each_item(cluster, installation.PODS, labelSelector=f"{INJECTED}=true")
    injected = {pod["metadata"]["namespace"] for pod in pods}
    names = injected | {name for name, each in listed.items() if is_labelled(each)}
    return {name: listed.get(name) for name in names if name not in installation.EXCLUDED}


def _one(cluster: ClusterReader, name: str, notes: list[str]) -> Object | None:
    # It becomes part of paths.
    if not NAMESPACE.fullmatch(name):
        raise InputError(f"--namespace: got {name!r}, expected an RFC 1123 label")
    before = len(notes)
    found = _read(cluster, f"{installation.NAMESPACES}/{name}", notes, "whether it is enrolled is not known")
    if found is None and len(notes) == before:
        raise InputError(f"--namespace: there is no namespace {name!r}")
    return found


def _part(cluster: ClusterReader, name: str, namespace: Object | None, common: _Common, notes: list[str]) -> Status:
    services = _list(
        cluster, f"{installation.NAMESPACES}/{name}/services", notes, "names and plaintext ports are not known"
    )
    events = _list(
        cluster, f"{installation.NAMESPACES}/{name}/events", notes, "refused pods are not shown", reason="FailedCreate"
    )
    around = Surroundings(
        namespace, common.configuration, common.configuration_known, common.bundle, common.zone, services
    )
    pods = _pods(cluster, name, around)
    return Status(
        namespaces=(name,),
        notes=(),
        enrolled=tuple(pods.enrolled),
        plain=tuple(pods.plain),
        failed=tuple(failed_creates(events)),
        plaintext=tuple(port for service in services for port in plaintext_ports(service, pods.backends)),
    )


def _pods(cluster: ClusterReader, namespace: str, around: Surroundings) -> _Pods:
    """Each pod is judged as it comes, and let go."""
    found = _Pods()
    for item in each_item(cluster, f"{installation.NAMESPACES}/{namespace}/pods"):
        # The API server leaves the kind out of a list's items.
        pod = {"apiVersion": "v1", "kind": "Pod", **item}
        if is_enrolled(pod):
            found.enrolled.append(enrolled(pod, around))
            if not is_finished(pod):
                found.backends.append(backend(pod))
        elif not is_finished(pod):
            found.plain.append(plain(pod, around))
    return found


def _read(cluster: ClusterReader, path: str, notes: list[str], consequence: str) -> Object | None:
    try:
        return read(cluster, path)
    except ForbiddenError:
        notes.append(f"you may not read {path}: {consequence}")
        return None


def _list(cluster: ClusterReader, path: str, notes: list[str], consequence: str, **fields: str) -> list[Object]:
    query = {"fieldSelector": ",".join(f"{key}={value}" for key, value in fields.items())} if fields else {}
    try:
        return items(cluster, path, **query)
    except ForbiddenError:
        notes.append(f"you may not list {path}: {consequence}")
        return []


def _zone(authority: Object | None) -> str:
    containers = authority["spec"]["template"]["spec"]["containers"] if authority else []
    variables = [variable for each in containers for variable in each.get("env") or []]
    return next((each["value"] for each in variables if each["name"] == _ZONE and each.get("value")), installation.ZONE)
