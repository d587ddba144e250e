"""Reads from the cluster what `podtls check` needs, part by part, and hands it to the pure checks.

A part that the caller may not read is a finding, not a silence.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from contract.names import PATH_CACERTS
from podtls.check import enforcement, namespaces, rbac, replicas, server, trust, webhooks
from podtls.check.finding import CheckFinding, CheckReport, ok, problem, warning
from podtls.errors import UnreachableError
from podtls.kubernetes import installation
from podtls.kubernetes.installation import ControlPlaneWorkload
from podtls.kubernetes.objects import Object, name_of, object_path
from podtls.kubernetes.reader import Access, ApiResponse, ClusterReader, list_items, parse_object, read_object
from podtls.manifests.shipped import ENFORCE, find_shipped

_SERVED: Final = (installation.CA, installation.WEBHOOK)


@dataclass(frozen=True, slots=True)
class _Cluster:
    """The cluster, its namespaces, what the caller may not read of it, and its time."""

    reader: ClusterReader
    listed: Sequence[Object]
    denied: frozenset[Access]
    now: datetime

    def may(self, *needed: Access) -> bool:
        return self.denied.isdisjoint(needed)

    def read(self, path: str) -> Object | None:
        return read_object(self.reader, path)


def check_cluster(reader: ClusterReader, clock: Callable[[], datetime]) -> CheckReport:
    """Every finding. Raises UnreachableError, CredentialsError or ForbiddenError when nothing can be checked."""
    response = reader.get("/version")
    date = server.parse_date(response.date)
    now = clock()
    version = server.check_version(parse_object(response, "/version") or {})
    may_list = all(map(reader.may, installation.MAY_LIST_NAMESPACES))
    listed = list_items(reader, installation.NAMESPACES) if may_list else []
    denied = frozenset(access for access in _needed(listed) if not reader.may(access))
    # Dates are judged by the API server's clock: it is the one that pods and certificates meet.
    cluster = _Cluster(reader, listed, denied, date or now)
    installed = _is_installed(cluster)
    # Where podtls is not installed, only what labelled namespaces need is checked.
    missed = denied if installed else denied.intersection(installation.MAY_READ_ENFORCEMENT)
    findings = [version, server.check_clock(date, now), *server.check_access(missed)]
    if installed:
        findings += [finding for part in _PARTS for finding in part(cluster)]
    else:
        findings.append(warning("installation", "not installed", installation.INSTALL))
    findings += [*_check_namespaces(cluster), *_check_enforcement(cluster)]
    return CheckReport(installed, tuple(findings))


def _needed(listed: Sequence[Object]) -> Iterator[Access]:
    yield from installation.MAY_READ_INSTALLATION
    if any(map(enforcement.is_enforced, listed)):
        yield from installation.MAY_READ_ENFORCEMENT


def _is_installed(cluster: _Cluster) -> bool:
    """Whether anything of podtls is there; what may not be read counts as there."""
    if not cluster.may(*installation.MAY_READ_WEBHOOKS, *installation.MAY_LIST_NAMESPACES):
        return True
    # The right to list namespaces does not include the right to get one.
    names = set(map(name_of, cluster.listed))
    return installation.NAMESPACE in names or cluster.read(installation.MUTATING) is not None


def _check_webhooks(cluster: _Cluster) -> Iterator[CheckFinding]:
    if cluster.may(*installation.MAY_READ_WEBHOOKS):
        yield from webhooks.check_mutating(cluster.read(installation.MUTATING))
        yield from webhooks.check_validating(cluster.read(installation.VALIDATING))


def _check_trust(cluster: _Cluster) -> Iterator[CheckFinding]:
    if not cluster.may(*installation.MAY_READ_BUNDLE):
        return
    found = cluster.read(installation.BUNDLE)
    yield trust.check_bundle(found)
    if cluster.may(*installation.MAY_READ_WEBHOOKS):
        mutating, validating = (cluster.read(path) for path in (installation.MUTATING, installation.VALIDATING))
        yield from trust.check_ca_bundles(trust.parse_bundle(found), mutating, validating)
    yield from trust.check_dates(trust.parse_bundle(found), cluster.now)


def _check_rbac(cluster: _Cluster) -> Iterator[CheckFinding]:
    if cluster.may(*installation.MAY_READ_RBAC):
        shipped = find_shipped(rbac.KINDS)
        yield from rbac.check_rbac([(each, cluster.read(object_path(each))) for each in shipped])


def _check_workloads(cluster: _Cluster) -> Iterator[CheckFinding]:
    if cluster.may(*installation.MAY_READ_WORKLOADS):
        yield from (replicas.check_replicas(each, cluster.read(each.path)) for each in installation.WORKLOADS)
    if cluster.may(*installation.MAY_READ_ENDPOINTS):
        slices = list_items(cluster.reader, installation.SLICES)
        yield from (replicas.check_endpoints(each, slices) for each in _SERVED)


def _check_services(cluster: _Cluster) -> Iterator[CheckFinding]:
    """CA and webhook through the API server: an admin's machine can seldom reach their addresses."""
    if not cluster.may(*installation.MAY_REACH):
        return
    for each in _SERVED:
        name = "ca" if each is installation.CA else "webhook"
        response = _get_proxied(cluster.reader, each, "/readyz")
        if response.status != 200:
            what = f"{each.name} cannot be reached through the API server: {response.status} {_read_message(response)}"
            do = f"kubectl -n {installation.NAMESPACE} logs statefulset/{each.name} --all-containers --tail=20"
            yield problem(name, what, do)
            continue
        yield ok(name, f"{each.name} answers through the API server, and is ready")
        if each is installation.CA:
            roots = trust.parse_bundle(_read_bundle(cluster))
            served = trust.parse_cacerts(_get_proxied(cluster.reader, each, PATH_CACERTS).body)
            yield from trust.check_served(roots, served, cluster.now)


def _get_proxied(reader: ClusterReader, workload: ControlPlaneWorkload, path: str) -> ApiResponse:
    try:
        return reader.get(workload.proxied(path))
    except UnreachableError as error:
        # The API server has answered before, so the service behind it is the one that does not.
        return ApiResponse(504, str(error).encode())


def _read_bundle(cluster: _Cluster) -> Object | None:
    return cluster.read(installation.BUNDLE) if cluster.may(*installation.MAY_READ_BUNDLE) else None


def _read_message(response: ApiResponse) -> str:
    """The message of a metav1.Status, or the beginning of any other body."""
    try:
        found = parse_object(ApiResponse(200, response.body), "")
    except UnreachableError:
        found = None
    return str((found or {}).get("message") or response.body[:200].decode(errors="replace").strip())


def _check_namespaces(cluster: _Cluster) -> list[CheckFinding]:
    if not cluster.may(*installation.MAY_LIST_NAMESPACES, *installation.MAY_READ_WEBHOOKS):
        return []
    return namespaces.check_namespaces(cluster.listed, cluster.read(installation.MUTATING))


def _check_enforcement(cluster: _Cluster) -> Iterator[CheckFinding]:
    enforced = [namespace for namespace in cluster.listed if enforcement.is_enforced(namespace)]
    yield from enforcement.check_unenrolled(enforced)
    if enforced and cluster.may(*installation.MAY_READ_ENFORCEMENT):
        shipped = find_shipped(enforcement.KINDS, ENFORCE)
        policy, binding = (cluster.read(object_path(each)) for each in shipped)
        yield from enforcement.check_enforced(enforced, policy, binding)


_PARTS: Final = (_check_rbac, _check_webhooks, _check_trust, _check_workloads, _check_services)
