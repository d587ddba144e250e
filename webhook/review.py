"""AdmissionReview <-> values: what comes in is parsed strictly, what goes out is built here. No policy, no HTTP.

https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/#webhook-request-and-response
"""

import base64
import re
from collections.abc import Sequence
from typing import Any, Final

import msgspec
import orjson

from webhook import pods
from webhook.decision import Decision
from webhook.errors import ReviewError, ReviewTooLargeError, shown
from webhook.injection import kept_record
from webhook.jsonpatch import Operation
from webhook.pods import AdmissionRequest, Flat, WirePod

# The audit annotations that name our record: in the API server's audit log as <webhook>/record.
RECORD: Final = "record"
LATER_RECORD: Final = "later-record"

_API_VERSION: Final = "admission.k8s.io/v1"
# A namespace goes into names that Nginx reads (RFC 1123 label).
NAMESPACE: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
# Who asks and who owns the Pod are written to the log as they are; the log is not for whoever has the largest of them.
_MAX_EVIDENCE: Final = 128 * 1024
# The API server shortens warnings above 256 characters, and drops all of them when they are more than 4 KiB.
_MAX_WARNING: Final = 256
_MAX_WARNINGS: Final = 12


class _Kind(msgspec.Struct, frozen=True):
    group: str | None = None
    version: str | None = None
    kind: str | None = None


class _WireRequest(msgspec.Struct, frozen=True, rename="camel"):
    uid: str | None = None
    kind: _Kind | None = None
    sub_resource: str | None = None
    operation: str | None = None
    namespace: str | None = None
    name: str | None = None
    dry_run: bool | None = None
    user_info: dict[str, Flat] | None = None
    object: WirePod | None = None


class _WireReview(msgspec.Struct, frozen=True, rename="camel"):
    api_version: str | None = None
    kind: str | None = None
    request: _WireRequest | None = None


_REVIEWS: Final = msgspec.json.Decoder(_WireReview)


def parse(body: bytes) -> AdmissionRequest:
    """Returns the Pod CREATE in an AdmissionReview v1. Of a duplicate key the last one counts, as in Go.

    Raises ReviewError saying what is wrong: no JSON, another version, kind or operation, a field of the wrong type.
    """
    try:
        review = _REVIEWS.decode(body)
        _check_envelope(review)
        return _checked_size(_from_wire(review.request or _WireRequest()))
    # Nesting beyond the interpreter's limit is the sender's fault, not ours.
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ReviewError(f"not an AdmissionReview of a Pod: {error}") from error


def request_for(raw: dict[str, Any], *, namespace: str) -> AdmissionRequest:
    """Returns the request that a Pod or pod template at hand would become; `raw` is as the user wrote it.

    Raises ReviewError naming the field that is not a Pod's, or the namespace that is none.
    """
    _check(NAMESPACE.fullmatch(namespace), "namespace", namespace, "an RFC 1123 label")
    pod = pods.from_raw(raw)
    return AdmissionRequest(uid="", namespace=namespace, name=pod.name, dry_run=False, user_info={}, pod=pod)


def respond(request: AdmissionRequest, decision: Decision, operations: Sequence[Operation], record_id: str) -> bytes:
    """Returns the AdmissionReview that answers: allowed or not and why, the patch, warnings, audit annotations."""
    response: dict[str, Any] = {
        "uid": request.uid,
        "allowed": decision.allowed,
        "auditAnnotations": {
            "decision": decision.kind,
            "reason": decision.reason,
            _record_key(request): record_id,
        },
    }
    if not decision.allowed:
        message = f"podtls: {decision.reason}"
        response["status"] = {"status": "Failure", "message": message, "reason": "Forbidden", "code": 403}
    if warnings := all_warnings(decision, operations):
        response["warnings"] = _shortened(warnings)
    if operations:
        patch = orjson.dumps([operation.to_json() for operation in operations])
        response |= {"patchType": "JSONPatch", "patch": base64.b64encode(patch).decode("ascii")}
    return _encoded(response)


def allow(uid: str, warnings: Sequence[str]) -> bytes:
    """Returns the AdmissionReview that lets an object pass as it is, with warnings for whoever sent it."""
    response: dict[str, Any] = {"uid": uid, "allowed": True}
    if warnings:
        response["warnings"] = _shortened(warnings)
    return _encoded(response)


def all_warnings(decision: Decision, operations: Sequence[Operation]) -> list[str]:
    """Returns what the user is warned of: by the decision, and for each entry that was replaced or removed.

    As many as the API server shows, and how many more there are: the log holds no more than that either.
    """
    found = [*decision.warnings, *(operation.note for operation in operations if operation.note)]
    if len(found) <= _MAX_WARNINGS:
        return found
    return [*found[: _MAX_WARNINGS - 1], f"podtls: and {len(found) - _MAX_WARNINGS + 1} more warnings"]


def _record_key(request: AdmissionRequest) -> str:
    # The API server keeps the first value of a key: in a reinvocation the id under the same key would be lost.
    return LATER_RECORD if kept_record(request.pod) else RECORD


def _shortened(warnings: Sequence[str]) -> list[str]:
    return [warning[:_MAX_WARNING] for warning in warnings[:_MAX_WARNINGS]]


def _encoded(response: dict[str, Any]) -> bytes:
    return orjson.dumps({"apiVersion": _API_VERSION, "kind": "AdmissionReview", "response": response})


def _check_envelope(review: _WireReview) -> None:
    kind = f"{review.api_version} {review.kind}"
    _check(kind == f"{_API_VERSION} AdmissionReview", "AdmissionReview", kind, f"{_API_VERSION} AdmissionReview")
    request = review.request
    if request is None:
        raise ReviewError("request: missing")
    _check(request.uid, "request.uid", request.uid, "the uid of the review")
    _check(request.operation == "CREATE", "request.operation", request.operation, "CREATE")
    resource = request.kind or _Kind()
    named = f"{resource.group or 'core'}/{resource.version} {resource.kind}"
    _check(named == "core/v1 Pod", "request.kind", named, "core/v1 Pod")
    _check(not request.sub_resource, "request.subResource", request.sub_resource, "none")
    _check(NAMESPACE.fullmatch(request.namespace or ""), "request.namespace", request.namespace, "an RFC 1123 label")
    if request.object is None:
        raise ReviewError("request.object: missing")
    objects = f"{request.object.api_version} {request.object.kind}"
    _check(objects == "v1 Pod", "request.object", objects, "v1 Pod")


def _from_wire(request: _WireRequest) -> AdmissionRequest:
    assert request.object is not None
    pod = pods.from_wire(request.object)
    return AdmissionRequest(
        uid=request.uid or "",
        namespace=request.namespace or "",
        name=request.name or pod.name,
        dry_run=bool(request.dry_run),
        user_info=request.user_info or {},
        pod=pod,
    )


def _checked_size(request: AdmissionRequest) -> AdmissionRequest:
    pod = request.pod
    names = [request.uid, request.name, pod.name, pod.generate_name, pod.service_account]
    size = len(msgspec.json.encode([names, pod.owners, request.user_info]))
    if size > _MAX_EVIDENCE:
        raise ReviewTooLargeError(f"uid, names, ownerReferences and userInfo: {size} bytes, allowed {_MAX_EVIDENCE}")
    return request


def _check(ok: object, field: str, got: object, expected: str) -> None:
    if not ok:
        raise ReviewError(f"{field}: got {shown(got)}, expected {expected}")
