"""From a PKCS #10 request to a public key whose possession is proven. Nothing else of the request is believed.

Limits come first: no signature is verified before the size and the key have been checked.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes

from ca.api.keys import check_key
from ca.authority.authority import PublicKey
from ca.errors import CSRError, TooLargeError

# A request with a 4096-bit RSA key and a hundred names stays below half of this.
DER_LIMIT: Final = 16 * 1024

_HASHES: Final = (hashes.SHA256, hashes.SHA384, hashes.SHA512)
_IGNORED_LIMIT: Final = 100
_IGNORED_LENGTH: Final = 253
# All that the library raises for extensions that it does not expect, as mutated requests show: it reads all of them at
# once, and a TLS feature without a name is a KeyError, a directory name that is a bit string is a TypeError.
_UNREADABLE: Final = (
    ValueError,
    TypeError,
    NotImplementedError,
    OverflowError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)
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
        key = check_key(request.public_key(), _encode_key_as_sent(request))
    except x509.InvalidVersion as error:
        raise CSRError(f"certificate request: version field {error.parsed_version}: the only one is 0") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise CSRError(f"certificate request: not DER that can be read: {error}") from error
    ignored = tuple(_read_ignored_names(request))
    _require_proof(request)
    return ProvenKey(key, ignored)


def _encode_key_as_sent(request: x509.CertificateSigningRequest) -> bytes:
    """The SubjectPublicKeyInfo in its very octets: the library shows the key, but not how it was written.

    The request was parsed as DER before, so each length is right: version, subject, key, attributes.
    """
    start, _ = _measure_element(request.tbs_certrequest_bytes)
    rest = request.tbs_certrequest_bytes[start:]
    for _part in ("version", "subject"):
        _, end = _measure_element(rest)
        rest = rest[end:]
    _, end = _measure_element(rest)
    return rest[:end]


def _measure_element(der: bytes) -> tuple[int, int]:
    """Where the content of the first DER element starts, and where the element ends (X.690 section 8.1.3)."""
    if not der[1] & 0x80:
        return 2, 2 + der[1]
    start = 2 + (der[1] & 0x7F)
    return start, start + int.from_bytes(der[2:start])


def _read_ignored_names(request: x509.CertificateSigningRequest) -> Iterator[str]:
    try:
        asked = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return
    except KeyError as error:
        raise CSRError(f"certificate request: its extensions cannot be read: undefined value {error}") from error
    except _UNREADABLE as error:
        raise CSRError(f"certificate request: its extensions cannot be read: {error}") from error
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
