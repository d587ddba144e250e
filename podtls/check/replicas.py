"""Checks of the control plane's workloads: replicas are ready, Services have endpoints. Pure."""

from collections.abc import Iterable
from typing import Final

from podtls.check.finding import CheckFinding, ok, problem, warning
from podtls.kubernetes.installation import CA, INSTALL, NAMESPACE, WEBHOOK, ControlPlaneWorkload
from podtls.kubernetes.objects import Object, labels_of

_REPLICAS: Final = "workloads"
_ENDPOINTS: Final = "endpoints"
_SERVICE_NAME: Final = "kubernetes.io/service-name"

_EFFECTS: Final = {
    WEBHOOK.name: "no pod can be created in enrolled namespaces",
    CA.name: "no enrolled pod can start, and no certificate is renewed",
}


def check_replicas(workload: ControlPlaneWorkload, found: Object | None) -> CheckFinding:
    """Whether as many replicas are ready as should be."""
    named = f"{workload.kind} {workload.name}"
    if found is None:
        return problem(_REPLICAS, f"{named} is missing", INSTALL)
    wanted = found["spec"].get("replicas", 1)
    count = (found.get("status") or {}).get("readyReplicas", 0)
    what = f"{named}: {count} of {wanted} ready"
    do = f"kubectl -n {NAMESPACE} describe {workload.kind.lower()} {workload.name}; kubectl -n {NAMESPACE} get pods"
    if not count:
        effect = _EFFECTS.get(workload.name, "nobody renews the authority or publishes what pods trust")
        return problem(_REPLICAS, f"{what}: {effect}", do)
    return ok(_REPLICAS, what) if count >= wanted else warning(_REPLICAS, what, do)


def check_endpoints(workload: ControlPlaneWorkload, slices: Iterable[Object]) -> CheckFinding:
    """Whether the Service of a workload has a ready endpoint."""
    own = [each for each in slices if labels_of(each).get(_SERVICE_NAME) == workload.name]
    addresses = {
        address
        for each in own
        if any(port.get("name") == workload.service for port in each.get("ports") or [])
        for endpoint in each.get("endpoints") or []
        if (endpoint.get("conditions") or {}).get("ready", True)
        for address in endpoint["addresses"]
    }
    if not addresses:
        what = f"Service {workload.name} has no ready endpoint: {_EFFECTS[workload.name]}"
        return problem(_ENDPOINTS, what, f"kubectl -n {NAMESPACE} get endpointslices,pods")
    return ok(_ENDPOINTS, f"Service {workload.name} has {len(addresses)} ready endpoint(s)")
