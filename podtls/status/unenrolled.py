"""Why a pod has no TLS of podtls: by the webhook's decision, else by what was created first. Pure, over raw JSON."""

from dataclasses import dataclass
from datetime import UTC, datetime

from contract.names import INJECT, INJECT_DISABLED, INJECTED, STATUS
from podtls.check.namespaces import choose_defaults, is_enrolled_namespace
from podtls.check.webhooks import find_entries
from podtls.kubernetes.installation import NAMESPACE
from podtls.kubernetes.objects import Object, annotations_of, labels_of, name_of
from podtls.kubernetes.pods import MANAGED_CONTAINERS, find_container, is_injected
from webhook.decision import Decision, Defaults, Deny, Skip, decide
from webhook.errors import ReviewError
from webhook.request import build_request
from webhook.settings import Policy


@dataclass(frozen=True, slots=True)
class UnenrolledPod:
    """A pod without TLS of podtls, why, and what to do."""

    namespace: str
    name: str
    reason: str
    do: str


@dataclass(frozen=True, slots=True)
class NamespaceAdmission:
    """What admits the pods of a namespace: its object and the webhook configuration.

    Each is None where it may not be read; the configuration is known to be missing if `is_known`.
    """

    namespace: Object | None
    configuration: Object | None
    is_known: bool


def explain_unenrolled(pod: Object, admission: NamespaceAdmission) -> UnenrolledPod:
    """Why a pod has no TLS of podtls."""
    reason, do = _find_reason(pod, admission)
    if "deletionTimestamp" in pod["metadata"]:
        reason, do = f"{reason}; it is terminating", ""
    return UnenrolledPod(pod["metadata"]["namespace"], name_of(pod), reason, do)


def is_enrolled(pod: Object) -> bool:
    """Whether it is injected, and the webhook may have done it."""
    return is_injected(pod) and not _detect_handwritten(pod)


def _detect_handwritten(pod: Object) -> tuple[str, str] | None:
    """Why the webhook cannot have injected an injected pod, and what to do; None where it may have."""
    opted_out = labels_of(pod).get(INJECT) == INJECT_DISABLED
    try:
        decision = _decide(pod, choose_defaults({"metadata": {}}))
    except ReviewError as error:
        return _unreadable(error)
    if isinstance(decision, Skip):
        # A label can be written later; what else makes the webhook skip a pod cannot.
        later = ", unless the label is newer" if opted_out else ""
        do = "remove the label, and recreate it" if opted_out else "take them out of its manifest, and recreate it"
        return f"{decision.reason}; its containers named podtls-... are not the webhook's{later}", do
    # The manifests inject the pods of podtls itself.
    if STATUS not in annotations_of(pod) and pod["metadata"]["namespace"] != NAMESPACE:
        reason = f"has no annotation {STATUS}: somebody removed it, or wrote the containers by hand"
        return reason, "recreate it, without containers named podtls-... in its manifest"
    return None


def _find_reason(pod: Object, admission: NamespaceAdmission) -> tuple[str, str]:
    """By the webhook's own decision and in its words; where it would inject, by what was created first."""
    name = pod["metadata"]["namespace"]
    if is_injected(pod) and (by_hand := _detect_handwritten(pod)):
        return by_hand
    if any(find_container(pod, managed) for managed in MANAGED_CONTAINERS) or INJECTED in labels_of(pod):
        return "has only part of what podtls adds: somebody changed it, and the CA refuses it", "recreate it"
    if admission.namespace is not None and not is_enrolled_namespace(admission.namespace):
        return "its namespace is not enrolled", f"kubectl label namespace {name} {INJECT}=enabled"
    try:
        decision = _decide(pod, choose_defaults(admission.namespace or {"metadata": {}}))
    except ReviewError as error:
        return _unreadable(error)
    if isinstance(decision, Skip):
        return decision.reason, ""
    refused = f"; as it is, it will be refused: {decision.reason}" if isinstance(decision, Deny) else ""
    reason, do = _find_cause(pod, admission)
    return reason, do + refused


def _unreadable(error: ReviewError) -> tuple[str, str]:
    return f"podtls cannot parse this pod: {error}", "please report it"


def _decide(pod: Object, chosen: Defaults) -> Decision:
    return decide(build_request(pod, namespace=pod["metadata"]["namespace"]), chosen, Policy())


def _find_cause(pod: Object, admission: NamespaceAdmission) -> tuple[str, str]:
    """Why a pod that the webhook would inject was not injected when it was created."""
    created = _parse_time(pod["metadata"].get("creationTimestamp", ""))
    if admission.namespace is None or not admission.is_known:
        return "older than label or webhook, or not seen by it (you may not read which)", "recreate it"
    if admission.configuration is None:
        return "podtls is not installed", "podtls check, then recreate it"
    if not find_entries(admission.configuration, admission.namespace):
        return "no entry of the webhook configuration sees its namespace", "podtls check, then recreate it"
    if created < _parse_time(admission.configuration["metadata"].get("creationTimestamp", "")):
        return "older than the webhook configuration", "recreate it"
    labelled = _find_label_time(admission.namespace)
    if labelled is None or created <= labelled:
        return "older than the namespace's label", "recreate it"
    return "the webhook was bypassed", "recreate it, and see who created it in the API server's audit log"


def _find_label_time(namespace: Object) -> datetime | None:
    """When the label was last written, at the latest: a later write of the same manager hides the first one.

    https://kubernetes.io/docs/reference/using-api/server-side-apply/#managed-fields
    """
    times = [
        _parse_time(entry.get("time", ""))
        for entry in namespace["metadata"].get("managedFields") or []
        if f"f:{INJECT}" in entry.get("fieldsV1", {}).get("f:metadata", {}).get("f:labels", {})
    ]
    return max(times, default=None)


def _parse_time(text: str) -> datetime:
    return datetime.fromisoformat(text) if text else datetime.min.replace(tzinfo=UTC)
