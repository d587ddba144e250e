"""Which public keys we certify. A key that anybody can sign for, or that has a second encoding, proves nothing.

Nothing here verifies a signature: these checks come first, the cheap ones before the dear one.
"""

import math
from functools import lru_cache
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ca.authority.authority import PublicKey
from ca.errors import CSRError

_CURVES: Final = (ec.SECP256R1, ec.SECP384R1)
_RSA_BITS: Final = range(3072, 4096 + 1)
# A huge exponent makes each verification slow, a small one has a history (FIPS 186-5 section A.1.1 has this bound).
_RSA_EXPONENTS: Final = range(65537, 2**32, 2)
# NIST SP 800-89 section 5.3.3 looks for factors below 752; up to here it costs a millisecond.
_SMALL_FACTORS: Final = 2**16
# As the Baseline Requirements of the CA/Browser Forum have it (section 6.1.1.3).
_FERMAT_ROUNDS: Final = 100

_ED25519_PRIME: Final = 2**255 - 19
_ED25519_Y_OF_ORDER_8: Final = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
# The y of every point whose order divides 8: with such a key, a signature exists that fits (nearly) every message.
_ED25519_SMALL_ORDER: Final = frozenset(
    {0, 1, _ED25519_PRIME - 1, _ED25519_Y_OF_ORDER_8, _ED25519_PRIME - _ED25519_Y_OF_ORDER_8}
)


def check_key(key: object, encoded: bytes) -> PublicKey:
    """The key, when it is one that we certify; `encoded` is its SubjectPublicKeyInfo as sent. Raises CSRError."""
    match key:
        case ec.EllipticCurvePublicKey():
            _check_ec_key(key, encoded)
            return key
        case rsa.RSAPublicKey():
            _check_rsa_key(key)
            return key
        case ed25519.Ed25519PublicKey():
            _check_ed25519_key(key)
            return key
    raise CSRError(f"{type(key).__name__}: allowed are P-256, P-384, Ed25519 and RSA")


def _check_ec_key(key: ec.EllipticCurvePublicKey, encoded: bytes) -> None:
    if not isinstance(key.curve, _CURVES):
        raise CSRError(f"key on curve {key.curve.name}: allowed are P-256 and P-384")
    # RFC 5480 section 2.2 forbids hybrid points and leaves compressed ones to us. The point ends the encoded key, and
    # its first octet names the form.
    if not encoded.endswith(key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)):
        raise CSRError("EC key is not an uncompressed point: other forms are not allowed")
    # RFC 5480 section 2.1.1: a curve is named, never spelt out.
    if encoded != key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo):
        raise CSRError("EC key spells its curve out: it must name it")


def _check_ed25519_key(key: ed25519.Ed25519PublicKey) -> None:
    # RFC 8032 section 5.1.2: the highest bit is the sign of x.
    y = int.from_bytes(key.public_bytes_raw(), "little") & ~(1 << 255)
    if y % _ED25519_PRIME in _ED25519_SMALL_ORDER:
        raise CSRError("Ed25519 key of small order: anybody can sign for it")
    if y >= _ED25519_PRIME:
        raise CSRError("Ed25519 key is not in its canonical encoding")


def _check_rsa_key(key: rsa.RSAPublicKey) -> None:
    if key.key_size not in _RSA_BITS:
        raise CSRError(f"RSA key of {key.key_size} bits: allowed are {_RSA_BITS[0]} to {_RSA_BITS[-1]}")
    numbers = key.public_numbers()
    if numbers.e not in _RSA_EXPONENTS:
        raise CSRError("RSA exponent: allowed are odd ones from 65537 to 2^32")
    _check_modulus(numbers.n)


def _check_modulus(modulus: int) -> None:
    if math.gcd(modulus, _multiply_small_primes()) != 1:
        raise CSRError("RSA modulus has a small factor: anybody can sign for it")
    # Fermat: p divides 2^(n-1) - 1 when n is p or a power of p. For the product of two random primes it is so by a
    # chance that nobody meets. A tenth of a second at 4096 bits, so it comes last but for a signature.
    if math.gcd(pow(2, modulus - 1, modulus) - 1, modulus) != 1:
        raise CSRError("RSA modulus is a prime, or the power of one: anybody can sign for it")
    if _has_close_factors(modulus):
        raise CSRError("RSA modulus has two factors close to each other: anybody can sign for it")


def _has_close_factors(modulus: int) -> bool:
    first = math.isqrt(modulus) + 1
    differences = (middle * middle - modulus for middle in range(first, first + _FERMAT_ROUNDS))
    return any(math.isqrt(difference) ** 2 == difference for difference in differences)


@lru_cache(maxsize=1)
def _multiply_small_primes() -> int:
    is_prime = bytearray([1]) * _SMALL_FACTORS
    for number in range(2, math.isqrt(_SMALL_FACTORS) + 1):
        if is_prime[number]:
            is_prime[number * number :: number] = bytes(len(range(number * number, _SMALL_FACTORS, number)))
    return math.prod(number for number in range(2, _SMALL_FACTORS) if is_prime[number])
