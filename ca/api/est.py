"""EST on the wire (RFC 7030, corrected by RFC 8951): what requests and responses look like.

Values in, values out: no Flask, no signing. Basic authentication would join here.
"""

import base64
import binascii
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

from ca.errors import CSRError, NotAcceptableError, UnsupportedTypeError
from contract.names import TYPE_PEM_CHAIN
from injector.enroll.certificate import encode_chain

TYPE_PKCS10: Final = "application/pkcs10"
TYPE_PKCS7: Final = "application/pkcs7-mime"
_CERTS_ONLY: Final = f"{TYPE_PKCS7}; smime-type=certs-only"
_ANY_PKCS7: Final = frozenset({TYPE_PKCS7, "application/*", "*/*"})


@dataclass(frozen=True, slots=True)
class ESTResponse:
    """A body and the headers that say what it is."""

    body: bytes
    headers: dict[str, str]


def read_request(content_type: str, accept: str, body: bytes) -> bytes:
    """The DER of a certificate request (RFC 7030 section 4.2.1).

    Raises UnsupportedTypeError, NotAcceptableError (before anything is signed) or CSRError.
    """
    if _parse_media_type(content_type) != TYPE_PKCS10:
        raise UnsupportedTypeError(f"content type {content_type!r}: expected {TYPE_PKCS10}")
    _wants_pem(accept)
    try:
        # RFC 8951 section 3.1: white space is allowed anywhere, and the encoding header is ignored.
        return base64.b64decode(b"".join(body.split()), validate=True)
    except binascii.Error as error:
        raise CSRError(f"certificate request: not base64: {error}") from error


def encode_enrollment(accept: str, leaf: x509.Certificate, chain: Sequence[x509.Certificate]) -> ESTResponse:
    """The response to simpleenroll: the leaf alone in PKCS #7, or our own PEM chain, leaf first. See read_request()."""
    if _wants_pem(accept):
        return ESTResponse(encode_chain((leaf,)) + _encode_chain_once(tuple(chain)), {"Content-Type": TYPE_PEM_CHAIN})
    return encode_certificates([leaf])


def encode_certificates(certificates: Sequence[x509.Certificate]) -> ESTResponse:
    """Certificates in a signed-data without signature (RFC 7030 sections 4.1.3 and 4.2.3)."""
    # In one line: RFC 8951 section 3.1 wants no line breaks, and strongSwan cannot read them.
    body = base64.b64encode(pkcs7.serialize_certificates(list(certificates), Encoding.DER))
    # HTTP knows no such header, but RFC 7030 asks for it and its clients look for it (RFC 8951 section 3).
    return ESTResponse(body, {"Content-Type": _CERTS_ONLY, "Content-Transfer-Encoding": "base64"})


def require_pkcs7(accept: str) -> None:
    """Return when the client takes PKCS #7; raise NotAcceptableError otherwise."""
    if accept and not _ANY_PKCS7.intersection(_iterate_acceptable(accept)):
        raise NotAcceptableError(f"accepted are {accept!r}: the answer is {TYPE_PKCS7}")


# The chain of the issuing CA is the same in every response.
_encode_chain_once: Final = lru_cache(maxsize=8)(encode_chain)


def _wants_pem(accept: str) -> bool:
    # Only a client that names it gets it: `*/*` means the response of the RFC.
    if TYPE_PEM_CHAIN in _iterate_acceptable(accept):
        return True
    require_pkcs7(accept)
    return False


def _iterate_acceptable(accept: str) -> Iterator[str]:
    for choice in accept.split(","):
        _, _, parameters = choice.partition(";")
        # RFC 9110 section 12.4.2: a weight of zero means "not this".
        if not any(parameter.strip() in {"q=0", "q=0.0"} for parameter in parameters.split(";")):
            yield _parse_media_type(choice)


def _parse_media_type(header: str) -> str:
    return header.partition(";")[0].strip().lower()
