"""Keys that prove nothing: anybody can sign for them, or they are written in a second form. Each is refused."""

import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ca.api.csr import parse_proven_key
from ca.errors import CSRError
from tests.ca.certificate_requests import replace_key, sign_tampered
from tests.ca.world import request_der

# Each encoding of a point whose order divides 8: canonical ones, those with y >= p, and those with x = 0 and its sign.
ORDER_8 = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
P = 2**255 - 19
SMALL_ORDER = [y | sign << 255 for y in (0, 1, P - 1, P, P + 1, ORDER_8, P - ORDER_8) for sign in (0, 1)]
PRIMES = [rsa.generate_private_key(65537, 3072).private_numbers() for _ in range(2)]
MERSENNE = 2**3217 - 1


def _encode(key: ec.EllipticCurvePublicKey, form: PublicFormat) -> bytes:
    return key.public_bytes(Encoding.X962, form)


@pytest.mark.parametrize("encoded", SMALL_ORDER, ids=hex)
def test_ed25519_point_of_small_order_is_refused(encoded: int) -> None:
    point = ed25519.Ed25519PublicKey.from_public_bytes(encoded.to_bytes(32, "little"))

    with pytest.raises(CSRError, match="Ed25519 key of small order"):
        parse_proven_key(replace_key(request_der(ed25519.Ed25519PrivateKey.generate()), point))


def test_signature_that_fits_every_message_does_not_prove_a_small_order_point() -> None:
    # For the neutral element, R = S*B is a signature of anything: the identity's encoding, and S = 0.
    neutral = (1).to_bytes(32, "little")
    der = replace_key(
        request_der(ed25519.Ed25519PrivateKey.generate()), ed25519.Ed25519PublicKey.from_public_bytes(neutral)
    )

    with pytest.raises(CSRError, match="Ed25519 key of small order"):
        parse_proven_key(der[:-64] + neutral + bytes(32))


@pytest.mark.parametrize("y", [P + 2, P + 18], ids=hex)
def test_ed25519_point_in_a_second_encoding_is_refused(y: int) -> None:
    point = ed25519.Ed25519PublicKey.from_public_bytes(y.to_bytes(32, "little"))

    with pytest.raises(CSRError, match="Ed25519 key is not in its canonical encoding"):
        parse_proven_key(replace_key(request_der(ed25519.Ed25519PrivateKey.generate()), point))


def _find_rough_number_after(prime: int) -> int:
    """An odd number just above, without a factor below 2^16."""
    candidates = range(prime + 2, prime + 100_000, 2)
    return next(number for number in candidates if all(number % factor for factor in range(3, 2**16, 2)))


def _list_weak_moduli() -> list[tuple[str, int, str]]:
    p, q = PRIMES[0].p, PRIMES[0].q
    return [
        ("prime", MERSENNE, "is a prime, or the power of one"),
        ("square of a prime", p * p, "is a prime, or the power of one"),
        ("power of a small prime", (2**521 - 1) ** 6, "is a prime, or the power of one"),
        ("even", (p * q) & ~1, "has a small factor"),
        ("factor 3", 3 * 2**3072 + 3, "has a small factor"),
        ("factor 751", 751 * MERSENNE, "has a small factor"),
        ("factor 65521", 65521 * MERSENNE, "has a small factor"),
        ("close primes", p * _find_rough_number_after(p), "has two factors close to each other"),
    ]


@pytest.mark.parametrize(("modulus", "reason"), [pytest.param(n, why, id=name) for name, n, why in _list_weak_moduli()])
def test_rsa_modulus_that_anybody_can_factor_is_refused(modulus: int, reason: str) -> None:
    key = rsa.RSAPublicNumbers(65537, modulus).public_key()

    # The signature is another key's: who verified it first would say so.
    with pytest.raises(CSRError, match=f"RSA modulus {reason}"):
        parse_proven_key(replace_key(request_der(PRIMES[1].private_key()), key))


@pytest.mark.parametrize("exponent", [3, 65535, 2**32 + 1])
def test_rsa_exponent_outside_of_the_bounds_is_refused(exponent: int) -> None:
    key = rsa.RSAPublicNumbers(exponent, PRIMES[0].public_numbers.n).public_key()

    with pytest.raises(CSRError, match="RSA exponent: allowed are"):
        parse_proven_key(replace_key(request_der(PRIMES[1].private_key()), key))


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1()], ids=lambda curve: curve.name)
@pytest.mark.parametrize("form", ["compressed", "hybrid"])
def test_ec_point_in_another_form_is_refused_though_its_signature_is_valid(curve: ec.EllipticCurve, form: str) -> None:
    key = ec.generate_private_key(curve)
    plain = _encode(key.public_key(), PublicFormat.UncompressedPoint)
    other = (
        bytes([6 | plain[-1] & 1]) + plain[1:]
        if form == "hybrid"
        else _encode(key.public_key(), PublicFormat.CompressedPoint)
    )

    with pytest.raises(CSRError, match="EC key is not an uncompressed point"):
        parse_proven_key(sign_tampered(key, point=other))


def test_ec_key_that_spells_its_curve_out_is_refused(tmp_path: Path) -> None:
    openssl = ["openssl", "req", "-new", "-newkey", "ec", "-nodes", "-keyout", str(tmp_path / "key"), "-subj", "/CN=a"]
    options = ["-pkeyopt", "ec_paramgen_curve:P-256", "-pkeyopt", "ec_param_enc:explicit", "-outform", "DER"]
    made = subprocess.run([*openssl, *options], capture_output=True, check=True, timeout=30)

    with pytest.raises(CSRError, match="EC key spells its curve out"):
        parse_proven_key(made.stdout)


def test_uncompressed_point_elsewhere_in_the_request_excuses_nothing() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    plain = _encode(key.public_key(), PublicFormat.UncompressedPoint)
    spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    hybrid = bytes([6 | plain[-1] & 1]) + plain[1:]

    with pytest.raises(CSRError, match="EC key is not an uncompressed point"):
        parse_proven_key(sign_tampered(key, point=hybrid, attribute=spki))


def test_request_that_signs_what_we_tamper_is_accepted_when_nothing_is_tampered() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    plain = _encode(key.public_key(), PublicFormat.UncompressedPoint)

    assert parse_proven_key(sign_tampered(key, point=plain, attribute=b"\x05\x00")).key == key.public_key()


@pytest.mark.parametrize("size", [3072, 4096])
def test_honest_rsa_key_is_proven(size: int) -> None:
    key = rsa.generate_private_key(65537, size)

    assert parse_proven_key(request_der(key)).key == key.public_key()


def test_points_of_the_table_are_those_of_order_8() -> None:
    # -x^2 + y^2 = 1 + d x^2 y^2, and doubling such a point gives y = 0: x^2 = -y^2 there.
    d = -121665 * pow(121666, -1, P) % P

    assert (2 * ORDER_8**2 - 1 + d * ORDER_8**4) % P == 0
