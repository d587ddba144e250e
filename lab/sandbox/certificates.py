"""Certificates of the demo alone: the stand-in API server's own, and a foreign CA's for the proofs.

Never used by the product, whose certificates are ca/authority/leaf.py's.
"""

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_DAY: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its private key, both PEM."""

    certificate: str
    key: str


def self_signed(name: str, addresses: tuple[str, ...] = (), dns: tuple[str, ...] = ()) -> Pair:
    """A server certificate that is its own trust anchor, for these addresses and names."""
    key = ec.generate_private_key(ec.SECP256R1())
    names: list[x509.GeneralName] = [x509.IPAddress(ipaddress.ip_address(address)) for address in addresses]
    names += [x509.DNSName(each) for each in dns]
    subject = _common_name(name)
    builder = _builder(subject, subject, key, is_authority=True)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return _pair(builder.sign(key, hashes.SHA256()), key)


def foreign_client(spiffe_id: str) -> Pair:
    """A client certificate that claims this SPIFFE ID, from a CA that nobody trusts; its issuer follows in the PEM."""
    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    issuer = _common_name("Foreign CA")
    authority = _builder(issuer, issuer, authority_key, is_authority=True).sign(authority_key, hashes.SHA256())
    claimed = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(spiffe_id)])
    subject = x509.Name([x509.NameAttribute(NameOID.USER_ID, spiffe_id)])
    leaf = _builder(subject, issuer, key, is_authority=False).add_extension(claimed, critical=False)
    pair = _pair(leaf.sign(authority_key, hashes.SHA256()), key)
    return Pair(pair.certificate + authority.public_bytes(serialization.Encoding.PEM).decode(), pair.key)


def _common_name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, *, is_authority: bool
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _DAY)
        .not_valid_after(now + _DAY)
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _pair(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Pair:
    return Pair(
        certificate.public_bytes(serialization.Encoding.PEM).decode(),
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode(),
    )
