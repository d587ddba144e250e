"""reconcile(): authority, bundle and caBundle as they must be. What the elected replica does, again and again.

Policy over the ControlPlane Protocol: kubernetes, clock and election are the caller's (control_plane.py, loop.py).
Every step reads before it writes and yields to whoever was first, so two replicas that believe to lead do no harm.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from ca.authority import creation
from ca.authority.authority import Authority, certificate_pem, key_pem, parse
from ca.authority.creation import KeyPair
from ca.errors import ConfigurationError
from contract.identity import TrustDomain
from contract.names import BUNDLE_FILE, CERTIFICATE_FILE, ISSUING_SECRET, KEY_FILE, ROOT_SECRET
from contract.renewal import renewal_due

# The root is nobody's to renew silently: pods trust the one that they were admitted with.
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
        """Create a Secret of type kubernetes.io/tls; do nothing when somebody was first."""
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


def reconcile(cluster: ControlPlane, trust_domain: TrustDomain, zone: str, now: datetime) -> Outcome:
    """Make what is missing, renew what is due, publish what pods and API server must trust.

    Another zone takes a new issuing CA under the same root, so running pods go on trusting each other.
    Raises UnavailableError when the API server does not answer, ConfigurationError when a Secret is not what we wrote
    or the root is gone while its issuing CA is there: a new root would cut off every running pod, so a person decides.
    """
    # Before the root: whoever deletes first the root and then this must not be met between the two, and find the old
    # root, which is gone, at work again.
    issuing = cluster.secret(ISSUING_SECRET)
    root = _root(cluster, trust_domain, now, has_issuing=issuing is not None)
    if issuing is None or _is_due(_authority(issuing), root, zone, now):
        issuing = _issued(cluster, issuing, _issuing_data(root, trust_domain, zone, now))
    authority = _authority(issuing)
    bundle = b"".join(certificate_pem(certificate) for certificate in authority.bundle)
    cluster.publish_bundle(bundle)
    cluster.publish_ca_bundle(bundle)
    until = root.certificate.not_valid_after_utc
    late = (f"the root ends at {until:%F}: plan its rotation",) if until - now < _ROOT_WARNING else ()
    return Outcome(until, authority.certificate.not_valid_after_utc, late)


def _root(cluster: ControlPlane, trust_domain: TrustDomain, now: datetime, *, has_issuing: bool) -> KeyPair:
    found = cluster.secret(ROOT_SECRET)
    if found is None:
        if has_issuing:
            raise ConfigurationError(
                f"Secret {ROOT_SECRET} is gone while {ISSUING_SECRET} is there: restore it from a backup, or delete "
                f"{ISSUING_SECRET} too to begin a new trust domain (then every enrolled pod must be recreated)"
            )
        made = creation.create_root(trust_domain, now)
        pair = {CERTIFICATE_FILE: certificate_pem(made.certificate), KEY_FILE: key_pem(made.key)}
        cluster.create_secret(ROOT_SECRET, pair)
        # Read back: whoever was first has made the one that counts.
        found = _present(cluster, ROOT_SECRET)
    return _key_pair(found)


def _issued(cluster: ControlPlane, before: Secret | None, data: Mapping[str, bytes]) -> Secret:
    """The issuing CA that counts after this: ours, or that of whoever was first."""
    if before is None:
        cluster.create_secret(ISSUING_SECRET, data)
    else:
        cluster.replace_secret(ISSUING_SECRET, data, version=before.version)
    return _present(cluster, ISSUING_SECRET)


def _is_due(authority: Authority, root: KeyPair, zone: str, now: datetime) -> bool:
    """Whether a new issuing CA is needed: late in its life, of another root, or made for another zone."""
    is_late = now >= renewal_due(authority.certificate.not_valid_before_utc, authority.certificate.not_valid_after_utc)
    return is_late or root.certificate not in authority.bundle or not _is_of_zone(authority.certificate, zone)


def _is_of_zone(issuing: x509.Certificate, zone: str) -> bool:
    # Names outside of its constraints make a leaf invalid, so of another zone's it could not sign one with a Service.
    try:
        constraints = issuing.extensions.get_extension_for_class(x509.NameConstraints).value
    except x509.ExtensionNotFound:
        return False
    return set(constraints.permitted_subtrees or ()) == set(creation.permitted_names(zone))


def _issuing_data(root: KeyPair, trust_domain: TrustDomain, zone: str, now: datetime) -> dict[str, bytes]:
    issuing = creation.create_issuing(trust_domain, zone, root, now)
    return {
        CERTIFICATE_FILE: certificate_pem(issuing.certificate),
        KEY_FILE: key_pem(issuing.key),
        BUNDLE_FILE: certificate_pem(root.certificate),
    }


def _present(cluster: ControlPlane, name: str) -> Secret:
    found = cluster.secret(name)
    if found is None:
        raise ConfigurationError(f"Secret {name} was deleted while it was being made; the next round tries again")
    return found


def _authority(secret: Secret) -> Authority:
    names = (CERTIFICATE_FILE, KEY_FILE, BUNDLE_FILE)
    return parse(*(secret.data.get(name, b"") for name in names), where=f"Secret {ISSUING_SECRET}")


def _key_pair(secret: Secret) -> KeyPair:
    try:
        certificate = x509.load_pem_x509_certificate(secret.data.get(CERTIFICATE_FILE, b""))
        key = serialization.load_pem_private_key(secret.data.get(KEY_FILE, b""), password=None)
    except (ValueError, TypeError) as error:
        raise ConfigurationError(f"Secret {ROOT_SECRET}: {error}") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        raise ConfigurationError(f"Secret {ROOT_SECRET}: the key is not the certificate's, or not an EC key")
    return KeyPair(certificate, key)
