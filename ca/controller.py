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

from ca import creation
from ca.authority import Authority, certificate_pem, key_pem, parse
from ca.creation import KeyPair
from ca.errors import ConfigurationError
from ca.identity import TrustDomain
from injector import contract

ROOT_SECRET: Final = "podtls-root"  # noqa: S105 - the name of a Secret
ISSUING_SECRET: Final = "podtls-issuing"  # noqa: S105 - the name of a Secret
BUNDLE_CONFIG_MAP: Final = "podtls-bundle"

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

    Raises UnavailableError when the API server does not answer, ConfigurationError when a Secret is not what we wrote
    or the root is gone while its issuing CA is there: a new root would cut off every running pod, so a person decides.
    """
    root = _root(cluster, trust_domain, now)
    authority = _issuing(cluster, root, trust_domain, zone, now)
    bundle = b"".join(certificate_pem(certificate) for certificate in authority.bundle)
    cluster.publish_bundle(bundle)
    cluster.publish_ca_bundle(bundle)
    until = root.certificate.not_valid_after_utc
    late = (f"the root ends at {until:%F}: plan its rotation",) if until - now < _ROOT_WARNING else ()
    return Outcome(until, authority.certificate.not_valid_after_utc, late)


def _root(cluster: ControlPlane, trust_domain: TrustDomain, now: datetime) -> KeyPair:
    found = cluster.secret(ROOT_SECRET)
    if found is None:
        if cluster.secret(ISSUING_SECRET) is not None:
            raise ConfigurationError(
                f"Secret {ROOT_SECRET} is gone while {ISSUING_SECRET} is there: restore it from a backup, or delete "
                f"{ISSUING_SECRET} too to begin a new trust domain (then every enrolled pod must be recreated)"
            )
        made = creation.create_root(trust_domain, now)
        pair = {contract.CERTIFICATE_FILE: certificate_pem(made.certificate), contract.KEY_FILE: key_pem(made.key)}
        cluster.create_secret(ROOT_SECRET, pair)
        # Read back: whoever was first has made the one that counts.
        found = _present(cluster, ROOT_SECRET)
    return _key_pair(found)


def _issuing(cluster: ControlPlane, root: KeyPair, trust_domain: TrustDomain, zone: str, now: datetime) -> Authority:
    found = cluster.secret(ISSUING_SECRET)
    if found is None:
        cluster.create_secret(ISSUING_SECRET, _issuing_data(root, trust_domain, zone, now))
    elif _is_due(_authority(found), root, now):
        data = _issuing_data(root, trust_domain, zone, now)
        cluster.replace_secret(ISSUING_SECRET, data, version=found.version)
    else:
        return _authority(found)
    return _authority(_present(cluster, ISSUING_SECRET))


def _is_due(authority: Authority, root: KeyPair, now: datetime) -> bool:
    """Whether a new issuing CA is needed: two thirds of its life are over, or another root vouches for it."""
    start, end = authority.certificate.not_valid_before_utc, authority.certificate.not_valid_after_utc
    return root.certificate not in authority.bundle or now >= start + (end - start) * 2 / 3


def _issuing_data(root: KeyPair, trust_domain: TrustDomain, zone: str, now: datetime) -> dict[str, bytes]:
    issuing = creation.create_issuing(trust_domain, zone, root, now)
    return {
        contract.CERTIFICATE_FILE: certificate_pem(issuing.certificate),
        contract.KEY_FILE: key_pem(issuing.key),
        contract.BUNDLE_FILE: certificate_pem(root.certificate),
    }


def _present(cluster: ControlPlane, name: str) -> Secret:
    found = cluster.secret(name)
    if found is None:
        raise ConfigurationError(f"Secret {name} was deleted while it was being made; the next round tries again")
    return found


def _authority(secret: Secret) -> Authority:
    names = (contract.CERTIFICATE_FILE, contract.KEY_FILE, contract.BUNDLE_FILE)
    return parse(*(secret.data.get(name, b"") for name in names), where=f"Secret {ISSUING_SECRET}")


def _key_pair(secret: Secret) -> KeyPair:
    try:
        certificate = x509.load_pem_x509_certificate(secret.data.get(contract.CERTIFICATE_FILE, b""))
        key = serialization.load_pem_private_key(secret.data.get(contract.KEY_FILE, b""), password=None)
    except (ValueError, TypeError) as error:
        raise ConfigurationError(f"Secret {ROOT_SECRET}: {error}") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        raise ConfigurationError(f"Secret {ROOT_SECRET}: the key is not the certificate's, or not an EC key")
    return KeyPair(certificate, key)
