"""Why a pod has no TLS of ours: by the webhook's own decision, else by what was there first. Pure, over raw JSON."""

from dataclasses import dataclass
from datetime import UTC, datetime

from contract.names import INJECT, INJECT_DISABLED, INJECTED, STATUS
from podtls.check import namespaces, webhooks
from podtls.kubernetes.installation import NAMESPACE
from podtls.kubernetes.pods import OURS, annotations, container, is_injected, labels
from podtls.kubernetes.reader import Object
from podtls.status.surroundings import Surroundings
from webhook.decision import Decision, Defaults, Deny, Skip, decide
from webhook.errors import ReviewError
from webhook.request import build_request
from webhook.settings import Policy


@dataclass(frozen=True, slots=True)
class PlainPod:
    """A pod without TLS of ours, why, and what to do."""

    namespace: str
    name: str
    reason: str
    do: str


def plain(pod: Object, around: Surroundings) -> PlainPod:
    """Why a pod has no TLS of ours."""
    reason, do = _reason(pod, around)
    if "deletionTimestamp" in pod["metadata"]:
        # It goes as it is; whoever follows it is judged anew.
        reason, do = f"{reason}; it is terminating", ""
    return PlainPod(pod["metadata"]["namespace"], pod["metadata"]["name"], reason, do)


def is_enrolled(pod: Object) -> bool:
    """Whether it is injected, and the webhook can have done it."""
    return is_injected(pod) and not _by_hand(pod)


def _by_hand(pod: Object) -> tuple[str, str] | None:
    """Why the webhook cannot have written what an injected pod has of ours, and what to do; None where it can have."""
    opted_out = labels(pod).get(INJECT) == INJECT_DISABLED
    try:
        decision = _decision(pod, namespaces.defaults({"metadata": {}}))
    except ReviewError as error:
        return _unreadable(error)
    if isinstance(decision, Skip):
        # A label can be written later; what else makes the webhook skip a pod cannot.
        later = ", unless the label is newer" if opted_out else ""
        do = "remove the label, and recreate it" if opted_out else "take them out of its manifest, and recreate it"
        return f"{decision.reason}; its containers named podtls-... are not the webhook's{later}", do
    # Our own pods are injected by hand, in the manifests.
    if STATUS not in annotations(pod) and pod["metadata"]["namespace"] != NAMESPACE:
        reason = f"has no annotation {STATUS}: somebody removed it, or wrote the containers by hand"
        return reason, "recreate it, without containers named podtls-... in its manifest"
    return None


def _reason(pod: Object, around: Surroundings) -> tuple[str, str]:
    """By the webhook's own decision, so in the words of its record; where it would inject, by what came first."""
    name = pod["metadata"]["namespace"]
    if is_injected(pod) and (by_hand := _by_hand(pod)):
        return by_hand
    if any(container(pod, ours) for ours in OURS) or INJECTED in labels(pod):
        return "has only part of what podtls adds: somebody changed it, and the CA refuses it", "recreate it"
    if around.namespace is not None and not namespaces.is_enrolled(around.namespace):
        return "its namespace is not enrolled", f"kubectl label namespace {name} {INJECT}=enabled"
    try:
        decision = _decision(pod, namespaces.defaults(around.namespace or {"metadata": {}}))
    except ReviewError as error:
        return _unreadable(error)
    if isinstance(decision, Skip):
        return decision.reason, ""
    refused = f"; as it is, it will be refused: {decision.reason}" if isinstance(decision, Deny) else ""
    reason, do = _cause(pod, around)
    return reason, do + refused


def _unreadable(error: ReviewError) -> tuple[str, str]:
    return f"is no pod that podtls can read: {error}", "report it"


def _decision(pod: Object, chosen: Defaults) -> Decision:
    return decide(build_request(pod, namespace=pod["metadata"]["namespace"]), chosen, Policy())


def _cause(pod: Object, around: Surroundings) -> tuple[str, str]:
    """Why a pod that the webhook would inject was not injected when it was created."""
    created = _time(pod["metadata"].get("creationTimestamp", ""))
    if around.namespace is None or not around.configuration_known:
        return "older than label or webhook, or not seen by it (you may not read which)", "recreate it"
    if around.configuration is None:
        return "podtls is not installed", "podtls check, then recreate it"
    if not webhooks.entries_for(around.configuration, around.namespace):
        return "no entry of the webhook configuration sees its namespace", "podtls check, then recreate it"
    if created < _time(around.configuration["metadata"].get("creationTimestamp", "")):
        return "older than the webhook configuration", "recreate it"
    labelled = _labelled(around.namespace)
    if labelled is None or created <= labelled:
        return "older than the namespace's label", "recreate it"
    return "the webhook was bypassed", "recreate it, and see who created it in the API server's audit log"


def _labelled(namespace: Object) -> datetime | None:
    """When the label was last written, at the latest: a later write of the same manager hides the first one.

    https://kubernetes.io/docs/reference/using-api/server-side-apply/#managed-fields
    """
    times = [
        _time(entry.get("time", ""))
        for entry in namespace["metadata"].get("managedFields") or []
        if f"f:{INJECT}" in entry.get("fieldsV1", {}).get("f:metadata", {}).get("f:labels", {})
    ]
    return max(times, default=None)


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text) if text else datetime.min.replace(tzinfo=UTC)
