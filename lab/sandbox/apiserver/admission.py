"""Mutating admission as kube-apiserver does it: which webhooks see a pod, what they get, which responses count.

Source: Kubernetes "Dynamic Admission Control", admissionregistration.k8s.io/v1; AdmissionReview v1.
The wire is webhook_client.py's.
"""

import base64
import binascii
import copy
import json
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import jsonpatch

from lab.sandbox.apiserver.store import Object
from lab.sandbox.errors import AdmissionError, ManifestError, WebhookCallError
from podtls.errors import SelectorError
from podtls.kubernetes.selectors import Labels, matches

REVIEW_VERSION: Final = "admission.k8s.io/v1"
_POD_KIND: Final = {"group": "", "version": "v1", "kind": "Pod"}
_POD_RESOURCE: Final = {"group": "", "version": "v1", "resource": "pods"}


@dataclass(frozen=True, slots=True)
class WebhookEntry:
    """One entry of a MutatingWebhookConfiguration, as far as a Pod CREATE needs it."""

    name: str
    namespace: str
    service: str
    port: int
    path: str
    ca_bundle: str
    timeout_seconds: int
    failure_policy: str
    namespace_selector: Mapping[str, Any]
    rules: tuple[Mapping[str, Any], ...]

    @property
    def server_name(self) -> str:
        """The name that the server's certificate must carry; also SNI and Host."""
        return f"{self.service}.{self.namespace}.svc"


class ReviewSender(Protocol):
    """Carries a review to a webhook."""

    def send(self, webhook: WebhookEntry, body: bytes) -> bytes:
        """The body of the 200 response. Raises WebhookCallError when there is none."""
        ...


@dataclass(frozen=True, slots=True)
class Admitted:
    """A pod after admission; called is None when no webhook chose it."""

    pod: Object
    called: WebhookEntry | None = None
    review: Object = field(default_factory=dict)
    operations: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    audit_annotations: Mapping[str, str] = field(default_factory=dict)


def parse_configuration(raw: Mapping[str, Any]) -> tuple[WebhookEntry, ...]:
    """The entries of a MutatingWebhookConfiguration.

    Raises ManifestError for one without a caBundle or with an unknown failurePolicy.
    """
    return tuple(_parse_webhook(entry) for entry in raw["webhooks"])


def choose_webhooks(webhooks: Iterable[WebhookEntry], namespace: Labels) -> tuple[WebhookEntry, ...]:
    """The entries that are called for the creation of a pod in a namespace with these labels, in order.

    Raises ManifestError for a selector that the API server would not have stored.
    """
    return tuple(
        webhook
        for webhook in webhooks
        if any(map(_covers_pod_creation, webhook.rules)) and _selects(webhook, namespace)
    )


def admit(
    pod: Object, user_info: Mapping[str, Any], webhooks: Iterable[WebhookEntry], sender: ReviewSender
) -> Admitted:
    """Ask each webhook in turn and apply its patch.

    Raises AdmissionError when one denies, or when its response does not count and its failurePolicy is Fail.
    """
    admitted = Admitted(pod)
    for webhook in webhooks:
        try:
            admitted = _call(webhook, admitted.pod, user_info, sender)
        except WebhookCallError as error:
            if webhook.failure_policy == "Fail":
                raise AdmissionError(
                    f'Internal error occurred: failed calling webhook "{webhook.name}": {error}'
                ) from error
    return admitted


