"""What the webhook's tests share: a settled world (settings, ids, reviews) and one way to inject and check a Pod."""

import copy
import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonpatch
import kubernetes_validate

from webhook.decision import Decision, Defaults, Deny, Inject, decide
from webhook.injection import inject
from webhook.jsonpatch import Operation
from webhook.request import build_request
from webhook.settings import InjectionSettings, PodSettings

GOLDEN = Path(__file__).parent.parent / "golden" / "pods"
RECORD = "0123456789abcdef0123456789abcdef"
LATER_RECORD = "fedcba9876543210fedcba9876543210"
NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
NAMESPACE = "shop"
MTLS = Defaults("mtls", "port")
# The API server's oldest version that we support, and the latest schema there is.
SCHEMAS = ("1.33", "1.37")
SETTINGS = InjectionSettings(
    PodSettings(image="registry.example.com/podtls/init:0.1.0"),
    "-----BEGIN CERTIFICATE-----\nYSB0cnVzdCBidW5kbGU=\n-----END CERTIFICATE-----\n",
)


def pod(metadata: Mapping[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    """A small Pod with one app container on port 8080; `spec` adds to it or replaces of it."""
    container = {"name": "app", "image": "example.com/web:1", "ports": [{"containerPort": 8080}]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "web", **(metadata or {})},
        "spec": {"containers": [container], **spec},
    }


def annotated(**annotations: str) -> dict[str, Any]:
    """The small Pod with podtls.io/<key> annotations."""
    return pod({"annotations": {f"podtls.io/{key}": value for key, value in annotations.items()}})


def review(raw: dict[str, Any] | None, **request: Any) -> dict[str, Any]:
    """An AdmissionReview as kube-apiserver sends it; `request` replaces members of its request."""
    return {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "requestKind": {"group": "", "version": "v1", "kind": "Pod"},
            "requestResource": {"group": "", "version": "v1", "resource": "pods"},
            "namespace": NAMESPACE,
            "operation": "CREATE",
            "userInfo": {
                "username": "system:serviceaccount:kube-system:replicaset-controller",
                "uid": "a2a5a3f0-3b3c-4d7b-9a52-6d5c0f4b1a11",
                "groups": ["system:serviceaccounts", "system:authenticated"],
                "extra": {"authentication.kubernetes.io/credential-id": ["JTI=5f2d"]},
            },
            "object": raw,
            "oldObject": None,
            "dryRun": False,
            "options": {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1"},
            **request,
        },
    }


def body(raw: dict[str, Any] | None, **request: Any) -> bytes:
    """The review as bytes."""
    return json.dumps(review(raw, **request)).encode()


def decided(raw: dict[str, Any], defaults: Defaults = MTLS, settings: InjectionSettings = SETTINGS) -> Decision:
    """What `decide` says of a raw Pod."""
    return decide(build_request(raw, namespace=NAMESPACE), defaults, settings.pods.policy)


def plan_of(raw: dict[str, Any], defaults: Defaults = MTLS) -> Inject:
    """The plan for a raw Pod that is injected."""
    decision = decided(raw, defaults)
    assert isinstance(decision, Inject), decision
    return decision


def refusal_of(raw: dict[str, Any], defaults: Defaults = MTLS) -> str:
    """The reason why a raw Pod is refused."""
    decision = decided(raw, defaults)
    assert isinstance(decision, Deny), decision
    return decision.reason


def patch(
    raw: dict[str, Any], defaults: Defaults = MTLS, settings: InjectionSettings = SETTINGS, record: str = RECORD
) -> list[Operation]:
    """The operations that inject a raw Pod, which has to be injected."""
    before = copy.deepcopy(raw)
    request = build_request(raw, namespace=NAMESPACE)
    plan = decide(request, defaults, settings.pods.policy)
    assert isinstance(plan, Inject), plan.reason
    operations = inject(request.pod, plan, record, settings)
    assert raw == before, "injection changed its input"
    return operations


def apply(raw: dict[str, Any], operations: list[Operation]) -> dict[str, Any]:
    """The Pod after the patch, applied by the library that knows RFC 6902."""
    result = jsonpatch.JsonPatch([operation.to_json() for operation in operations]).apply(raw)
    assert isinstance(result, dict)
    return result


def injected(
    raw: dict[str, Any], defaults: Defaults = MTLS, settings: InjectionSettings = SETTINGS, record: str = RECORD
) -> dict[str, Any]:
    """The injected Pod, after the checks that each has to pass: no operation a second time, and the schema."""
    result = apply(raw, patch(raw, defaults, settings, record))
    assert patch(result, defaults, settings, LATER_RECORD) == []
    validate(result)
    return result


def with_pod_settings(**changes: Any) -> InjectionSettings:
    """SETTINGS with other settings for pods."""
    return replace(SETTINGS, pods=replace(SETTINGS.pods, **changes))


def validate(raw: dict[str, Any]) -> None:
    """Raises kubernetes_validate's error where the API server would drop or refuse a field."""
    for version in SCHEMAS:
        kubernetes_validate.validate(raw, version, strict=True)
