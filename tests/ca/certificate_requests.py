"""Certificate requests that no library makes: of any version, with any key or attribute, validly signed."""

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pyasn1.codec.der import decoder, encoder
from pyasn1.type import univ
from pyasn1_alt_modules import rfc2986

AnyPublicKey = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey
_CHALLENGE = "1.2.840.113549.1.9.7"


def replace_key(der: bytes, key: AnyPublicKey) -> bytes:
    """The same request with another public key: what an attacker sends who does not hold that key."""
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    request, _ = decoder.decode(der, asn1Spec=rfc2986.CertificationRequest())
    swapped, _ = decoder.decode(spki, asn1Spec=request["certificationRequestInfo"]["subjectPKInfo"].clone())
    request["certificationRequestInfo"]["subjectPKInfo"] = swapped
    return bytes(encoder.encode(request))


def sign_tampered(
    key: ec.EllipticCurvePrivateKey, *, version: int = 0, point: bytes = b"", attribute: bytes = b""
) -> bytes:
    """A request of this version, with this encoding of the key, validly signed: all the rest is as it must be."""
    built = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    request, _ = decoder.decode(built.public_bytes(Encoding.DER), asn1Spec=rfc2986.CertificationRequest())
    info = request["certificationRequestInfo"]
    info["version"] = version
    if point:
        info["subjectPKInfo"]["subjectPublicKey"] = univ.BitString.fromOctetString(point)
    if attribute:
        info["attributes"][0]["type"] = univ.ObjectIdentifier(_CHALLENGE)
        info["attributes"][0]["values"][0] = univ.Any(attribute)
    signature = key.sign(encoder.encode(info), ec.ECDSA(hashes.SHA256()))
    request["signature"] = univ.BitString.fromOctetString(signature)
    return bytes(encoder.encode(request))


def request_with_extension(key: ec.EllipticCurvePrivateKey, oid: str, value: bytes) -> bytes:
    """A request that asks for one extension, of which nobody has checked the value."""
    extension = x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), value)
    builder = (
        x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).add_extension(extension, critical=False)
    )
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)
