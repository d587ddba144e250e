"""The check of what the CA sent: each way to be wrong has its own reason."""

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from contract.identity import TrustDomain, WorkloadIdentity
from injector.enroll import certificate
from injector.enroll.certificate import Bundle, leaf_renewal_due
from injector.errors import RefusedError
from tests.injector.authority import BOTH, Authority

NOW = datetime.now(UTC)
DOMAIN = TrustDomain("cluster.local")
IDENTITY = WorkloadIdentity(DOMAIN, "shop", "checkout")


def test_a_request_names_nobody_and_is_signed_by_its_key() -> None:
    key = certificate.make_key()

    request = x509.load_der_x509_csr(certificate.make_request(key))

    assert request.is_signature_valid
    assert list(request.subject) == []
    assert list(request.extensions) == []
    assert isinstance(key.curve, ec.SECP256R1)


def test_our_own_certificate_is_accepted(authority: Authority) -> None:
    leaf = authority.leaf()

    certificate.verify(
        leaf.chain, key=leaf.key, bundle=Bundle.parse(authority.bundle), identity=IDENTITY, now=datetime.now(UTC)
    )


def test_a_bundle_of_two_roots_accepts_both(authority: Authority, foreign: Authority) -> None:
    bundle = Bundle.parse(foreign.bundle + b"a comment\n" + authority.bundle)

    for one in (authority, foreign):
        certificate.verify_chain(one.leaf().chain, bundle=bundle, now=datetime.now(UTC))

    assert bundle.pem == foreign.bundle + authority.bundle


@pytest.mark.parametrize(
    ("identity", "reason"),
    [
        pytest.param(
            WorkloadIdentity(DOMAIN, "bank", "checkout"),
            "this pod is spiffe://cluster.local/ns/bank",
            id="ns",
        ),
        pytest.param(
            WorkloadIdentity(DOMAIN, "shop", "admin"),
            "this pod is .*/sa/admin",
            id="service account",
        ),
        pytest.param(
            WorkloadIdentity(TrustDomain("example.org"), "shop", "checkout"),
            "this pod is spiffe://example.org",
            id="trust domain",
        ),
    ],
)
def test_another_identity_is_refused(authority: Authority, identity: WorkloadIdentity, reason: str) -> None:
    leaf = authority.leaf()

    with pytest.raises(RefusedError, match=reason):
        certificate.verify(
            leaf.chain, key=leaf.key, bundle=Bundle.parse(authority.bundle), identity=identity, now=datetime.now(UTC)
        )


def test_a_chain_without_its_issuing_authority_is_refused(authority: Authority) -> None:
    leaf = authority.leaf()

    with pytest.raises(RefusedError, match="does not chain to the trust bundle"):
        certificate.verify_chain(leaf.chain[:1], bundle=Bundle.parse(authority.bundle), now=datetime.now(UTC))


def test_a_name_outside_of_the_constraints_is_refused(authority: Authority) -> None:
    leaf = authority.leaf(dns=("example.com",))

    with pytest.raises(RefusedError, match="no permitted name constraints matched"):
        certificate.verify_chain(leaf.chain, bundle=Bundle.parse(authority.bundle), now=datetime.now(UTC))


@pytest.mark.parametrize(
    ("purposes", "reason"),
    [
        pytest.param((), "not for TLS servers and clients", id="none"),
        pytest.param(BOTH[:1], "required EKU not found", id="servers only"),
        pytest.param(BOTH[1:], "not for TLS servers and clients", id="clients only"),
    ],
)
def test_a_certificate_for_one_side_only_is_refused(
    authority: Authority, purposes: tuple[x509.ObjectIdentifier, ...], reason: str
) -> None:
    chain = authority.sign(certificate.make_key().public_key(), purposes=purposes)

    with pytest.raises(RefusedError, match=reason):
        certificate.verify_chain(chain, bundle=Bundle.parse(authority.bundle), now=datetime.now(UTC))


def test_trust_anchors_are_not_sent(authority: Authority) -> None:
    leaf = authority.leaf()

    chain = certificate.without_authorities((*leaf.chain, authority.root), Bundle.parse(authority.bundle))

    assert chain == leaf.chain


def test_a_key_of_another_kind_does_not_match(authority: Authority) -> None:
    leaf = authority.leaf()
    other = rsa.generate_private_key(65537, 2048)

    assert certificate.matches(leaf.chain, certificate.encode_key(leaf.key))
    assert not certificate.matches(leaf.chain, other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def test_names_of_a_certificate_without_any_are_empty(authority: Authority) -> None:
    assert certificate.names(authority.root) == (frozenset(), frozenset())


def test_renewal_is_due_before_two_thirds_of_life_and_not_at_once(authority: Authority) -> None:
    start = NOW.replace(microsecond=0)

    dues = {
        leaf_renewal_due(authority.leaf(start=start - timedelta(seconds=60), valid=timedelta(hours=24)).chain[0])
        for _ in range(20)
    }

    assert len(dues) > 1
    assert all(timedelta(hours=14.4) < due - start <= timedelta(hours=16) for due in dues)
