"""The pod's own key, its request, and the check of the certificate that the CA sent. Values in, values out.

The certificate that the CA's server shows is checked by the ssl module (https.py).
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from contract.identity import WorkloadIdentity
from contract.renewal import renewal_due
from injector.errors import RefusedError

_PURPOSES: Final = {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}

Chain = tuple[x509.Certificate, ...]  # leaf first


@dataclass(frozen=True, slots=True)
class Bundle:
    """The trust bundle: at least one certificate authority."""

    pem: bytes
    authorities: Chain

    @classmethod
    def parse(cls, pem: bytes) -> Self:
        """Parse PEM and spell it anew, so that nothing but certificates is passed on. Raises ValueError."""
        authorities = tuple(x509.load_pem_x509_certificates(pem))
        return cls(pem=encode_chain(authorities), authorities=authorities)


def make_key() -> ec.EllipticCurvePrivateKey:
    """Make the pod's private key, P-256. It is written to the memory volume and goes nowhere else."""
    return ec.generate_private_key(ec.SECP256R1())


def make_request(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Make the PKCS#10 request in DER. It names nobody: the CA decides the names, and takes only the key from here."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


def verify(
    chain: Chain, *, key: ec.EllipticCurvePrivateKey, bundle: Bundle, identity: WorkloadIdentity, now: datetime
) -> None:
    """Check the CA's certificate against what we asked for.

    Raises RefusedError when it is for another key or another identity, not valid now, not for TLS servers and
    clients, or does not chain to the bundle (RFC 5280 section 6, by cryptography's verifier).
    """
    leaf = chain[0]
    if not _is_for(leaf, key):
        raise RefusedError("the CA's certificate is for another key than ours")
    _verify_identity(leaf, identity)
    verify_chain(chain, bundle=bundle, now=now)


def verify_chain(chain: Chain, *, bundle: Bundle, now: datetime) -> None:
    """Raise RefusedError unless the leaf is valid now, for servers and clients, and chains to the bundle."""
    leaf = chain[0]
    if not leaf.not_valid_before_utc <= now <= leaf.not_valid_after_utc:
        validity = f"{leaf.not_valid_before_utc:%Y-%m-%dT%H:%M:%SZ} to {leaf.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}"
        raise RefusedError(f"the certificate is valid from {validity}, and now it is {now:%Y-%m-%dT%H:%M:%SZ}")
    try:
        builder = PolicyBuilder().store(Store(list(bundle.authorities))).time(now)
        builder.build_client_verifier().verify(leaf, list(chain[1:]))
    except VerificationError as error:
        raise RefusedError(f"the certificate does not chain to the trust bundle: {_line(error)}") from error
    # The verifier asks for clientAuth at most; a pod is a server too, and no extension would mean any purpose.
    if not _PURPOSES.issubset(_purposes(leaf)):
        raise RefusedError("the certificate is not for TLS servers and clients (extended key usage)")


def is_trusted(chain: Chain, *, bundle: Bundle, now: datetime) -> bool:
    """Whether `verify_chain` accepts the chain."""
    try:
        verify_chain(chain, bundle=bundle, now=now)
    except RefusedError:
        return False
    return True


def matches(chain: Chain, key_pem: bytes) -> bool:
    """Whether the leaf is for this private key. Raises ValueError for what is not a key."""
    key = load_pem_private_key(key_pem, password=None)
    return isinstance(key, ec.EllipticCurvePrivateKey) and _is_for(chain[0], key)


def without_authorities(chain: Chain, bundle: Bundle) -> Chain:
    """The chain as a TLS server sends it: trust anchors are the peer's to have (RFC 8446 section 4.4.2)."""
    return tuple(certificate for certificate in chain if certificate not in bundle.authorities)


def names(leaf: x509.Certificate) -> tuple[frozenset[str], frozenset[str]]:
    """The DNS names and the URIs that a certificate carries."""
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return frozenset(), frozenset()
    return (
        frozenset(names.get_values_for_type(x509.DNSName)),
        frozenset(names.get_values_for_type(x509.UniformResourceIdentifier)),
    )


def leaf_renewal_due(leaf: x509.Certificate) -> datetime:
    """When to renew: between 60 % and two thirds of its life.

    Pods of one Deployment start together; the certificate's own serial number spreads them, and the same certificate
    is always due at the same time.
    """
    sooner = (leaf.serial_number % 1000) / 1000 * (2 / 3 - 0.6)
    return renewal_due(leaf.not_valid_before_utc, leaf.not_valid_after_utc, sooner=sooner)


def encode_key(key: ec.EllipticCurvePrivateKey) -> bytes:
    """The private key as PKCS#8 PEM."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def encode_chain(chain: Chain) -> bytes:
    """Certificates as PEM, in their order."""
    return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in chain)


def _is_for(leaf: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> bool:
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return leaf.public_key().public_bytes(*form) == key.public_key().public_bytes(*form)


def _verify_identity(leaf: x509.Certificate, identity: WorkloadIdentity) -> None:
    _, uris = names(leaf)
    if uris != {str(identity)}:
        got = ", ".join(sorted(uris)) or "no URI"
        raise RefusedError(f"the CA's certificate is for {got[:300]!r}, this pod is {identity}")


def _purposes(leaf: x509.Certificate) -> set[x509.ObjectIdentifier]:
    try:
        return set(leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    except x509.ExtensionNotFound:
        return set()


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
