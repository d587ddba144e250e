"""check(): asks the cluster everything that `podtls check` looks at, part by part, and hands it to the pure checks.

A part that the caller may not read is a finding, not a silence.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from contract.names import PATH_CACERTS
from podtls.check import enforcement, namespaces, rbac, replicas, server, trust, webhooks
from podtls.check.finding import Finding, Report, ok, problem, warning
from podtls.errors import UnreachableError
from podtls.kubernetes import installation
from podtls.kubernetes.installation import Workload
from podtls.kubernetes.reader import Access, Answer, ClusterReader, Object, items, parse, read

_DOORS: Final = (installation.CA, installation.WEBHOOK)


@dataclass(frozen=True, slots=True)
class _Cluster:
    """The cluster with what the caller may read of it, and the time it is there; its namespaces, if they are read."""

    reader: ClusterReader
    listed: Sequence[Object]
    denied: frozenset[Access]
    now: datetime

    def may(self, *needed: Access) -> bool:
        return self.denied.isdisjoint(needed)


def check(reader: ClusterReader, clock: Callable[[], datetime]) -> Report:
    """Every finding. Raises UnreachableError, CredentialsError or ForbiddenError when nothing can be checked."""
    answer = reader.get("/version")
    date = server.parse_date(answer.date)
    now = clock()
    version = server.version(parse(answer, "/version") or {})
    listed = items(reader, installation.NAMESPACES) if all(map(reader.may, installation.MAY_LIST_NAMESPACES)) else []
    denied = frozenset(access for access in _needed(listed) if not reader.may(access))
    # Dates are judged by the API server's clock: it is the one that pods and certificates meet.
    cluster = _Cluster(reader, listed, denied, date or now)
    installed = _is_installed(cluster)
    # Before there is anything of ours, only what namespaces wait for is asked.
    missed = denied if installed else denied.intersection(installation.MAY_READ_ENFORCEMENT)
    findings = [version, server.clock(date, now), *server.access(missed)]
    if installed:
        findings += [finding for part in _PARTS for finding in part(cluster)]
    else:
        findings.append(warning("installation", "not installed", installation.INSTALL))
    findings += [*_namespaces(cluster), *_enforcement(cluster)]
    return Report(installed, tuple(findings))


def _needed(listed: Sequence[Object]) -> Iterator[Access]:
    yield from installation.MAY_LIST_NAMESPACES
    yield from installation.MAY_READ_WEBHOOKS
    yield from installation.MAY_READ_BUNDLE
    yield from installation.MAY_READ_WORKLOADS
    yield from installation.MAY_READ_ENDPOINTS
    yield from installation.MAY_READ_RBAC
    yield from installation.MAY_REACH
    if any(map(enforcement.is_enforced, listed)):
        yield from installation.MAY_READ_ENFORCEMENT


def _is_installed(cluster: _Cluster) -> bool:
    """Whether there is anything of ours; what may not be seen may be there."""
    if not cluster.may(*installation.MAY_READ_WEBHOOKS, *installation.MAY_LIST_NAMESPACES):
        return True
    # Whoever may list namespaces may not therefore get one.
    names = {namespace["metadata"]["name"] for namespace in cluster.listed}
    return installation.NAMESPACE in names or read(cluster.reader, installation.MUTATING) is not None


def _webhooks(cluster: _Cluster) -> Iterator[Finding]:
    if cluster.may(*installation.MAY_READ_WEBHOOKS):
        yield from webhooks.mutating(read(cluster.reader, installation.MUTATING))
        yield from webhooks.validating(read(cluster.reader, installation.VALIDATING))


def _trust(cluster: _Cluster) -> Iterator[Finding]:
    if not cluster.may(*installation.MAY_READ_BUNDLE):
        return
    found = read(cluster.reader, installation.BUNDLE)
    yield trust.bundle(found)
    if cluster.may(*installation.MAY_READ_WEBHOOKS):
        mutating, validating = (read(cluster.reader, path) for path in (installation.MUTATING, installation.VALIDATING))
        yield from trust.ca_bundles(trust.bundle_of(found), mutating, validating)
    yield from trust.dates(trust.bundle_of(found), cluster.now)


def _rbac(cluster: _Cluster) -> Iterator[Finding]:
    if cluster.may(*installation.MAY_READ_RBAC):
        tables = (installation.ACCOUNTS, installation.ROLES, installation.BINDINGS)
        yield from rbac.rbac(*({key: read(cluster.reader, path) for key, path in table.items()} for table in tables))


def _workloads(cluster: _Cluster) -> Iterator[Finding]:
    if cluster.may(*installation.MAY_READ_WORKLOADS):
        yield from (replicas.ready(each, read(cluster.reader, each.path)) for each in installation.WORKLOADS)
    if cluster.may(*installation.MAY_READ_ENDPOINTS):
        slices = items(cluster.reader, installation.SLICES)
        yield from (replicas.endpoints(each, slices) for each in _DOORS)


def _doors(cluster: _Cluster) -> Iterator[Finding]:
    """CA and webhook, as the API server reaches them: their addresses are seldom reachable from an admin's machine."""
    if not cluster.may(*installation.MAY_REACH):
        return
    for each in _DOORS:
        name = "ca" if each is installation.CA else "webhook"
        answer = _proxied(cluster.reader, each, "/readyz")
        if answer.status != 200:
            what = f"{each.name} cannot be reached through the API server: {answer.status} {_said(answer)}"
            do = f"kubectl -n {installation.NAMESPACE} logs statefulset/{each.name} --all-containers --tail=20"
            yield problem(name, what, do)
            continue
        yield ok(name, f"{each.name} answers through the API server, and is ready")
        if each is installation.CA:
            roots = trust.bundle_of(_published(cluster))
            served = trust.parse_cacerts(_proxied(cluster.reader, each, PATH_CACERTS).body)
            yield from trust.served(roots, served, cluster.now)


def _proxied(reader: ClusterReader, workload: Workload, path: str) -> Answer:
    try:
        return reader.get(workload.proxied(path))
    except UnreachableError as error:
        # The API server has answered before: it is the way behind it that does not.
        return Answer(504, str(error).encode())


def _published(cluster: _Cluster) -> dict[str, object] | None:
    return read(cluster.reader, installation.BUNDLE) if cluster.may(*installation.MAY_READ_BUNDLE) else None


def _said(answer: Answer) -> str:
    """The message of a Status, or the beginning of a body that is none."""
    try:
        found = parse(Answer(200, answer.body), "")
    except UnreachableError:
        found = None
    return str((found or {}).get("message") or answer.body[:200].decode(errors="replace").strip())


def _namespaces(cluster: _Cluster) -> list[Finding]:
    if not cluster.may(*installation.MAY_LIST_NAMESPACES, *installation.MAY_READ_WEBHOOKS):
        return []
    return namespaces.namespaces(cluster.listed, read(cluster.reader, installation.MUTATING))


def _enforcement(cluster: _Cluster) -> Iterator[Finding]:
    enforced = [namespace for namespace in cluster.listed if enforcement.is_enforced(namespace)]
    yield from enforcement.unenrolled(enforced)
    if enforced and cluster.may(*installation.MAY_READ_ENFORCEMENT):
        objects = {key: read(cluster.reader, path) for key, path in installation.ENFORCEMENT.items()}
        yield from enforcement.enforced(enforced, objects)


_PARTS: Final = (_rbac, _webhooks, _trust, _workloads, _doors)
