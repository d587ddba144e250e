"""The cluster's own certificates: one authority, the API server's certificate, and a client certificate per user."""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LIFETIME = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Pair:
    """Where a certificate and its private key lie."""

    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True)
class ClusterAuthority:
    """Signs for the API server and its clients; a cluster has one, and it ends with the cluster."""

    folder: Path
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def path(self) -> Path:
        """The certificate that clients trust."""
        return self.folder / "ca.crt"


def create_cluster_authority(folder: Path) -> ClusterAuthority:
    """A new self-signed authority whose files live in the folder."""
    folder.mkdir(mode=0o700, parents=True)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "podtls test cluster")])
    certificate = (
        _builder(name, name, key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    authority = ClusterAuthority(folder, certificate, key)
    authority.path.write_bytes(certificate.public_bytes(Encoding.PEM))
    return authority


def issue_server(authority: ClusterAuthority, *, names: Sequence[str], addresses: Sequence[str]) -> Pair:
    """The API server's serving certificate, for DNS names and IP addresses."""
    alternatives = [
        *(x509.DNSName(name) for name in names),
        *(x509.IPAddress(ipaddress.ip_address(address)) for address in addresses),
    ]
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kube-apiserver")])
    return _issue(
        authority, subject, file_name="kube-apiserver", alternatives=x509.SubjectAlternativeName(alternatives)
    )


def issue_client(authority: ClusterAuthority, user: str, *, group: str | None = None) -> Pair:
    """A client certificate: the API server takes the common name for the user and the organization for the group."""
    names = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group)] if group else []
    subject = x509.Name([*names, x509.NameAttribute(NameOID.COMMON_NAME, user)])
    return _issue(authority, subject, file_name=user.replace(":", "-"), alternatives=None)


def write_service_account_keys(folder: Path) -> Pair:
    """The key that signs service account tokens, and the public key that they are checked with."""
    key = ec.generate_private_key(ec.SECP256R1())
    pair = Pair(folder / "service-account.pub", folder / "service-account.key")
    pair.certificate.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    _write_key(pair.key, key)
    return pair


def _issue(
    authority: ClusterAuthority, subject: x509.Name, *, file_name: str, alternatives: x509.SubjectAlternativeName | None
) -> Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    usage = ExtendedKeyUsageOID.SERVER_AUTH if alternatives else ExtendedKeyUsageOID.CLIENT_AUTH
    issuer_key = authority.key.public_key()
    builder = (
        _builder(subject, authority.certificate.subject, key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key), critical=False)
    )
    if alternatives:
        builder = builder.add_extension(alternatives, critical=False)
    pair = Pair(authority.folder / f"{file_name}.crt", authority.folder / f"{file_name}.key")
    pair.certificate.write_bytes(builder.sign(authority.key, hashes.SHA256()).public_bytes(Encoding.PEM))
    _write_key(pair.key, key)
    return pair


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + LIFETIME)
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    path.touch(mode=0o600)
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
