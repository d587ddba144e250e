"""Issues leaf certificates: the profile as a table, one signature, and a check of what came out.

Pure, except that serial numbers and signatures are random. A certificate is read back and checked twice before it
leaves: against the profile, by code that shares nothing with the code that built it, and against the authority, by the
path validation of cryptography.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, NameOID
from cryptography.x509.verification import PolicyBuilder, VerificationError

from ca.authority.authority import BACKDATE, Authority, Extensions, PublicKey, Template, sign
from ca.errors import ProfileError, UnavailableError
from contract.identity import WorkloadIdentity

# RFC 9608: a leaf that lives for hours is not revoked, it runs out. Its value is a DER NULL.
_NO_REV_AVAIL: Final = x509.ObjectIdentifier("2.5.29.56")
_SERIAL_BITS: Final = 159

_KEY_USAGE: Final = x509.KeyUsage(
    digital_signature=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=False,
    crl_sign=False,
    encipher_only=False,
    decipher_only=False,
)
_FIXED: Final[Extensions] = (
    (x509.BasicConstraints(ca=False, path_length=None), True),
    (_KEY_USAGE, True),
    (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), False),
    (x509.UnrecognizedExtension(_NO_REV_AVAIL, b"\x05\x00"), False),
)
# Every extension that a leaf has, in its order: whether it is critical, and its DER where that is the same in every
# leaf, spelt out: a slip in the constants above shows here. None may be missing, none may be added.
_EXPECTED: Final[tuple[tuple[x509.ObjectIdentifier, bool, bytes], ...]] = (
    (ExtensionOID.SUBJECT_KEY_IDENTIFIER, False, b""),
    (ExtensionOID.BASIC_CONSTRAINTS, True, bytes.fromhex("3000")),
    (ExtensionOID.KEY_USAGE, True, bytes.fromhex("03020780")),
    (ExtensionOID.EXTENDED_KEY_USAGE, False, bytes.fromhex("301406082b0601050507030106082b06010505070302")),
    (_NO_REV_AVAIL, False, bytes.fromhex("0500")),
    (ExtensionOID.AUTHORITY_KEY_IDENTIFIER, False, b""),
    (ExtensionOID.SUBJECT_ALTERNATIVE_NAME, False, b""),
)
_FIXED_PART: Final = slice(1, 5)


@dataclass(frozen=True, slots=True)
class LeafNames:
    """All names of one leaf: DNS names in a stable order, and exactly one URI, the identity's SPIFFE ID."""

    identity: WorkloadIdentity
    dns: tuple[str, ...]

    @property
    def uri(self) -> str:
        """The SPIFFE ID."""
        return str(self.identity)


def issue(
    public_key: PublicKey, names: LeafNames, *, authority: Authority, now: datetime, lifetime: timedelta
) -> x509.Certificate:
    """A leaf for `names`, valid from one minute ago for `lifetime`, but never beyond its issuer.

    Raises UnavailableError when the authority is not valid now, ProfileError when the result is not as it must be.
    """
    issuer = authority.certificate
    if not issuer.not_valid_before_utc <= now < issuer.not_valid_after_utc:
        span = f"from {issuer.not_valid_before_utc:%FT%TZ} until {issuer.not_valid_after_utc:%FT%TZ}"
        raise UnavailableError(f"the issuing CA is valid {span}, and now it is {now:%FT%TZ}")
    now = now.replace(microsecond=0)  # X.509 has whole seconds.
    validity = (now - BACKDATE, min(now + lifetime, issuer.not_valid_after_utc))
    template = Template(
        subject=_build_subject(names),
        public_key=public_key,
        issuer=issuer.subject,
        validity=validity,
        extensions=(*_FIXED, (authority.key_identifier, False), (_build_alternative_names(names), False)),
    )
    leaf = sign(template, authority.key)
    require_profile(leaf, template, names)
    require_signature(leaf, authority, now)
    return leaf


def _build_subject(names: LeafNames) -> x509.Name:
    # Nginx has no variable for the SAN, so the subject repeats the SPIFFE ID; a CN ends at 64 characters.
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, str(names.identity.trust_domain)),
            x509.NameAttribute(NameOID.USER_ID, names.uri),
        ]
    )


def _build_alternative_names(names: LeafNames) -> x509.SubjectAlternativeName:
    return x509.SubjectAlternativeName([*map(x509.DNSName, names.dns), x509.UniformResourceIdentifier(names.uri)])


def require_profile(leaf: x509.Certificate, template: Template, names: LeafNames) -> None:
    """Return when the leaf is exactly what the design says; raise ProfileError naming each rule that it breaks."""
    extensions = list(leaf.extensions)
    found = {
        "serial number": 0 < leaf.serial_number < 1 << _SERIAL_BITS,
        "validity": (leaf.not_valid_before_utc, leaf.not_valid_after_utc),
        # Its very octets; parsing the key once more would cost as much as several other rules.
        "public key": _encode_key(template.public_key) in leaf.tbs_certificate_bytes,
        "subject": [(part.oid, part.value) for part in leaf.subject],
        "extensions": [(extension.oid, extension.critical) for extension in extensions],
        "fixed extensions": [extension.value.public_bytes() for extension in extensions[_FIXED_PART]],
        "names": [(type(name), name.value) for name in _read_alternative_names(extensions)],
    }
    expected = {
        "serial number": True,
        "validity": template.validity,
        "public key": True,
        "subject": [
            (NameOID.ORGANIZATION_NAME, str(names.identity.trust_domain)),
            (NameOID.USER_ID, names.uri),
        ],
        "extensions": [(oid, critical) for oid, critical, _ in _EXPECTED],
        "fixed extensions": [octets for _, _, octets in _EXPECTED[_FIXED_PART]],
        "names": [*((x509.DNSName, name) for name in names.dns), (x509.UniformResourceIdentifier, names.uri)],
    }
    if found != expected:
        wrong = [rule for rule in expected if found[rule] != expected[rule]]
        raise ProfileError(f"leaf for {names.uri} is not what the profile says: {', '.join(wrong)}")


def _read_alternative_names(extensions: list[x509.Extension[x509.ExtensionType]]) -> Iterable[x509.GeneralName]:
    value = extensions[-1].value
    return value if isinstance(value, x509.SubjectAlternativeName) else ()


def _encode_key(key: PublicKey) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def require_signature(leaf: x509.Certificate, authority: Authority, now: datetime) -> None:
    """Return when path validation finds the leaf valid under the authority; raise ProfileError otherwise."""
    verifier = PolicyBuilder().store(authority.store).time(now).build_client_verifier()
    try:
        verifier.verify(leaf, [])
    except VerificationError as error:
        raise ProfileError(f"leaf does not verify against the authority: {error}") from error
