"""The controller's policy, over a cluster in memory that behaves."""

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ca.authority import creation
from ca.authority.authority import Template, parse_authority, sign
from ca.controller.reconcile import Secret, reconcile_authority
from ca.errors import ConfigurationError
from contract.identity import TrustDomain
from contract.names import ISSUING_SECRET, ROOT_SECRET
from injector.enroll.certificate import encode_chain, encode_key
from tests.fakes import FakeControlPlane

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
DOMAIN = TrustDomain("cluster.local")


def reconciled(cluster: FakeControlPlane, now: datetime = NOW, *, zone: str = "cluster.local") -> FakeControlPlane:
    reconcile_authority(cluster, DOMAIN, zone, now)
    return cluster


def issuing_of(cluster: FakeControlPlane) -> x509.Certificate:
    data = cluster.secrets[ISSUING_SECRET].data
    return parse_authority(data["tls.crt"], data["tls.key"], data["ca.crt"], where="test").certificate


def test_in_an_empty_cluster_an_authority_is_made_and_published() -> None:
    cluster = FakeControlPlane()

    outcome = reconcile_authority(cluster, DOMAIN, "cluster.local", NOW)

    assert cluster.writes == [f"create {ROOT_SECRET}", f"create {ISSUING_SECRET}"]
    assert cluster.bundle == cluster.ca_bundle == cluster.secrets[ROOT_SECRET].data["tls.crt"]
    assert issuing_of(cluster).not_valid_after_utc == outcome.issuing_until
    assert outcome.warnings == ()


def test_a_second_round_changes_nothing() -> None:
    cluster = reconciled(FakeControlPlane())
    before = dict(cluster.secrets)

    reconciled(cluster)

    assert cluster.secrets == before
    assert len(cluster.writes) == 2


def test_of_two_replicas_the_first_one_makes_the_authority_that_both_publish() -> None:
    class Slower(FakeControlPlane):
        """Another replica creates the root between our read and our write."""

        def create_secret(self, name: str, data: object) -> None:
            if name == ROOT_SECRET:
                made = creation.create_root(DOMAIN, NOW)
                pair = {"tls.crt": encode_chain((made.certificate,)), "tls.key": encode_key(made.key)}
                self.secrets[ROOT_SECRET] = Secret(pair, "1")
            super().create_secret(name, data)  # type: ignore[arg-type]

    cluster = Slower()

    reconciled(cluster)

    assert cluster.writes == [f"create {ISSUING_SECRET}"]
    assert cluster.bundle == cluster.secrets[ROOT_SECRET].data["tls.crt"]


def test_the_issuing_ca_is_renewed_after_two_thirds_of_its_life_under_the_same_root() -> None:
    cluster = reconciled(FakeControlPlane())
    first, root = issuing_of(cluster), cluster.secrets[ROOT_SECRET]

    reconciled(cluster, NOW + timedelta(days=250))

    assert issuing_of(cluster) != first
    assert cluster.secrets[ROOT_SECRET] == root
    assert cluster.bundle == root.data["tls.crt"]


def test_an_authority_that_is_deleted_during_a_round_root_first_does_not_come_back_by_half() -> None:
    class Deleting(FakeControlPlane):
        """Somebody deletes the root after our first read, and then the issuing CA."""

        def secret(self, name: str) -> Secret | None:
            found = super().secret(name)
            self.secrets.pop(ROOT_SECRET, None) or self.secrets.pop(ISSUING_SECRET, None)
            return found

    cluster = Deleting(reconciled(FakeControlPlane()).secrets)

    with pytest.raises(ConfigurationError, match=f"Secret {ROOT_SECRET} is gone while {ISSUING_SECRET} is there"):
        reconciled(cluster)

    assert cluster.writes == []
    assert cluster.secrets == {}


def test_an_issuing_ca_of_another_root_is_replaced() -> None:
    cluster, other = reconciled(FakeControlPlane()), reconciled(FakeControlPlane())
    cluster.secrets[ROOT_SECRET] = other.secrets[ROOT_SECRET]

    reconciled(cluster)

    assert cluster.bundle == other.bundle


