"""Authority: the issuing CA's certificate and key with its trust bundle, parsed from files or from a Secret.

It also builds what all our certificates share: serial number, signature algorithm, SKI and AKI. The profile of a leaf
is in leaf.py, that of the CAs in creation.py.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.verification import Store

from ca.errors import ConfigurationError
from contract.names import BACKDATE_SECONDS, BUNDLE_FILE, CERTIFICATE_FILE, KEY_FILE
from serving.reload import ReloadedValue

PublicKey = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey
PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
Extensions = tuple[tuple[x509.ExtensionType, bool], ...]  # Each with its criticality.

BACKDATE: Final = timedelta(seconds=BACKDATE_SECONDS)
_RSA_BITS: Final = 3072
_FILES: Final = (CERTIFICATE_FILE, KEY_FILE, BUNDLE_FILE)


@dataclass(frozen=True, slots=True)
class Authority:
    """An issuing CA: its chain (itself first, without the root), its key, and the bundle of roots that vouch for it."""

    chain: tuple[x509.Certificate, ...]
    key: PrivateKey
    bundle: tuple[x509.Certificate, ...]
    key_identifier: x509.AuthorityKeyIdentifier
    store: Store  # Only the issuing CA: a leaf is checked against this authority, not against all roots of the bundle.

    @property
    def certificate(self) -> x509.Certificate:
        """The issuing CA's own certificate."""
        return self.chain[0]


@dataclass(frozen=True, slots=True)
class Template:
    """What differs between our certificates; sign() adds what all of them share."""

    subject: x509.Name
    public_key: PublicKey
    issuer: x509.Name
    validity: tuple[datetime, datetime]
    extensions: Extensions


def sign(template: Template, key: PrivateKey) -> x509.Certificate:
    """The certificate that `template` describes, with a 159-bit random serial number (RFC 5280 section 4.1.2.2)."""
    not_before, not_after = template.validity
    builder = (
        x509.CertificateBuilder()
        .subject_name(template.subject)
        .issuer_name(template.issuer)
        .public_key(template.public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(not_before)
        .not_valid_after(not_after)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(template.public_key), critical=False)
    )
    for extension, critical in template.extensions:
        builder = builder.add_extension(extension, critical=critical)
    # A hash as strong as the key.
    strong = isinstance(key, ec.EllipticCurvePrivateKey) and key.key_size > 256
    return builder.sign(key, hashes.SHA384() if strong else hashes.SHA256())


def load_authority(directory: Path) -> Authority:
    """The authority in `directory` (tls.crt: issuing CA first, tls.key, ca.crt: roots). Raises ConfigurationError."""
    try:
        certificate, key, bundle = ((directory / name).read_bytes() for name in _FILES)
    except OSError as error:
        raise ConfigurationError(f"authority: {error.filename}: {error.strerror}") from error
    return parse_authority(certificate, key, bundle, where=str(directory))


def watch_authority(directory: Path) -> ReloadedValue[Authority]:
    """The authority in `directory` as it is now. Raises ConfigurationError when there is none at the start.

    Returns the latest complete authority. If the files are incomplete or invalid, logs it and keeps the previous one.
    """
    # The kubelet changes all three at once, by one symlink; others may change them one after the other.
    files = [directory / name for name in _FILES]
    current = ReloadedValue(files, partial(load_authority, directory), keep_on=ConfigurationError)
    current.get()
    return current


def parse_authority(certificate: bytes, key: bytes, bundle: bytes, *, where: str) -> Authority:
    """The authority in three PEM texts: issuing CA first, key, roots. Raises ConfigurationError naming `where`."""
    try:
        chain = x509.load_pem_x509_certificates(certificate)
        roots = x509.load_pem_x509_certificates(bundle)
        private = serialization.load_pem_private_key(key, password=None)
        identifier = chain[0].extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        constraints = chain[0].extensions.get_extension_for_class(x509.BasicConstraints).value
    except (ValueError, TypeError, UnsupportedAlgorithm, x509.ExtensionNotFound) as error:
        raise ConfigurationError(f"authority in {where}: {error}") from error
    if not isinstance(private, PrivateKey) or (isinstance(private, rsa.RSAPrivateKey) and private.key_size < _RSA_BITS):
        raise ConfigurationError(f"authority in {where}: its key is neither EC nor RSA of {_RSA_BITS} bits")
    if private.public_key() != chain[0].public_key():
        raise ConfigurationError(f"authority in {where}: the key is not the certificate's")
    if not constraints.ca:
        raise ConfigurationError(f"authority in {where}: the first certificate is not a CA's")
    if not any(_is_issued_by(chain[-1], root) for root in roots):
        raise ConfigurationError(f"authority in {where}: no root of the bundle vouches for its chain")
    aki = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)
    return Authority(tuple(chain), private, tuple(roots), key_identifier=aki, store=Store([chain[0]]))


def _is_issued_by(certificate: x509.Certificate, root: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(root)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True
