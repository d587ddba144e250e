"""Which requests prove which keys, and which are refused before any work is done for them."""

import ipaddress

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pyasn1.codec.der import decoder, encoder
from pyasn1_alt_modules import rfc2986

from ca.api.csr import DER_LIMIT, parse_proven_key
from ca.errors import CSRError, TooLargeError
from tests.ca.world import Key, request_der

WEAK_RSA = rsa.generate_private_key(65537, 1024)  # noqa: S505 - it must be refused
WEAK_DSA = dsa.generate_private_key(1024)  # noqa: S505 - it must be refused


@pytest.mark.parametrize(
    "key",
    [
        pytest.param(ec.generate_private_key(ec.SECP256R1()), id="P-256"),
        pytest.param(ec.generate_private_key(ec.SECP384R1()), id="P-384"),
        pytest.param(ed25519.Ed25519PrivateKey.generate(), id="Ed25519"),
        pytest.param(rsa.generate_private_key(65537, 3072), id="RSA 3072"),
    ],
)
def test_key_that_signed_the_request_is_proven(key: Key) -> None:
    proven = parse_proven_key(request_der(key))

    assert proven.key == key.public_key()
    assert proven.ignored_names == ()


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        pytest.param(WEAK_RSA, "RSA key of 1024 bits: allowed are 3072 to 4096", id="1024"),
        pytest.param(rsa.generate_private_key(65537, 2048), "RSA key of 2048 bits", id="2048"),
        pytest.param(rsa.generate_private_key(3, 3072), "RSA exponent", id="exponent 3"),
        pytest.param(ec.generate_private_key(ec.SECP192R1()), "key on curve secp192r1", id="P-192"),
        pytest.param(ec.generate_private_key(ec.SECP521R1()), "key on curve secp521r1", id="P-521"),
    ],
)
def test_weak_or_odd_key_is_refused(key: Key, reason: str) -> None:
    with pytest.raises(CSRError, match=reason):
        parse_proven_key(request_der(key))


def test_rsa_16384_is_refused_before_its_signature_is_looked_at() -> None:
    # The modulus is no product of primes and the signature is garbage: who verified it would say so.
    huge = rsa.RSAPublicNumbers(65537, (1 << 16383) | 1).public_key()
    der = _swap_key(request_der(rsa.generate_private_key(65537, 2048)), huge)

    with pytest.raises(CSRError, match="RSA key of 16384 bits"):
        parse_proven_key(der)


@pytest.mark.parametrize(
    "key",
    [
        pytest.param(ed448.Ed448PrivateKey.generate(), id="Ed448"),
        pytest.param(WEAK_DSA, id="DSA"),
    ],
)
def test_key_of_another_kind_is_refused(key: ed448.Ed448PrivateKey | dsa.DSAPrivateKey) -> None:
    algorithm = None if isinstance(key, ed448.Ed448PrivateKey) else hashes.SHA256()
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, algorithm)

    with pytest.raises(CSRError, match="allowed are P-256, P-384, Ed25519 and RSA"):
        parse_proven_key(request.public_bytes(Encoding.DER))


def test_request_with_foreign_key_signature_is_refused(key: ec.EllipticCurvePrivateKey) -> None:
    der = _swap_key(request_der(ec.generate_private_key(ec.SECP256R1())), key.public_key())

    with pytest.raises(CSRError, match="not made with the private key of its public key"):
        parse_proven_key(der)


def test_request_signed_with_sha1_is_refused(key: ec.EllipticCurvePrivateKey) -> None:
    der = request_der(key).replace(bytes.fromhex("06082a8648ce3d040302"), bytes.fromhex("06082a8648ce3d040301"))

    with pytest.raises(CSRError, match="sha224"):
        parse_proven_key(der)


def test_signature_algorithm_that_nobody_knows_is_refused(key: ec.EllipticCurvePrivateKey) -> None:
    der = request_der(key).replace(bytes.fromhex("06082a8648ce3d040302"), bytes.fromhex("06082a8648ce3d04037f"))

    with pytest.raises(CSRError, match="signature cannot be read"):
        parse_proven_key(der)


@pytest.mark.parametrize(
    "der",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\x30\x03garbage", id="garbage"),
        pytest.param(b"-----BEGIN CERTIFICATE REQUEST-----", id="PEM"),
    ],
)
def test_bytes_that_are_no_request_are_refused(der: bytes) -> None:
    with pytest.raises(CSRError, match="not DER that can be read"):
        parse_proven_key(der)


def test_truncated_request_is_refused(key: ec.EllipticCurvePrivateKey) -> None:
    with pytest.raises(CSRError, match="not DER that can be read"):
        parse_proven_key(request_der(key)[:-5])


def test_trailing_bytes_are_refused(key: ec.EllipticCurvePrivateKey) -> None:
    with pytest.raises(CSRError, match="not DER that can be read"):
        parse_proven_key(request_der(key) + b"\x00")


def test_huge_request_is_refused_before_it_is_parsed() -> None:
    with pytest.raises(TooLargeError, match=f"allowed are {DER_LIMIT}"):
        parse_proven_key(b"\x30" * (DER_LIMIT + 1))


def test_asked_names_are_ignored_and_named(key: ec.EllipticCurvePrivateKey) -> None:
    asked: list[x509.GeneralName] = [
        x509.DNSName("admin.example"),
        x509.UniformResourceIdentifier("spiffe://cluster.local/ns/kube-system/sa/admin"),
        x509.IPAddress(ipaddress.ip_address("10.0.0.1")),
        x509.RFC822Name("root@example.com"),
        x509.RegisteredID(x509.ObjectIdentifier("1.2.3")),
    ]

    proven = parse_proven_key(request_der(key, names=asked, common_name="admin"))

    assert proven.ignored_names[:4] == (
        "DNS:admin.example",
        "URI:spiffe://cluster.local/ns/kube-system/sa/admin",
        "IP:10.0.0.1",
        "email:root@example.com",
    )
    assert proven.ignored_names[4].startswith("RegisteredID:")


def test_asked_names_cannot_flood_or_forge_the_log(key: ec.EllipticCurvePrivateKey) -> None:
    asked: list[x509.GeneralName] = [x509.DNSName(f"a\x1b[2J{number}{'x' * 40}") for number in range(200)]

    proven = parse_proven_key(request_der(key, names=asked))

    assert len(proven.ignored_names) == 100
    assert all(name.isprintable() for name in proven.ignored_names)


def _swap_key(der: bytes, key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey) -> bytes:
    """The same request with another public key: what an attacker sends who does not hold that key."""
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    request, _ = decoder.decode(der, asn1Spec=rfc2986.CertificationRequest())
    swapped, _ = decoder.decode(spki, asn1Spec=request["certificationRequestInfo"]["subjectPKInfo"].clone())
    request["certificationRequestInfo"]["subjectPKInfo"] = swapped
    return bytes(encoder.encode(request))
