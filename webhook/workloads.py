"""Workloads, before there are pods of them: the same `decide` on their pod template, told as warnings.

A controller's pods are refused where nobody looks; the person who applies a Deployment reads warnings. Pure, and no
answer of this room ever refuses: nothing is patched here, so nothing is recorded as evidence.
"""

from dataclasses import dataclass
from typing import Final

import msgspec

from webhook import pods
from webhook.decision import Defaults, Deny, Inject, Skip, decide
from webhook.errors import ReviewError
from webhook.pods import AdmissionRequest, WirePod
from webhook.review import NAMESPACE, allow
from webhook.settings import PodSettings

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
    """A workload that somebody creates or changes: the uid of its review, and its pods as they would be asked for."""

    uid: str
    kind: str
    pods: AdmissionRequest


def parse_workload(body: bytes) -> Workload:
    """Returns the workload in an AdmissionReview v1; raises ReviewError saying what is wrong."""
    try:
        request = _REVIEWS.decode(body).request
        template = _template(request.object)
        pod = pods.from_wire(template)
    # Nesting beyond the interpreter's limit is the sender's fault, not ours.
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ReviewError(f"not an AdmissionReview of a workload: {error}") from error
    if not NAMESPACE.fullmatch(request.namespace):
        raise ReviewError("request.namespace: expected an RFC 1123 label")
    asked = AdmissionRequest(
        uid=request.uid, namespace=request.namespace, name="", dry_run=False, user_info={}, pod=pod
    )
    return Workload(request.uid, request.object.kind, asked)


def warn(workload: Workload, defaults: Defaults, settings: PodSettings) -> bytes:
    """Returns the AdmissionReview that answers: always allowed, with what will become of the workload's pods."""
    decision = decide(workload.pods, defaults, settings)
    match decision:
        case Deny():
            warnings = [f"podtls: pods of this {workload.kind} will be refused: {decision.reason}"]
        case Inject() | Skip():
            warnings = list(decision.warnings)
    return allow(workload.uid, warnings)


def _template(workload: _Object) -> WirePod:
    job = workload.spec.job_template
    template = job.spec.template if job else workload.spec.template
    if workload.kind not in _KINDS or template is None:
        raise ReviewError(f"request.object: expected {', '.join(sorted(_KINDS))} with a pod template")
    return template