def test_an_issuing_ca_of_another_zone_is_replaced_once_under_the_same_root() -> None:
    cluster = reconciled(FakeControlPlane())
    root = cluster.secrets[ROOT_SECRET]

    for _round in range(2):
        reconciled(cluster, zone="corp.internal")

    constraints = issuing_of(cluster).extensions.get_extension_for_class(x509.NameConstraints).value
    assert constraints.permitted_subtrees == [x509.DNSName("svc"), x509.DNSName("corp.internal")]
    assert cluster.writes[2:] == [f"replace {ISSUING_SECRET}"]
    assert cluster.secrets[ROOT_SECRET] == root
    assert cluster.bundle == root.data["tls.crt"]


def test_an_issuing_ca_without_constraints_is_replaced() -> None:
    cluster = reconciled(FakeControlPlane())
    cluster.secrets[ISSUING_SECRET] = unconstrained(cluster.secrets[ROOT_SECRET])

    reconciled(cluster)

    assert cluster.writes[2:] == [f"replace {ISSUING_SECRET}"]
    assert issuing_of(cluster).extensions.get_extension_for_class(x509.NameConstraints).critical


def unconstrained(root: Secret) -> Secret:
    """An issuing CA of this root that may certify any name."""
    certificate = x509.load_pem_x509_certificate(root.data["tls.crt"])
    root_key = serialization.load_pem_private_key(root.data["tls.key"], password=None)
    assert isinstance(root_key, ec.EllipticCurvePrivateKey)
    key = ec.generate_private_key(ec.SECP256R1())
    template = Template(
        subject=x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "any name")]),
        public_key=key.public_key(),
        issuer=certificate.subject,
        validity=(NOW, NOW + timedelta(days=365)),
        extensions=((x509.BasicConstraints(ca=True, path_length=0), True),),
    )
    made = encode_chain((sign(template, root_key),))
    return Secret({"tls.crt": made, "tls.key": encode_key(key), "ca.crt": root.data["tls.crt"]}, "7")


def test_a_lost_root_is_not_silently_replaced_while_its_issuing_ca_is_there() -> None:
    cluster = reconciled(FakeControlPlane())
    del cluster.secrets[ROOT_SECRET]

    with pytest.raises(ConfigurationError, match="podtls-root is gone while podtls-issuing is there: restore it"):
        reconciled(cluster)

    assert ROOT_SECRET not in cluster.secrets


def test_the_end_of_the_root_is_announced_a_year_before() -> None:
    cluster = reconciled(FakeControlPlane())

    outcome = reconcile_authority(cluster, DOMAIN, "cluster.local", NOW + timedelta(days=3300))

    assert "plan its rotation" in outcome.warnings[0]


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param({"tls.crt": b"", "tls.key": b""}, id="empty"),
        pytest.param({"tls.crt": b"garbage", "tls.key": b"garbage"}, id="garbage"),
        pytest.param({}, id="no data"),
    ],
)
def test_a_root_secret_that_we_did_not_write_is_refused_with_its_name(damage: dict[str, bytes]) -> None:
    cluster = FakeControlPlane(secrets={ROOT_SECRET: Secret(damage, "1")})

    with pytest.raises(ConfigurationError, match="Secret podtls-root"):
        reconciled(cluster)


def test_a_root_secret_with_a_foreign_key_is_refused() -> None:
    mine, other = creation.create_root(DOMAIN, NOW), creation.create_root(DOMAIN, NOW)
    secret = Secret({"tls.crt": encode_chain((mine.certificate,)), "tls.key": encode_key(other.key)}, "1")

    with pytest.raises(ConfigurationError, match="the key is not the certificate's"):
        reconciled(FakeControlPlane(secrets={ROOT_SECRET: secret}))


def test_a_secret_deleted_while_it_is_made_is_said_and_tried_again() -> None:
    class Forgetful(FakeControlPlane):
        """Somebody deletes what is created at once."""

        def create_secret(self, name: str, data: object) -> None:
            self.writes.append(f"create {name} {data is not None}")

    with pytest.raises(ConfigurationError, match="deleted while it was being made"):
        reconciled(Forgetful())
