"""One round of the controller: it makes authority, trust bundle and caBundle what they must be.

Policy over the ControlPlane Protocol. The cluster, the clock and the election are the caller's (kubernetes.py,
leader.py). Every step reads before it writes, and accepts what another replica wrote first. So two replicas that both
believe they lead do no harm.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from ca.authority import creation
from ca.authority.authority import Authority, parse_authority
from ca.authority.creation import KeyPair
from ca.errors import ConfigurationError
from contract.identity import TrustDomain
from contract.names import BUNDLE_FILE, CERTIFICATE_FILE, ISSUING_SECRET, KEY_FILE, ROOT_SECRET
from contract.renewal import renewal_due
from injector.enroll.certificate import encode_chain, encode_key

# We never renew the root silently: pods trust the one that they were admitted with.
_ROOT_WARNING: Final = timedelta(days=365)


@dataclass(frozen=True, slots=True)
class Secret:
    """A Secret's data, decoded, with the resourceVersion that a replacement must still find."""

    data: Mapping[str, bytes]
    version: str


class ControlPlane(Protocol):
    """What the controller reads and writes, in its namespace and cluster-wide. Raises UnavailableError."""

    def secret(self, name: str) -> Secret | None:
        """Return a Secret, None when there is none."""
        ...

    def create_secret(self, name: str, data: Mapping[str, bytes]) -> None:
        """Create a Secret of type kubernetes.io/tls; do nothing when it exists already."""
        ...

    def replace_secret(self, name: str, data: Mapping[str, bytes], *, version: str) -> None:
        """Replace a Secret's data; do nothing when it is no longer of `version`."""
        ...

    def publish_bundle(self, bundle: bytes) -> None:
        """Make the ConfigMap carry this trust bundle (PEM)."""
        ...

    def publish_ca_bundle(self, bundle: bytes) -> None:
        """Make every entry of the webhook configurations carry it as caBundle."""
        ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a round found: until when root and issuing CA live, and what a person should be told."""

    root_until: datetime
    issuing_until: datetime
    warnings: tuple[str, ...]


def reconcile_authority(cluster: ControlPlane, trust_domain: TrustDomain, zone: str, now: datetime) -> Outcome:
    """Make what is missing, renew what is due, publish what pods and API server must trust.

    Another zone takes a new issuing CA under the same root, so running pods go on trusting each other.
    Raises UnavailableError when the API server does not answer, ConfigurationError when a Secret is not what we wrote
    or the root is gone while its issuing CA is there: a new root would cut off every running pod, so a person decides.
    """
    # Read the issuing Secret first. If somebody deletes root and issuing one after the other, reading in this order
    # cannot pair a new root with the old issuing CA.
    issuing = cluster.secret(ISSUING_SECRET)
    root = _read_or_create_root(cluster, trust_domain, now, has_issuing=issuing is not None)
    if issuing is None or _needs_replacement(_parse_issuing(issuing), root, zone, now):
        issuing = _write_issuing(cluster, issuing, _create_issuing_data(root, trust_domain, zone, now))
    authority = _parse_issuing(issuing)
    bundle = encode_chain(authority.bundle)
    cluster.publish_bundle(bundle)
    cluster.publish_ca_bundle(bundle)
    until = root.certificate.not_valid_after_utc
    late = (f"the root ends at {until:%F}: plan its rotation",) if until - now < _ROOT_WARNING else ()
    return Outcome(until, authority.certificate.not_valid_after_utc, late)


def _read_or_create_root(
    cluster: ControlPlane, trust_domain: TrustDomain, now: datetime, *, has_issuing: bool
) -> KeyPair:
    found = cluster.secret(ROOT_SECRET)
    if found is None:
        if has_issuing:
            raise ConfigurationError(
                f"Secret {ROOT_SECRET} is gone while {ISSUING_SECRET} is there: restore it from a backup, or delete "
                f"{ISSUING_SECRET} too to begin a new trust domain (then every enrolled pod must be recreated)"
            )
        made = creation.create_root(trust_domain, now)
        pair = {CERTIFICATE_FILE: encode_chain((made.certificate,)), KEY_FILE: encode_key(made.key)}
        cluster.create_secret(ROOT_SECRET, pair)
        # Read back: another replica may have been first, and then its root counts.
        found = _read_present(cluster, ROOT_SECRET)
    return _parse_key_pair(found)


def _write_issuing(cluster: ControlPlane, before: Secret | None, data: Mapping[str, bytes]) -> Secret:
    """The issuing CA that counts after this: ours, or that of a replica that was first."""
    if before is None:
        cluster.create_secret(ISSUING_SECRET, data)
    else:
        cluster.replace_secret(ISSUING_SECRET, data, version=before.version)
    return _read_present(cluster, ISSUING_SECRET)


def _needs_replacement(authority: Authority, root: KeyPair, zone: str, now: datetime) -> bool:
    """Whether a new issuing CA is needed: late in its life, of another root, or made for another zone."""
    is_late = now >= renewal_due(authority.certificate.not_valid_before_utc, authority.certificate.not_valid_after_utc)
    return is_late or root.certificate not in authority.bundle or not _is_of_zone(authority.certificate, zone)


def _is_of_zone(issuing: x509.Certificate, zone: str) -> bool:
    # A leaf with a name outside of the constraints is invalid: one made for another zone could sign no Service's name.
    try:
        constraints = issuing.extensions.get_extension_for_class(x509.NameConstraints).value
    except x509.ExtensionNotFound:
        return False
    return set(constraints.permitted_subtrees or ()) == set(creation.build_permitted_names(zone))


def _create_issuing_data(root: KeyPair, trust_domain: TrustDomain, zone: str, now: datetime) -> dict[str, bytes]:
    issuing = creation.create_issuing(trust_domain, zone, root, now)
    return {
        CERTIFICATE_FILE: encode_chain((issuing.certificate,)),
        KEY_FILE: encode_key(issuing.key),
        BUNDLE_FILE: encode_chain((root.certificate,)),
    }


def _read_present(cluster: ControlPlane, name: str) -> Secret:
    found = cluster.secret(name)
    if found is None:
        raise ConfigurationError(f"Secret {name} was deleted while it was being made; the next round tries again")
    return found


def _parse_issuing(secret: Secret) -> Authority:
    names = (CERTIFICATE_FILE, KEY_FILE, BUNDLE_FILE)
    return parse_authority(*(secret.data.get(name, b"") for name in names), where=f"Secret {ISSUING_SECRET}")


def _parse_key_pair(secret: Secret) -> KeyPair:
    try:
        certificate = x509.load_pem_x509_certificate(secret.data.get(CERTIFICATE_FILE, b""))
        key = serialization.load_pem_private_key(secret.data.get(KEY_FILE, b""), password=None)
    except (ValueError, TypeError) as error:
        raise ConfigurationError(f"Secret {ROOT_SECRET}: {error}") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        raise ConfigurationError(f"Secret {ROOT_SECRET}: the key is not the certificate's, or not an EC key")
    return KeyPair(certificate, key)
