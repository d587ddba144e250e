"""The trust bundle that goes into every injected Pod: read and parsed. No policy."""

from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from webhook.errors import TrustBundleError

# Every Pod carries the bundle twice, and etcd takes objects of 1.5 MiB: far more than a few roots is a mistake.
_MAX_BYTES = 64 * 1024


def parse_bundle(pem: bytes) -> str:
    """Returns only the certificates, so that a private key left in the file is not copied into every pod.

    Raises TrustBundleError when there is no certificate, or one that does not parse.
    """
    if len(pem) > _MAX_BYTES:
        raise TrustBundleError(f"trust bundle: {len(pem)} bytes, expected at most {_MAX_BYTES}")
    try:
        certificates = x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        raise TrustBundleError(f"trust bundle: expected PEM certificates: {error}") from error
    return "".join(certificate.public_bytes(Encoding.PEM).decode("ascii") for certificate in certificates)


def load_bundle(file: Path) -> str:
    """Returns the certificates in `file`; raises TrustBundleError naming the file when it cannot be read."""
    try:
        pem = file.read_bytes()
    except OSError as error:
        raise TrustBundleError(f"trust bundle {file}: {error.strerror or error}") from error
    return parse_bundle(pem)
