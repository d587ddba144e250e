"""The AdmissionReview that comes in, parsed strictly into an AdmissionRequest. No policy, no HTTP.

https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/#webhook-request-and-response
"""

from dataclasses import dataclass
from typing import Any, Final

import msgspec

from contract.dns import is_label
from webhook.errors import ReviewError, ReviewTooLargeError, quote
from webhook.pods import Flat, Pod, WirePod, flatten_pod, parse_pod

API_VERSION: Final = "admission.k8s.io/v1"
# The requester and the owners of the Pod are written to the log as they are; no sender may fill it.
_MAX_EVIDENCE: Final = 128 * 1024


@dataclass(frozen=True, slots=True)
class AdmissionRequest:
    """The Pod CREATE that somebody asks for. `user_info` is verbatim, for the record only."""

    uid: str
    namespace: str
    name: str
    dry_run: bool
    user_info: dict[str, Any]
    pod: Pod


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


def parse_request(body: bytes) -> AdmissionRequest:
    """Returns the Pod CREATE in an AdmissionReview v1. Of a duplicate key the last one counts, as in Go.

    Raises ReviewError saying what is wrong: not JSON, another version, kind or operation, a field of the wrong type.
    """
    try:
        review = _REVIEWS.decode(body)
        _check_envelope(review)
        request = _flatten_request(review.request or _WireRequest())
    # Nesting beyond the interpreter's limit is the sender's fault, not ours.
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ReviewError(f"not an AdmissionReview of a Pod: {error}") from error
    _check_size(request)
    return request


def build_request(raw: dict[str, Any], *, namespace: str) -> AdmissionRequest:
    """Returns the request that a Pod or pod template at hand would become; `raw` is as the user wrote it.

    Raises ReviewError naming the field that is not a Pod's, or the namespace that is malformed.
    """
    _check(is_label(namespace), "namespace", namespace, "an RFC 1123 label")
    pod = parse_pod(raw)
    return AdmissionRequest(uid="", namespace=namespace, name=pod.name, dry_run=False, user_info={}, pod=pod)


def _check_envelope(review: _WireReview) -> None:
    kind = f"{review.api_version} {review.kind}"
    _check(kind == f"{API_VERSION} AdmissionReview", "AdmissionReview", kind, f"{API_VERSION} AdmissionReview")
    request = review.request
    if request is None:
        raise ReviewError("request: missing")
    _check(request.uid, "request.uid", request.uid, "the uid of the review")
    _check(request.operation == "CREATE", "request.operation", request.operation, "CREATE")
    resource = request.kind or _Kind()
    named = f"{resource.group or 'core'}/{resource.version} {resource.kind}"
    _check(named == "core/v1 Pod", "request.kind", named, "core/v1 Pod")
    _check(not request.sub_resource, "request.subResource", request.sub_resource, "none")
    # It goes into names that Nginx reads.
    _check(is_label(request.namespace or ""), "request.namespace", request.namespace, "an RFC 1123 label")
    if request.object is None:
        raise ReviewError("request.object: missing")
    objects = f"{request.object.api_version} {request.object.kind}"
    _check(objects == "v1 Pod", "request.object", objects, "v1 Pod")


def _flatten_request(request: _WireRequest) -> AdmissionRequest:
    assert request.object is not None
    pod = flatten_pod(request.object)
    return AdmissionRequest(
        uid=request.uid or "",
        namespace=request.namespace or "",
        name=request.name or pod.name,
        dry_run=bool(request.dry_run),
        user_info=request.user_info or {},
        pod=pod,
    )


def _check_size(request: AdmissionRequest) -> None:
    pod = request.pod
    names = [request.uid, request.name, pod.name, pod.generate_name, pod.service_account]
    size = len(msgspec.json.encode([names, pod.owners, request.user_info]))
    if size > _MAX_EVIDENCE:
        raise ReviewTooLargeError(f"uid, names, ownerReferences and userInfo: {size} bytes, allowed {_MAX_EVIDENCE}")


def _check(ok: object, field: str, got: object, expected: str) -> None:
    if not ok:
        raise ReviewError(f"{field}: got {quote(got)}, expected {expected}")
