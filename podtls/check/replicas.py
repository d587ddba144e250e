"""Checks of our own workloads: replicas ready, endpoints there. Pure."""

from collections.abc import Iterable
from typing import Final

from podtls.check.finding import Finding, ok, problem, warning
from podtls.kubernetes.installation import CA, INSTALL, NAMESPACE, WEBHOOK, Workload
from podtls.kubernetes.reader import Object

_READY: Final = "workloads"
_ENDPOINTS: Final = "endpoints"
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
