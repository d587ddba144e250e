"""Checks of our own objects: workloads ready, endpoints there, accounts and RBAC as the pods need them. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from podtls.cluster.finding import Finding, ok, problem, unless, warning
from podtls.cluster.layout import CA, INSTALL, NAMESPACE, WEBHOOK, Workload
from podtls.cluster.reader import Object

_READY: Final = "workloads"
_ENDPOINTS: Final = "endpoints"
_RBAC: Final = "rbac"
_SERVICE_NAME: Final = "kubernetes.io/service-name"

_EFFECTS: Final = {
    WEBHOOK.name: "no pod can be created in enrolled namespaces",
    CA.name: "no enrolled pod can start, and no certificate is renewed",
}


def ready(workload: Workload, found: Object | None) -> Finding:
    """Whether as many replicas are ready as should be."""
    named = f"{workload.kind} {workload.name}"
    if found is None:
        return problem(_READY, f"{named} is missing", INSTALL)
    wanted = found["spec"].get("replicas", 1)
    count = (found.get("status") or {}).get("readyReplicas", 0)
    what = f"{named}: {count} of {wanted} ready"
    do = f"kubectl -n {NAMESPACE} describe {workload.kind.lower()} {workload.name}; kubectl -n {NAMESPACE} get pods"
    if not count:
        effect = _EFFECTS.get(workload.name, "nobody renews the authority or publishes what pods trust")
        return problem(_READY, f"{what}: {effect}", do)
    return ok(_READY, what) if count >= wanted else warning(_READY, what, do)


def endpoints(workload: Workload, slices: Iterable[Object]) -> Finding:
    """Whether the Service of a workload leads anywhere."""
    ours = [each for each in slices if (each["metadata"].get("labels") or {}).get(_SERVICE_NAME) == workload.name]
    addresses = {
        address
        for each in ours
        if any(port.get("name") == workload.service for port in each.get("ports") or [])
        for endpoint in each.get("endpoints") or []
        if (endpoint.get("conditions") or {}).get("ready", True)
        for address in endpoint["addresses"]
    }
    if not addresses:
        what = f"Service {workload.name} has no ready endpoint: {_EFFECTS[workload.name]}"
        return problem(_ENDPOINTS, what, f"kubectl -n {NAMESPACE} get endpointslices,pods")
    return ok(_ENDPOINTS, f"Service {workload.name} has {len(addresses)} ready endpoint(s)")


def rbac(
    accounts: Mapping[tuple[str, str], Object | None],
    roles: Mapping[tuple[str, str], Object | None],
    bindings: Mapping[tuple[str, str], Object | None],
) -> list[Finding]:
    """Whether what our pods act as and may do is there, and each binding still binds the two."""
    objects = {**accounts, **roles, **bindings}
    missing = [
        problem(_RBAC, f"{kind} {name} is missing", INSTALL) for (kind, name), found in objects.items() if not found
    ]
    return unless(
        [*missing, *_unbound(bindings)], _RBAC, f"{len(objects)} ServiceAccounts, roles and bindings are there"
    )


def _unbound(bindings: Mapping[tuple[str, str], Object | None]) -> Iterator[Finding]:
    for (kind, name), found in bindings.items():
        if found is None:
            continue
        role = (found["roleRef"]["kind"], found["roleRef"]["name"])
        subjects = [
            (subject["kind"], subject.get("namespace"), subject["name"]) for subject in found.get("subjects") or []
        ]
        if role != (kind.removesuffix("Binding"), name) or ("ServiceAccount", NAMESPACE, name) not in subjects:
            what = f"{kind} {name} does not give ServiceAccount {name} its role"
            yield problem(_RBAC, what, f"kubectl delete {kind.lower()} {name} and {INSTALL}")
        if len(subjects) > 1:
            what = f"{kind} {name} gives our role to others, too: {len(subjects)} subjects"
            yield warning(_RBAC, what, "remove those that are not ours")
