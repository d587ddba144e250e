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
from podtls.check.finding import Finding, ok, problem, unless, warning
from podtls.kubernetes.installation import CA, CONTROLLER, NAMESPACE
from podtls.kubernetes.reader import Object

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
    """The certificates in a PEM text; empty where there is none that parses."""
    try:
        return tuple(x509.load_pem_x509_certificates(pem.encode()))
    except ValueError:
        return ()


def parse_cacerts(body: bytes) -> Certificates:
    """The certificates in an answer to EST's /cacerts (RFC 7030 section 4.1.3); empty where it is none."""
    try:
        return tuple(load_der_pkcs7_certificates(base64.b64decode(body)))
    except (ValueError, binascii.Error):
        return ()


def keys(certificates: Iterable[x509.Certificate]) -> frozenset[bytes]:
    """The public keys (SPKI, DER): what a chain leads to. A root that is cross-signed or renewed keeps its key."""
    return frozenset(
        certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        for certificate in certificates
    )


def bundle_of(config_map: Object | None) -> Certificates:
    """The published trust bundle; empty where there is none."""
    return parse_pem(((config_map or {}).get("data") or {}).get(BUNDLE_FILE) or "")


def bundle(config_map: Object | None) -> Finding:
    """Whether the controller has published a trust bundle."""
    if config_map is None:
        what = "ConfigMap podtls-bundle is missing: there is no authority yet, no pod can start"
        return problem(_TRUST, what, _CONTROLLER_LOG)
    if not bundle_of(config_map):
        return problem(_TRUST, "ConfigMap podtls-bundle holds no certificates", _CONTROLLER_LOG)
    return ok(_TRUST, f"the trust bundle has {len(bundle_of(config_map))} root(s)")


def ca_bundles(published: Certificates, mutating: Object | None, validating: Object | None) -> list[Finding]:
    """Whether the API server trusts the webhook by the published bundle, in each entry of both configurations."""
    findings = [
        *(_ca_bundle("MutatingWebhookConfiguration", mutating, published)),
        *(_ca_bundle("ValidatingWebhookConfiguration", validating, published)),
    ]
    return unless(findings, _TRUST, "caBundle of every entry is the trust bundle") if published else findings


def _ca_bundle(kind: str, found: Object | None, published: Certificates) -> Iterator[Finding]:
    # A warning is never missed enough to refuse a workload (failurePolicy Ignore), an injection always is.
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


def dates(roots: Certificates, now: datetime) -> Iterator[Finding]:
    """When the roots of the bundle end."""
    for root in roots:
        do = "plan its rotation: pods trust the root that they were admitted with"
        yield _dated("root", root, now, late=_ROOT_LATE, do=do)


def served(roots: Certificates, certificates: Certificates, now: datetime) -> Iterator[Finding]:
    """What the CA itself serves at /cacerts: the roots that are published, and when its issuing CA ends."""
    issuing = [each for each in certificates if each.issuer != each.subject]
    if not issuing:
        yield problem("ca", "the CA answers /cacerts without its issuing CA", _CA_LOG)
    elif roots and not keys(roots) <= keys(certificates):
        yield problem(
            _TRUST,
            "the CA signs under another root than the trust bundle has: pods that start now are refused",
            f"kubectl -n {NAMESPACE} rollout restart statefulset/{CA.name}; if it stays: {_CONTROLLER_LOG}",
        )
    for each in issuing:
        yield _dated("issuing CA", each, now, late=_ISSUING_LATE, do=f"the controller renews it: {_CONTROLLER_LOG}")


def _dated(role: str, certificate: x509.Certificate, now: datetime, *, late: timedelta, do: str) -> Finding:
    start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    what = f"{role} {_name(certificate)} is valid from {start:%Y-%m-%d} until {end:%Y-%m-%d}"
    if now >= end:
        return problem(_DATES, f"{what}: it has ended", do)
    if now < start:
        return problem(_DATES, f"{what}: not yet", "compare the clocks of the nodes with the API server's")
    if end - now < late:
        return warning(_DATES, what, do)
    return ok(_DATES, what)


def _name(certificate: x509.Certificate) -> str:
    (*_, name) = [str(attribute.value) for attribute in certificate.subject] or ["without a name"]
    return f'"{name}"'
