"""issue(): the leaf's profile, rule by rule, and that a leaf which breaks one never leaves."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from ca.authority import creation
from ca.authority.authority import Authority, PublicKey, Template, sign
from ca.authority.leaf import LeafNames, issue, require_profile, require_signature
from ca.errors import ProfileError, UnavailableError
from contract.identity import TrustDomain, WorkloadIdentity
from tests.ca.world import IDENTITY, NOW, TRUST_DOMAIN, Key

DAY = timedelta(days=1)
URI = "spiffe://cluster.local/ns/shop/sa/payments"
NAMES = LeafNames(IDENTITY, ("10-1-2-3.shop.pod.cluster.local", "payments.shop.svc", "payments.shop.svc.cluster.local"))
WHOLE = NOW.replace(microsecond=0)


@pytest.fixture
def leaf(authority: Authority, key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    return issue(key.public_key(), NAMES, authority=authority, now=NOW, lifetime=DAY)


def test_leaf_is_exactly_what_the_design_says(
    leaf: x509.Certificate, authority: Authority, key: ec.EllipticCurvePrivateKey
) -> None:
    assert leaf.version is x509.Version.v3
    assert leaf.serial_number.bit_length() <= 159
    assert leaf.public_key() == key.public_key()
    assert leaf.not_valid_before_utc == WHOLE - timedelta(seconds=60)
    assert leaf.not_valid_after_utc == WHOLE + DAY
    assert leaf.issuer == authority.certificate.subject
    assert [(part.oid, part.value) for part in leaf.subject] == [
        (NameOID.ORGANIZATION_NAME, "cluster.local"),
        (x509.ObjectIdentifier("0.9.2342.19200300.100.1.1"), URI),
    ]
    assert isinstance(leaf.signature_hash_algorithm, hashes.SHA256)


def test_leaf_has_exactly_these_extensions(leaf: x509.Certificate, authority: Authority) -> None:
    issuer_ski = authority.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    found = {extension.oid.dotted_string: (extension.critical, extension.value) for extension in leaf.extensions}

    assert found["2.5.29.19"] == (True, x509.BasicConstraints(ca=False, path_length=None))
    usage = found["2.5.29.15"][1]
    assert isinstance(usage, x509.KeyUsage)
    assert found["2.5.29.15"][0] is True
    assert usage.digital_signature
    assert not any((usage.content_commitment, usage.key_encipherment, usage.key_agreement, usage.key_cert_sign))
    purposes = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    assert found["2.5.29.37"] == (False, purposes)
    assert found["2.5.29.14"] == (False, x509.SubjectKeyIdentifier.from_public_key(leaf.public_key()))
    assert found["2.5.29.35"] == (False, x509.AuthorityKeyIdentifier(issuer_ski.digest, None, None))
    no_revocation = x509.ObjectIdentifier("2.5.29.56")
    assert found["2.5.29.56"] == (False, x509.UnrecognizedExtension(no_revocation, b"\x05\x00"))
    alternative = x509.SubjectAlternativeName([*map(x509.DNSName, NAMES.dns), x509.UniformResourceIdentifier(URI)])
    assert found["2.5.29.17"] == (False, alternative)
    assert len(found) == 7


def test_leaf_without_any_dns_name_carries_its_identity(authority: Authority, key: ec.EllipticCurvePrivateKey) -> None:
    leaf = issue(key.public_key(), LeafNames(IDENTITY, ()), authority=authority, now=NOW, lifetime=DAY)

    alternative = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert list(alternative) == [x509.UniformResourceIdentifier(URI)]


@pytest.mark.parametrize(
    "key",
    [
        pytest.param(ec.generate_private_key(ec.SECP384R1()), id="P-384"),
        pytest.param(ed25519.Ed25519PrivateKey.generate(), id="Ed25519"),
        pytest.param(rsa.generate_private_key(65537, 3072), id="RSA"),
    ],
)
def test_every_accepted_key_type_gets_the_same_profile(key: Key, authority: Authority) -> None:
    leaf = issue(key.public_key(), NAMES, authority=authority, now=NOW, lifetime=DAY)

    assert leaf.public_key() == key.public_key()


def test_chain_verifies_from_leaf_to_root_for_servers_and_clients(leaf: x509.Certificate, authority: Authority) -> None:
    builder = PolicyBuilder().store(Store(list(authority.bundle))).time(NOW).max_chain_depth(1)

    chain = builder.build_server_verifier(x509.DNSName("payments.shop.svc")).verify(leaf, [authority.certificate])
    client = builder.build_client_verifier().verify(leaf, [authority.certificate])

    assert chain == [leaf, authority.certificate, authority.bundle[0]]
    assert client.subjects is not None
    assert x509.UniformResourceIdentifier(URI) in client.subjects


def test_leaf_is_not_valid_for_another_name(leaf: x509.Certificate, authority: Authority) -> None:
    builder = PolicyBuilder().store(Store(list(authority.bundle))).time(NOW)

    with pytest.raises(VerificationError, match="no matching subjectAltName"):
        builder.build_server_verifier(x509.DNSName("orders.shop.svc")).verify(leaf, [authority.certificate])


def test_two_leaves_have_two_serial_numbers(authority: Authority, key: ec.EllipticCurvePrivateKey) -> None:
    serials = {
        issue(key.public_key(), NAMES, authority=authority, now=NOW, lifetime=DAY).serial_number for _ in range(20)
    }

    assert len(serials) == 20


def test_leaf_never_lives_longer_than_its_issuer(authority: Authority, key: ec.EllipticCurvePrivateKey) -> None:
    end = authority.certificate.not_valid_after_utc

    leaf = issue(key.public_key(), NAMES, authority=authority, now=end - timedelta(hours=1), lifetime=DAY)

    assert leaf.not_valid_after_utc == end


@pytest.mark.parametrize("year", [pytest.param(2029, id="not yet valid"), pytest.param(2032, id="expired")])
def test_authority_that_is_not_valid_now_signs_nothing(
    year: int, authority: Authority, key: ec.EllipticCurvePrivateKey
) -> None:
    with pytest.raises(UnavailableError, match="the issuing CA is valid from 2030-05-01T11:59:00Z until 2031-"):
        issue(key.public_key(), NAMES, authority=authority, now=datetime(year, 6, 1, tzinfo=UTC), lifetime=DAY)


def test_name_outside_the_constraints_never_leaves(authority: Authority, key: ec.EllipticCurvePrivateKey) -> None:
    with pytest.raises(ProfileError, match="does not verify against the authority"):
        issue(key.public_key(), LeafNames(IDENTITY, ("bank.example",)), authority=authority, now=NOW, lifetime=DAY)


def test_key_that_is_not_the_authoritys_never_signs_a_leaf_that_leaves(
    authority: Authority, key: ec.EllipticCurvePrivateKey
) -> None:
    broken = replace(authority, key=ec.generate_private_key(ec.SECP256R1()))

    with pytest.raises(ProfileError, match="does not verify against the authority"):
        issue(key.public_key(), NAMES, authority=broken, now=NOW, lifetime=DAY)


def _template(key: PublicKey, authority: Authority, **changes: Any) -> Template:
    """What issue() hands to sign(), with one thing changed."""
    usage = x509.KeyUsage(True, False, False, False, False, False, False, False, False)
    purposes = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    alternative = [*map(x509.DNSName, NAMES.dns), x509.UniformResourceIdentifier(URI)]
    extensions: dict[str, tuple[x509.ExtensionType, bool]] = {
        "constraints": (x509.BasicConstraints(ca=False, path_length=None), True),
        "usage": (usage, True),
        "purposes": (purposes, False),
        "revocation": (x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.56"), b"\x05\x00"), False),
        "issuer": (authority.key_identifier, False),
        "names": (x509.SubjectAlternativeName(alternative), False),
    }
    extensions.update(changes.pop("extensions", {}))
    subject = [
        x509.NameAttribute(NameOID.ORGANIZATION_NAME, "cluster.local"),
        x509.NameAttribute(NameOID.USER_ID, URI),
    ]
    values: dict[str, Any] = {
        "subject": x509.Name(subject),
        "public_key": key,
        "issuer": authority.certificate.subject,
        "validity": (WHOLE - timedelta(seconds=60), WHOLE + DAY),
        "extensions": tuple(extensions.values()),
    }
    return Template(**{**values, **changes})


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        pytest.param({"subject": x509.Name([])}, "subject", id="no subject"),
        pytest.param({"validity": (WHOLE, WHOLE + 2 * DAY)}, "validity", id="longer life"),
        pytest.param({"public_key": ec.generate_private_key(ec.SECP256R1()).public_key()}, "public key", id="key"),
        pytest.param(
            {"extensions": {"constraints": (x509.BasicConstraints(ca=True, path_length=None), True)}},
            "fixed extensions",
            id="a CA",
        ),
        pytest.param(
            {"extensions": {"usage": (x509.KeyUsage(True, True, True, True, True, True, True, False, False), True)}},
            "fixed extensions",
            id="more usages",
        ),
        pytest.param(
            {"extensions": {"purposes": (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), False)}},
            "fixed extensions",
            id="another purpose",
        ),
        pytest.param(
            {"extensions": {"names": (x509.SubjectAlternativeName([x509.DNSName("a.shop.svc")]), False)}},
            "names",
            id="other names",
        ),
        pytest.param(
            {"extensions": {"names": (x509.SubjectAlternativeName([x509.DNSName("a.shop.svc")]), True)}},
            "extensions",
            id="critical where it must not be",
        ),
        pytest.param({"extensions": {"more": (x509.OCSPNoCheck(), False)}}, "extensions", id="an extension too many"),
    ],
)
def test_leaf_that_breaks_a_rule_is_named_and_never_leaves(
    changes: dict[str, Any], rule: str, authority: Authority, key: ec.EllipticCurvePrivateKey
) -> None:
    good = _template(key.public_key(), authority)
    bad = sign(_template(key.public_key(), authority, **changes), authority.key)

    require_profile(sign(good, authority.key), good, NAMES)

    with pytest.raises(ProfileError, match=f"is not what the profile says: .*{rule}"):
        require_profile(bad, good, NAMES)


def test_leaf_of_another_authority_does_not_verify(authority: Authority, key: ec.EllipticCurvePrivateKey) -> None:
    issuing = creation.create_authority(TRUST_DOMAIN, "cluster.local", NOW).issuing
    foreign = replace(authority, chain=(issuing.certificate,), key=issuing.key)
    leaf = sign(_template(key.public_key(), foreign), foreign.key)

    with pytest.raises(ProfileError, match="does not verify against the authority"):
        require_signature(leaf, authority, NOW)


def test_identity_of_another_trust_domain_stands_in_the_subject(
    authority: Authority, key: ec.EllipticCurvePrivateKey
) -> None:
    identity = WorkloadIdentity(TrustDomain("corp.example"), "shop", "payments")

    leaf = issue(key.public_key(), LeafNames(identity, ()), authority=authority, now=NOW, lifetime=DAY)

    assert leaf.subject.rfc4514_string() == "UID=spiffe://corp.example/ns/shop/sa/payments,O=corp.example"
