"""Makes an authority: a new root, the issuing CA under it, and the files that keep them. Signs CAs only."""

import os
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ca.authority.authority import BACKDATE, Extensions, Template, sign
from ca.errors import ConfigurationError
from contract.identity import TrustDomain
from contract.names import BUNDLE_FILE, CERTIFICATE_FILE, KEY_FILE
from injector.enroll.certificate import encode_chain, encode_key

_ROOT_LIFETIME: Final = timedelta(days=3650)
_ISSUING_LIFETIME: Final = timedelta(days=365)

_CA_KEY_USAGE: Final = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)
# RFC 5280 section 4.2.1.10: a constraint binds only names of its own form. So DNS names end in `svc` or the zone, and
# there are no IP addresses at all. Never a URI constraint: rustls, pyca and Botan then reject every leaf.
_NO_ADDRESSES: Final = tuple(x509.IPAddress(ip_network(every)) for every in ("0.0.0.0/0", "::/0"))


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A CA's certificate with its private key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


@dataclass(frozen=True, slots=True)
class NewAuthority:
    """What create_authority() makes: a root, whose key belongs to the controller, and the issuing CA under it."""

    root: KeyPair
    issuing: KeyPair


def create_authority(trust_domain: TrustDomain, zone: str, now: datetime) -> NewAuthority:
    """A new root and the issuing CA under it; the latter may certify names in `svc` and in `zone` only."""
    root = create_root(trust_domain, now)
    return NewAuthority(root, create_issuing(trust_domain, zone, root, now))


def create_root(trust_domain: TrustDomain, now: datetime) -> KeyPair:
    """A new self-signed root, which may have one CA below it (pathlen 1)."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = _build_name("root", trust_domain, key)
    template = Template(
        subject=name,
        public_key=key.public_key(),
        issuer=name,
        validity=_compute_validity(now, _ROOT_LIFETIME),
        extensions=_build_extensions(1, _identify_key(key)),
    )
    return KeyPair(sign(template, key), key)


def create_issuing(trust_domain: TrustDomain, zone: str, root: KeyPair, now: datetime) -> KeyPair:
    """A new issuing CA under `root`: pathlen 0, names in `svc` and in `zone` only, never beyond its root's end."""
    key = ec.generate_private_key(ec.SECP256R1())
    constraints = x509.NameConstraints(permitted_subtrees=build_permitted_names(zone), excluded_subtrees=_NO_ADDRESSES)
    not_before, not_after = _compute_validity(now, _ISSUING_LIFETIME)
    template = Template(
        subject=_build_name("issuing CA", trust_domain, key),
        public_key=key.public_key(),
        issuer=root.certificate.subject,
        validity=(not_before, min(not_after, root.certificate.not_valid_after_utc)),
        extensions=(*_build_extensions(0, _identify_key(root.key)), (constraints, True)),
    )
    return KeyPair(sign(template, root.key), key)


def build_permitted_names(zone: str) -> tuple[x509.DNSName, ...]:
    """The DNS names, with all below them, that an issuing CA made for `zone` may certify."""
    return x509.DNSName("svc"), x509.DNSName(zone)


def _compute_validity(now: datetime, lifetime: timedelta) -> tuple[datetime, datetime]:
    now = now.replace(microsecond=0)  # X.509 has whole seconds.
    return now - BACKDATE, now + lifetime


def save_authority(made: NewAuthority, directory: Path) -> None:
    """Write root.crt, root.key and issuing/{tls.crt,tls.key,ca.crt}; keys are mode 0400.

    Raises ConfigurationError; a file that exists is never overwritten.
    """
    issuing = directory / "issuing"
    files = {
        directory / "root.key": (encode_key(made.root.key), 0o400),
        directory / "root.crt": (encode_chain((made.root.certificate,)), 0o444),
        issuing / KEY_FILE: (encode_key(made.issuing.key), 0o400),
        issuing / CERTIFICATE_FILE: (encode_chain((made.issuing.certificate,)), 0o444),
        issuing / BUNDLE_FILE: (encode_chain((made.root.certificate,)), 0o444),
    }
    try:
        issuing.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path, (content, mode) in files.items():
            _write_new(path, content, mode)
    except FileExistsError as error:
        raise ConfigurationError(f"{error.filename} exists: an authority is never overwritten") from error
    except OSError as error:
        raise ConfigurationError(f"{error.filename or directory}: {error.strerror}") from error


def _build_name(role: str, trust_domain: TrustDomain, key: ec.EllipticCurvePrivateKey) -> x509.Name:
    # Two roots live side by side in a rotation. Verifiers look issuers up by name, so each key has a name of its own.
    digest = _identify_key(key).digest.hex()[:8]
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, str(trust_domain)),
            x509.NameAttribute(NameOID.COMMON_NAME, f"podtls {role} {digest}"),
        ]
    )


def _build_extensions(path_length: int, issuer: x509.SubjectKeyIdentifier) -> Extensions:
    return (
        (x509.BasicConstraints(ca=True, path_length=path_length), True),
        (_CA_KEY_USAGE, True),
        (x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer), False),
    )


def _identify_key(key: ec.EllipticCurvePrivateKey) -> x509.SubjectKeyIdentifier:
    return x509.SubjectKeyIdentifier.from_public_key(key.public_key())


def _write_new(path: Path, content: bytes, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(descriptor)
