"""Which requests prove which keys, and which are refused before any work is done for them."""

import ipaddress

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ca.api.csr import DER_LIMIT, parse_proven_key
from ca.errors import CSRError, TooLargeError
from tests.ca.certificate_requests import replace_key, request_with_extension, sign_tampered
from tests.ca.world import Key, request_der

WEAK_RSA = rsa.generate_private_key(65537, 1024)  # noqa: S505 - it must be refused
MUTATED = ec.generate_private_key(ec.SECP256R1())
TLS_FEATURE = "1.3.6.1.5.5.7.1.24"
# One value of each extension that our parser knows; a mutation of it is what the parser is asked to survive.
EXTENSIONS = {
    TLS_FEATURE: "3003020105",
    "2.5.29.14": "0403616263",
    "2.5.29.15": "03020780",
    "2.5.29.17": "301a8203612e62a413301131 0f300d06035504030c066469726563".replace(" ", ""),
    "2.5.29.19": "30060101ff020103",
    "2.5.29.30": "3007a00530038201 61".replace(" ", ""),
    "2.5.29.31": "3013301 1a00ba0098607687474703a2f2f6181020640".replace(" ", ""),
    "2.5.29.35": "30058003616263",
    "2.5.29.36": "3006800101810102",
    "2.5.29.37": "300a06082b06010505070301",
}
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
    der = replace_key(request_der(rsa.generate_private_key(65537, 2048)), huge)

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
    der = replace_key(request_der(ec.generate_private_key(ec.SECP256R1())), key.public_key())

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


@pytest.mark.parametrize("version", [1, 2, 5, 127])
def test_request_of_another_version_is_refused(version: int) -> None:
    # RFC 2986 section 4.1: version 1, which is written as 0, is the only one.
    with pytest.raises(CSRError, match=f"version field {version}: the only one is 0"):
        parse_proven_key(sign_tampered(MUTATED, version=version))


@pytest.mark.parametrize("number", [0, 6, 16, 99, 127])
def test_tls_feature_that_nobody_defines_is_refused(number: int) -> None:
    der = request_with_extension(MUTATED, TLS_FEATURE, bytes([0x30, 3, 2, 1, number]))

    with pytest.raises(CSRError, match=f"its extensions cannot be read: undefined value {number}"):
        parse_proven_key(der)


def test_directory_name_with_a_bit_string_is_refused() -> None:
    # A SAN with one directory name, whose CN is a BIT STRING.
    name = bytes.fromhex("3012a410300e310c300a060355040303030078 79".replace(" ", ""))

    with pytest.raises(CSRError, match=r"its extensions cannot be read: .*BitString"):
        parse_proven_key(request_with_extension(MUTATED, "2.5.29.17", name))


def test_attribute_that_we_do_not_use_is_not_read() -> None:
    # A challenge password that is neither a string nor DER of any kind that has a meaning.
    assert parse_proven_key(sign_tampered(MUTATED, attribute=b"\x1f\x81\x01\x00")).key == MUTATED.public_key()


@given(
    oid=st.sampled_from(sorted(EXTENSIONS)),
    changes=st.lists(st.tuples(st.integers(0, 63), st.integers(0, 255)), min_size=1, max_size=4),
)
@settings(max_examples=400, deadline=None)
@example(oid=TLS_FEATURE, changes=[(4, 99)])
def test_mutated_extension_is_accepted_or_refused_with_a_reason(oid: str, changes: list[tuple[int, int]]) -> None:
    value = bytearray.fromhex(EXTENSIONS[oid])
    for place, octet in changes:
        value[place % len(value)] = octet

    _require_verdict(request_with_extension(MUTATED, oid, bytes(value)))


@given(changes=st.lists(st.tuples(st.integers(0, 4095), st.integers(0, 255)), min_size=1, max_size=3))
@settings(max_examples=400, deadline=None)
def test_mutated_request_is_accepted_or_refused_with_a_reason(changes: list[tuple[int, int]]) -> None:
    der = bytearray(request_der(MUTATED, names=[x509.DNSName("a.svc")], common_name="a"))
    for place, octet in changes:
        der[place % len(der)] = octet

    _require_verdict(bytes(der))


def _require_verdict(der: bytes) -> None:
    """Return when the request is accepted or refused as a CSRError; whatever else is raised is the finding."""
    try:
        assert parse_proven_key(der).key == MUTATED.public_key()
    except CSRError as refusal:
        assert str(refusal)  # noqa: PT017 - both outcomes are right, a third one is not
