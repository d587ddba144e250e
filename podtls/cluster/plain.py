"""Why a pod has no TLS of ours: by the webhook's own decision, else by what was there first. Pure, over raw JSON."""

from dataclasses import dataclass
from datetime import UTC, datetime

from injector import contract
from podtls.cluster import namespaces, webhooks
from podtls.cluster.raw_pods import OURS, container, labels
from podtls.cluster.reader import Object
from podtls.cluster.surroundings import Surroundings
from webhook.decision import Deny, Skip, decide
from webhook.errors import ReviewError
from webhook.review import request_for
from webhook.settings import PodSettings


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


def _reason(pod: Object, around: Surroundings) -> tuple[str, str]:
    """By the webhook's own decision, so in the words of its record; where it would inject, by what came first."""
    name = pod["metadata"]["namespace"]
    if any(container(pod, ours) for ours in OURS) or contract.INJECTED in labels(pod):
        return "has only part of what podtls adds: somebody changed it, and the CA refuses it", "recreate it"
    if around.namespace is not None and not namespaces.is_enrolled(around.namespace):
        return "its namespace is not enrolled", f"kubectl label namespace {name} {contract.INJECT}=enabled"
    try:
        request = request_for(pod, namespace=name)
    except ReviewError as error:
        return f"is no pod that podtls can read: {error}", "report it"
    chosen = namespaces.defaults(around.namespace or {"metadata": {}})
    decision = decide(request, chosen, PodSettings(image="any", trust_bundle=""))
    if isinstance(decision, Skip):
        return decision.reason, ""
    refused = f"; as it is, it will be refused: {decision.reason}" if isinstance(decision, Deny) else ""
    reason, do = _cause(pod, around)
    return reason, do + refused


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
        if f"f:{contract.INJECT}" in entry.get("fieldsV1", {}).get("f:metadata", {}).get("f:labels", {})
    ]
    return max(times, default=None)


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text) if text else datetime.min.replace(tzinfo=UTC)
