"""What the CA writes into the evidence log: its facts in the schema of audit/. Decides nothing, touches no disk."""

import hashlib
import secrets
from dataclasses import dataclass, field, replace
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from audit.record import CertificateRecord
from ca.api.attest import AttestedPod
from ca.authority.leaf import LeafNames
from ca.errors import Caller, RefusedError


@dataclass(frozen=True, slots=True)
class Occasion:
    """When, by which replica and for which source address a decision was taken."""

    time: datetime
    replica: str
    source: str
    record_id: str = field(default_factory=lambda: secrets.token_hex(16))


def build_issue_record(
    occasion: Occasion, pod: AttestedPod, names: LeafNames, leaf: x509.Certificate, *, ignored_names: tuple[str, ...]
) -> CertificateRecord:
    """The record of a pod's certificate, written before the certificate leaves."""
    record = _build_certificate_record(occasion, names, leaf, pod.caller)
    return replace(record, reason="attested", ignored_names=list(ignored_names), patch_record=pod.patch_record)


def build_serving_record(occasion: Occasion, names: LeafNames, leaf: x509.Certificate) -> CertificateRecord:
    """The record of a serving certificate that a CA pod has signed for itself."""
    return _build_certificate_record(occasion, names, leaf, Caller(pod=occasion.replica))


def build_refusal_record(occasion: Occasion, error: RefusedError) -> CertificateRecord:
    """The record of an authenticated caller that got nothing, with the same reason as the response."""
    return CertificateRecord(
        id=occasion.record_id,
        time=occasion.time,
        replica=occasion.replica,
        decision="refuse",
        reason=str(error),
        source=occasion.source,
        namespace=error.caller.namespace,
        pod=error.caller.pod,
        pod_uid=error.caller.pod_uid,
        node=error.caller.node,
        service_account=error.caller.service_account,
        dns=[],
        ignored_names=[],
        token_id=error.caller.token_id,
    )


def _build_certificate_record(
    occasion: Occasion, names: LeafNames, leaf: x509.Certificate, caller: Caller
) -> CertificateRecord:
    key = leaf.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return CertificateRecord(
        id=occasion.record_id,
        time=occasion.time,
        replica=occasion.replica,
        decision="issue",
        reason="serving certificate of the CA itself",
        source=occasion.source,
        namespace=names.identity.namespace,
        pod=caller.pod,
        pod_uid=caller.pod_uid,
        node=caller.node,
        service_account=names.identity.service_account,
        spiffe_id=names.uri,
        dns=list(names.dns),
        ignored_names=[],
        serial=f"{leaf.serial_number:x}",
        not_before=leaf.not_valid_before_utc,
        not_after=leaf.not_valid_after_utc,
        key_digest=f"sha256:{hashlib.sha256(key).hexdigest()}",
        token_id=caller.token_id,
    )
