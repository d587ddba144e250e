"""The serving certificate of a CA pod: the pod signs it with its own issuing CA, and records it like any other.

The pod's edge proxy (Nginx) serves the generation that is written here; its sidecar reloads when `current` changes. So
a CA pod starts without another CA and without another replica.
"""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, Protocol

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from audit.record import Record
from ca import evidence
from ca.authority.authority import Authority
from ca.authority.leaf import LeafNames, issue
from ca.errors import UnavailableError
from ca.settings import Settings
from contract.names import CERTIFICATE_FILE, CURRENT, LIFETIME_SECONDS
from contract.renewal import renewal_due
from injector import generation
from injector.enroll.certificate import encode_chain, encode_key

_LIFETIME: Final = timedelta(seconds=LIFETIME_SECONDS)


class Log(Protocol):
    """Where the record of the certificate becomes durable. Raises AuditError."""

    def append(self, record: Record) -> None:
        """Return when the record is durable."""
        ...


def issue_serving_certificate(
    settings: Settings, authority: Authority, log: Log, *, nginx_conf: str, now: datetime
) -> Path:
    """Sign a serving certificate for a new key and flip to a generation with it; return the generation's directory.

    Raises CAError, AuditError (then nothing is served) or injector's GenerationError.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    names = LeafNames(settings.identity, settings.serving_names)
    leaf = issue(key.public_key(), names, authority=authority, now=now, lifetime=_LIFETIME)
    log.append(evidence.build_serving_record(evidence.Occasion(now, settings.replica, source=""), names, leaf))
    return generation.write(
        settings.run_directory,
        generation.Generation(
            key=encode_key(key),
            certificate=encode_chain((leaf, *authority.chain)),
            bundle=encode_chain(authority.bundle),
            nginx=nginx_conf.encode(),
        ),
    )


def is_renewal_due(settings: Settings, authority: Authority, now: datetime) -> bool:
    """Whether a new serving certificate is needed: none there, two thirds of its life gone, or another issuing CA.

    Raises UnavailableError for a generation that cannot be read.
    """
    served = _read_served(settings.run_directory)
    if not served or authority.certificate not in served:
        return True
    return now >= renewal_due(served[0].not_valid_before_utc, served[0].not_valid_after_utc)


def check_serving_certificate(run_directory: Path, now: datetime) -> None:
    """Return when the serving certificate is valid now, or no edge proxy runs; raise UnavailableError otherwise."""
    served = _read_served(run_directory)
    if served and not served[0].not_valid_before_utc <= now < served[0].not_valid_after_utc:
        raise UnavailableError(f"our serving certificate is valid until {served[0].not_valid_after_utc:%FT%TZ} only")


def _read_served(run_directory: Path) -> list[x509.Certificate]:
    path = run_directory / CURRENT / CERTIFICATE_FILE
    try:
        return x509.load_pem_x509_certificates(path.read_bytes())
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise UnavailableError(f"our serving certificate {path} cannot be read: {error}") from error
