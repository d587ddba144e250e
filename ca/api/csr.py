"""From a PKCS #10 request to a public key whose possession is proven. Nothing else of the request is believed.

Limits come first: no signature is verified before size, key type, curve and exponent have been checked.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from ca.authority.authority import PublicKey
from ca.errors import CSRError, TooLargeError

# A request with a 4096-bit RSA key and a hundred names stays below half of this.
DER_LIMIT: Final = 16 * 1024

_CURVES: Final = (ec.SECP256R1, ec.SECP384R1)
_RSA_BITS: Final = range(3072, 4096 + 1)
# A huge exponent makes each verification slow, a small one has a history (FIPS 186-5 section A.1.1 has this bound).
_RSA_EXPONENTS: Final = range(65537, 2**32, 2)
_HASHES: Final = (hashes.SHA256, hashes.SHA384, hashes.SHA512)
_IGNORED_LIMIT: Final = 100
_IGNORED_LENGTH: Final = 253
_KINDS: Final[dict[type, str]] = {
    x509.DNSName: "DNS",
    x509.UniformResourceIdentifier: "URI",
    x509.IPAddress: "IP",
    x509.RFC822Name: "email",
}


@dataclass(frozen=True, slots=True)
class ProvenKey:
    """A public key whose private half signed the request, and the names that the request asked for. We ignore those."""

    key: PublicKey
    ignored_names: tuple[str, ...]


def parse_proven_key(der: bytes) -> ProvenKey:
    """The proven public key of a request. Raises TooLargeError or CSRError (RFC 2986, RFC 7030 section 4.2.1)."""
    if len(der) > DER_LIMIT:
        raise TooLargeError(f"certificate request of {len(der)} bytes: allowed are {DER_LIMIT}")
    try:
        request = x509.load_der_x509_csr(der)
        key = _check_key(request.public_key())
        ignored = tuple(_read_ignored_names(request))
    except (ValueError, UnsupportedAlgorithm, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
        raise CSRError(f"certificate request: not DER that can be read: {error}") from error
    _require_proof(request)
    return ProvenKey(key, ignored)


def _check_key(key: object) -> PublicKey:
    match key:
        case ec.EllipticCurvePublicKey():
            if not isinstance(key.curve, _CURVES):
                raise CSRError(f"key on curve {key.curve.name}: allowed are P-256 and P-384")
            return key
        case rsa.RSAPublicKey():
            _check_rsa_key(key)
            return key
        case ed25519.Ed25519PublicKey():
            return key
    raise CSRError(f"{type(key).__name__}: allowed are P-256, P-384, Ed25519 and RSA")


def _check_rsa_key(key: rsa.RSAPublicKey) -> None:
    if key.key_size not in _RSA_BITS:
        raise CSRError(f"RSA key of {key.key_size} bits: allowed are {_RSA_BITS[0]} to {_RSA_BITS[-1]}")
    exponent = key.public_numbers().e
    if exponent not in _RSA_EXPONENTS:
        raise CSRError("RSA exponent: allowed are odd ones from 65537 to 2^32")


def _read_ignored_names(request: x509.CertificateSigningRequest) -> Iterator[str]:
    try:
        asked = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return
    for name in itertools.islice(asked, _IGNORED_LIMIT):
        # These strings go into the log: bounded, and no control character reaches an auditor's terminal.
        text = str(name.value)[:_IGNORED_LENGTH]
        kind = _KINDS.get(type(name), type(name).__name__)
        yield f"{kind}:{''.join(letter if letter.isprintable() else '?' for letter in text)}"


def _require_proof(request: x509.CertificateSigningRequest) -> None:
    try:
        algorithm = request.signature_hash_algorithm
        # Ed25519 hashes on its own, so it has no algorithm here.
        if algorithm is not None and not isinstance(algorithm, _HASHES):
            raise CSRError(f"certificate request signed with {algorithm.name}: allowed are SHA-256, SHA-384, SHA-512")
        valid = request.is_signature_valid
    except (ValueError, UnsupportedAlgorithm) as error:
        raise CSRError(f"certificate request: its signature cannot be read: {error}") from error
    if not valid:
        raise CSRError("certificate request: the signature is not made with the private key of its public key")
