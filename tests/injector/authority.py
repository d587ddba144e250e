"""A certificate authority for tests, of the design's profile: root (pathlen 1), issuing CA (pathlen 0, constrained)."""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from injector.enroll.certificate import encode_chain

SPIFFE_ID = "spiffe://cluster.local/ns/shop/sa/checkout"
BOTH = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)
_CONSTRAINTS = x509.NameConstraints(
    permitted_subtrees=[x509.DNSName("svc"), x509.DNSName("cluster.local")],
    excluded_subtrees=[
        x509.IPAddress(ipaddress.ip_network("0.0.0.0/0")),
        x509.IPAddress(ipaddress.ip_network("::/0")),
    ],
)


@dataclass(frozen=True, slots=True)
class Leaf:
    """A leaf with its key, as a client or server of a test uses it."""

    key: ec.EllipticCurvePrivateKey
    chain: tuple[x509.Certificate, ...]


@dataclass(frozen=True, slots=True)
class Authority:
    """Root and issuing CA."""

    root: x509.Certificate
    issuing: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @classmethod
    def create(cls, name: str = "test root", *, constrained: bool = True) -> Self:
        root_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
        root_name, issuing_name = _name(name), _name(f"{name} issuing")
        root = _authority(root_name, root_name, root_key, root_key, path_length=1)
        issuing = _authority(issuing_name, root_name, key, root_key, path_length=0, constrained=constrained)
        return cls(root=root, issuing=issuing, key=key)

    @property
    def bundle(self) -> bytes:
        return encode_chain((self.root,))

    def sign(
        self,
        public_key: CertificatePublicKeyTypes,
        *,
        uri: str = SPIFFE_ID,
        dns: Sequence[str] = ("checkout.shop.svc", "checkout.shop.svc.cluster.local"),
        valid: timedelta = timedelta(hours=24),
        start: datetime | None = None,
        purposes: Sequence[x509.ObjectIdentifier] = BOTH,
    ) -> tuple[x509.Certificate, ...]:
        """A leaf and its issuing CA."""
        start = start or datetime.now(UTC) - timedelta(seconds=60)
        builder = (
            x509.CertificateBuilder()
            .subject_name(_leaf_name(uri))
            .issuer_name(self.issuing.subject)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(start + timedelta(seconds=60) + valid)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(digital_signature=True), critical=True)
            .add_extension(
                x509.SubjectAlternativeName(
                    [
                        *(x509.DNSName(name) for name in dns),
                        x509.UniformResourceIdentifier(uri),
                    ]
                ),
                critical=False,
            )
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()),
                critical=False,
            )
        )
        if purposes:
            builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        return (builder.sign(self.key, hashes.SHA256()), self.issuing)

    def leaf(
        self,
        *,
        uri: str = SPIFFE_ID,
        dns: Sequence[str] = ("checkout.shop.svc", "checkout.shop.svc.cluster.local"),
        valid: timedelta = timedelta(hours=24),
        start: datetime | None = None,
    ) -> Leaf:
        """A leaf with a key made here."""
        key = ec.generate_private_key(ec.SECP256R1())
        return Leaf(key=key, chain=self.sign(key.public_key(), uri=uri, dns=dns, valid=valid, start=start))


def _authority(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    signer: ec.EllipticCurvePrivateKey,
    *,
    path_length: int,
    constrained: bool = False,
) -> x509.Certificate:
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=2))
        .not_valid_after(now + timedelta(days=30))
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(_usage(key_cert_sign=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )
    if constrained:
        builder = builder.add_extension(_CONSTRAINTS, critical=True)
    return builder.sign(signer, hashes.SHA256())


def _usage(*, digital_signature: bool = False, key_cert_sign: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        key_cert_sign=key_cert_sign,
        crl_sign=key_cert_sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _leaf_name(uri: str) -> x509.Name:
    trust_domain = uri.removeprefix("spiffe://").split("/", maxsplit=1)[0]
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, trust_domain),
            x509.NameAttribute(NameOID.USER_ID, uri),
        ]
    )