def review_of(pod: Object, user_info: Mapping[str, Any]) -> Object:
    """The AdmissionReview of a Pod CREATE. A pod that has only a generateName has no name here either."""
    metadata = pod["metadata"]
    request = {
        "uid": str(uuid.uuid4()),
        "kind": _POD_KIND,
        "resource": _POD_RESOURCE,
        "requestKind": _POD_KIND,
        "requestResource": _POD_RESOURCE,
        **({"name": metadata["name"]} if metadata.get("name") else {}),
        "namespace": metadata["namespace"],
        "operation": "CREATE",
        "userInfo": user_info,
        "object": pod,
        "oldObject": None,
        "dryRun": False,
        "options": {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1"},
    }
    return {"kind": "AdmissionReview", "apiVersion": REVIEW_VERSION, "request": request}


def _parse_webhook(entry: Mapping[str, Any]) -> WebhookEntry:
    service = entry["clientConfig"]["service"]
    policy = entry.get("failurePolicy", "Fail")
    if policy not in {"Fail", "Ignore"}:
        raise ManifestError(f"webhook {entry['name']}: failurePolicy {policy!r} is neither Fail nor Ignore")
    try:
        ca_bundle = base64.b64decode(entry["clientConfig"]["caBundle"], validate=True).decode("ascii")
    except (KeyError, binascii.Error, UnicodeDecodeError) as error:
        raise ManifestError(f"webhook {entry['name']}: caBundle is not base64 of PEM") from error
    return WebhookEntry(
        name=entry["name"],
        namespace=service["namespace"],
        service=service["name"],
        port=service.get("port", 443),
        path=service.get("path", "/"),
        ca_bundle=ca_bundle,
        timeout_seconds=entry.get("timeoutSeconds", 10),
        failure_policy=policy,
        namespace_selector=entry.get("namespaceSelector") or {},
        rules=tuple(entry["rules"]),
    )


def _selects(webhook: WebhookEntry, namespace: Labels) -> bool:
    try:
        return matches(webhook.namespace_selector, namespace)
    except SelectorError as error:
        raise ManifestError(f"webhook {webhook.name}: namespaceSelector: {error}") from error


def _covers_pod_creation(rule: Mapping[str, Any]) -> bool:
    return (
        bool({"CREATE", "*"} & set(rule["operations"]))
        and bool({"", "*"} & set(rule["apiGroups"]))
        and bool({"v1", "*"} & set(rule["apiVersions"]))
        and bool({"pods", "*", "*/*"} & set(rule["resources"]))
        and rule.get("scope", "*") in {"Namespaced", "*"}
    )


def _call(webhook: WebhookEntry, pod: Object, user_info: Mapping[str, Any], sender: ReviewSender) -> Admitted:
    review = review_of(pod, user_info)
    body = sender.send(webhook, json.dumps(review, separators=(",", ":")).encode())
    response = _verified_response(body, review["request"]["uid"])
    if not response["allowed"]:
        message = (response.get("status") or {}).get("message") or "without explanation"
        raise AdmissionError(f'admission webhook "{webhook.name}" denied the request: {message}')
    operations = _operations(response)
    return Admitted(
        pod=_patched(pod, operations),
        called=webhook,
        review=review,
        operations=operations,
        warnings=list(response.get("warnings") or []),
        audit_annotations={
            f"{webhook.name}/{key}": value for key, value in (response.get("auditAnnotations") or {}).items()
        },
    )


def _verified_response(body: bytes, uid: str) -> dict[str, Any]:
    """What VerifyAdmissionResponse of the API server checks."""
    try:
        review = json.loads(body)
        kind = (review["apiVersion"], review["kind"])
        response: dict[str, Any] = review["response"]
        given_uid, _ = response["uid"], response["allowed"]
    except (ValueError, KeyError, TypeError) as error:
        raise WebhookCallError(f"received invalid webhook response: {error!r}") from error
    if kind != (REVIEW_VERSION, "AdmissionReview"):
        raise WebhookCallError(f"expected webhook response of {REVIEW_VERSION} AdmissionReview, got {kind}")
    if given_uid != uid:
        raise WebhookCallError(f"expected response.uid {uid!r}, got {given_uid!r}")
    return response


def _operations(response: Mapping[str, Any]) -> list[dict[str, Any]]:
    if ("patch" in response) != ("patchType" in response):
        raise WebhookCallError("webhook returned response.patch without response.patchType, or the reverse")
    if "patch" not in response:
        return []
    if response["patchType"] != "JSONPatch":
        raise WebhookCallError(f"webhook returned invalid response.patchType of {response['patchType']!r}")
    try:
        operations: list[dict[str, Any]] = json.loads(base64.b64decode(response["patch"], validate=True))
    except ValueError as error:
        raise WebhookCallError(f"webhook returned a patch that is not base64 of JSON: {error}") from error
    return operations


def _patched(pod: Object, operations: list[dict[str, Any]]) -> Object:
    try:
        patched: Object = jsonpatch.apply_patch(copy.deepcopy(pod), operations)
    except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException) as error:
        raise AdmissionError(f"the webhook's patch cannot be applied: {error}") from error
    return patched
