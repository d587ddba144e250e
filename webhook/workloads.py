"""Workloads, before they have pods: the same `decide` on their pod template gives warnings, never a refusal. Pure.

When a controller creates a pod that is refused, nobody sees the message; the person who applies a Deployment sees
warnings. Nothing is patched here, so nothing is recorded as evidence.
"""

from dataclasses import dataclass
from typing import Final

import msgspec

from contract.dns import is_label
from webhook.decision import Defaults, Deny, Inject, Skip, decide
from webhook.errors import ReviewError
from webhook.pods import WirePod, flatten_pod
from webhook.request import AdmissionRequest
from webhook.response import allow_with_warnings
from webhook.settings import Policy

_KINDS: Final = frozenset({"Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob"})


class _JobSpec(msgspec.Struct, frozen=True):
    template: WirePod


class _JobTemplate(msgspec.Struct, frozen=True):
    spec: _JobSpec


class _Spec(msgspec.Struct, frozen=True, rename="camel"):
    template: WirePod | None = None
    job_template: _JobTemplate | None = None


class _Object(msgspec.Struct, frozen=True):
    kind: str
    spec: _Spec


class _Request(msgspec.Struct, frozen=True):
    uid: str
    namespace: str
    object: _Object


class _Review(msgspec.Struct, frozen=True):
    request: _Request


_REVIEWS: Final = msgspec.json.Decoder(_Review)


@dataclass(frozen=True, slots=True)
class Workload:
    """A workload that somebody creates or changes: the uid of its review, and the request that its pods would make."""

    uid: str
    kind: str
    pods: AdmissionRequest


def parse_workload(body: bytes) -> Workload:
    """Returns the workload in an AdmissionReview v1; raises ReviewError saying what is wrong."""
    try:
        request = _REVIEWS.decode(body).request
        pod = flatten_pod(_find_template(request.object))
    # Nesting beyond the interpreter's limit is the sender's fault, not ours.
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ReviewError(f"not an AdmissionReview of a workload: {error}") from error
    if not is_label(request.namespace):
        raise ReviewError("request.namespace: expected an RFC 1123 label")
    pods = AdmissionRequest(uid=request.uid, namespace=request.namespace, name="", dry_run=False, user_info={}, pod=pod)
    return Workload(request.uid, request.object.kind, pods)


def warn_of_pods(workload: Workload, defaults: Defaults, policy: Policy) -> bytes:
    """Returns the AdmissionReview that answers: always allowed, with warnings of what its pods will meet."""
    decision = decide(workload.pods, defaults, policy)
    match decision:
        case Deny():
            warnings = [f"podtls: pods of this {workload.kind} will be refused: {decision.reason}"]
        case Inject() | Skip():
            warnings = list(decision.warnings)
    return allow_with_warnings(workload.uid, warnings)


def _find_template(workload: _Object) -> WirePod:
    job = workload.spec.job_template
    template = job.spec.template if job else workload.spec.template
    if workload.kind not in _KINDS or template is None:
        raise ReviewError(f"request.object: expected {', '.join(sorted(_KINDS))} with a pod template")
    return template
