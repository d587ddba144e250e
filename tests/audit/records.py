"""Records as the webhook and the CA write them, for the tests of audit and of the command that reads them."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from audit.record import AdmissionRecord, CertificateRecord

TIME = datetime(2026, 11, 22, 10, 30, 0, 123456, tzinfo=UTC)

_ADMISSION = AdmissionRecord(
    id="a" * 32,
    time=TIME,
    replica="podtls-webhook-0",
    decision="inject",
    reason="namespace default",
    source="10.0.0.1",
    caller="verified",
    dry_run=False,
    uid="705ab4f5-6393-11e8-b7cc-42010a800002",
    namespace="shop",
    name="",
    generate_name="checkout-5d8f-",
    owners=[{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "checkout-5d8f", "uid": "1", "controller": True}],
    service_account="checkout",
    requested_by={"username": "system:serviceaccount:kube-system:replicaset-controller", "groups": ["système"]},
    digest="sha256:" + "0" * 64,
    path="mtls/port",
    mode="mtls",
    ports="8443=8080",
    operations=[{"op": "add", "path": "/metadata/labels/podtls.io~1injected", "value": "true"}],
    warnings=[],
)

_CERTIFICATE = CertificateRecord(
    id="c" * 32,
    time=TIME,
    replica="podtls-ca-0",
    decision="issue",
    reason="attested",
    source="10.0.0.7",
    namespace="shop",
    pod="checkout-5d8f-x7k2p",
    pod_uid="9a1b",
    node="node-1",
    service_account="checkout",
    spiffe_id="spiffe://cluster.local/ns/shop/sa/checkout",
    dns=["checkout.shop.svc", "checkout.shop.svc.cluster.local"],
    ignored_names=["evil.example"],
    serial="1f2e",
    not_before=TIME,
    not_after=TIME.replace(day=23),
    key_digest="sha256:" + "1" * 64,
    token_id="jti-1",
    patch_record="a" * 32,
)


def admission(**changes: Any) -> AdmissionRecord:
    return replace(_ADMISSION, **changes)


def certificate(**changes: Any) -> CertificateRecord:
    return replace(_CERTIFICATE, **changes)
