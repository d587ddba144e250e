"""Checks of what pods and API server trust: the bundle, caBundle, and when the authority's certificates end. Pure."""

import base64
import binascii
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.hazmat.primitives.serialization.pkcs7 import load_der_pkcs7_certificates

from contract.names import BUNDLE_FILE
from podtls.check.finding import CheckFinding, ok, ok_unless, problem, warning
from podtls.kubernetes.installation import CA, CONTROLLER, NAMESPACE
from podtls.kubernetes.objects import Object

Certificates = tuple[x509.Certificate, ...]

_TRUST: Final = "trust"
_DATES: Final = "certificates"
_CONTROLLER_LOG: Final = f"kubectl -n {NAMESPACE} logs deployment/{CONTROLLER.name}"
_CA_LOG: Final = f"kubectl -n {NAMESPACE} logs statefulset/{CA.name} -c ca"
# A new root takes planning: pods trust the one that they were admitted with.
_ROOT_LATE: Final = timedelta(days=365)
# The controller renews at two thirds of a year; in the last month it has had a quarter of a year to try.
_ISSUING_LATE: Final = timedelta(days=30)


def parse_pem(pem: str) -> Certificates:
    """The certificates of a PEM text; empty where none parses."""
    try:
        return tuple(x509.load_pem_x509_certificates(pem.encode()))
    except ValueError:
        return ()


def parse_cacerts(body: bytes) -> Certificates:
    """The certificates of a response to EST's /cacerts (RFC 7030 section 4.1.3); empty for anything else."""
    try:
        return tuple(load_der_pkcs7_certificates(base64.b64decode(body)))
    except (ValueError, binascii.Error):
        return ()


def public_keys_of(certificates: Iterable[x509.Certificate]) -> frozenset[bytes]:
    """The public keys (SPKI, DER). A root that is cross-signed or renewed keeps its key."""
    return frozenset(
        certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        for certificate in certificates
    )


def parse_bundle(config_map: Object | None) -> Certificates:
    """The published trust bundle; empty where there is none."""
    return parse_pem(((config_map or {}).get("data") or {}).get(BUNDLE_FILE) or "")


def check_bundle(config_map: Object | None) -> CheckFinding:
    """Whether the controller has published a trust bundle."""
    if config_map is None:
        what = "ConfigMap podtls-bundle is missing: there is no authority yet, no pod can start"
        return problem(_TRUST, what, _CONTROLLER_LOG)
    if not parse_bundle(config_map):
        return problem(_TRUST, "ConfigMap podtls-bundle holds no certificates", _CONTROLLER_LOG)
    return ok(_TRUST, f"the trust bundle has {len(parse_bundle(config_map))} root(s)")


def check_ca_bundles(published: Certificates, mutating: Object | None, validating: Object | None) -> list[CheckFinding]:
    """Whether the API server trusts the webhook by the published bundle, in each entry of both configurations."""
    findings = [
        *(_check_ca_bundle("MutatingWebhookConfiguration", mutating, published)),
        *(_check_ca_bundle("ValidatingWebhookConfiguration", validating, published)),
    ]
    return ok_unless(findings, _TRUST, "caBundle of every entry is the trust bundle") if published else findings


def _check_ca_bundle(kind: str, found: Object | None, published: Certificates) -> Iterator[CheckFinding]:
    # A missing caBundle blocks injection (failurePolicy Fail) but only loses warnings (failurePolicy Ignore).
    report = problem if kind.startswith("Mutating") else warning
    entries = {entry["name"]: entry["clientConfig"].get("caBundle") for entry in (found or {}).get("webhooks") or []}
    absent = [name for name, encoded in entries.items() if not encoded]
    other = [name for name, encoded in entries.items() if encoded and not _is_same(encoded, published)]
    do = f"{_CONTROLLER_LOG}; a GitOps tool must ignore webhooks[*].clientConfig.caBundle"
    for names, state in ((absent, "is missing"), (other if published else [], "is not the trust bundle")):
        if names:
            where = "all entries" if len(names) == len(entries) else ", ".join(names)
            yield report(_TRUST, f"{kind}: caBundle {state} in {where}", do)


def _is_same(encoded: str, published: Certificates) -> bool:
    try:
        return set(x509.load_pem_x509_certificates(base64.b64decode(encoded))) == set(published)
    except ValueError:
        return False


def check_dates(roots: Certificates, now: datetime) -> Iterator[CheckFinding]:
    """Whether the roots of the bundle are valid, and for how long."""
    for root in roots:
        do = "plan its rotation: pods trust the root that they were admitted with"
        yield _check_dated("root", root, now, late=_ROOT_LATE, do=do)


def check_served(roots: Certificates, certificates: Certificates, now: datetime) -> Iterator[CheckFinding]:
    """Whether the CA serves the published roots at /cacerts, and how long its issuing CA is valid."""
    issuing = [each for each in certificates if each.issuer != each.subject]
    if not issuing:
        yield problem("ca", "the CA serves /cacerts without its issuing CA", _CA_LOG)
    elif roots and not public_keys_of(roots) <= public_keys_of(certificates):
        yield problem(
            _TRUST,
            "the CA signs under another root than the trust bundle has: pods that start now are refused",
            f"kubectl -n {NAMESPACE} rollout restart statefulset/{CA.name}; if it stays: {_CONTROLLER_LOG}",
        )
    for each in issuing:
        do = f"the controller renews it: {_CONTROLLER_LOG}"
        yield _check_dated("issuing CA", each, now, late=_ISSUING_LATE, do=do)


def _check_dated(role: str, certificate: x509.Certificate, now: datetime, *, late: timedelta, do: str) -> CheckFinding:
    start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    what = f"{role} {_quote_name(certificate)} is valid from {start:%Y-%m-%d} until {end:%Y-%m-%d}"
    if now >= end:
        return problem(_DATES, f"{what}: it has expired", do)
    if now < start:
        return problem(_DATES, f"{what}: not yet", "compare the clocks of the nodes with the API server's")
    if end - now < late:
        return warning(_DATES, what, do)
    return ok(_DATES, what)


def _quote_name(certificate: x509.Certificate) -> str:
    (*_, name) = [str(attribute.value) for attribute in certificate.subject] or ["without a name"]
    return f'"{name}"'
