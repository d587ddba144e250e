"""Settings: the only reader of the CA's environment. Parsed once at start into a value that cannot be wrong."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from ca.api.attest import Rules, SourceAddress
from ca.errors import ConfigurationError
from contract.errors import IdentityError
from contract.identity import TrustDomain, WorkloadIdentity
from contract.names import ENV_NAMESPACE, ENV_SERVICE_ACCOUNT, ENV_TRUST_DOMAIN, RUN_DIRECTORY

_NAME: Final = re.compile(r"(?=.{1,200}\Z)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*")
_SERVICE: Final = "podtls-ca.podtls-system.svc"


@dataclass(frozen=True, slots=True)
class Settings:
    """What a CA replica is told. from_env() raises ConfigurationError naming the variable and what is allowed."""

    trust_domain: TrustDomain
    zone: str
    authority: Path
    log: Path
    replica: str
    source_address: SourceAddress
    run_directory: Path
    identity: WorkloadIdentity  # Our own, for our serving certificate.
    serving_names: tuple[str, ...]
    metrics_directory: str | None = None

    @classmethod
    def from_env(cls, environment: Mapping[str, str]) -> Self:
        """The settings in `environment`; a variable that is absent or empty has its default."""
        trust_domain = _trust_domain(environment)
        zone = _zone(environment)
        return cls(
            trust_domain=trust_domain,
            zone=zone,
            authority=Path(environment.get("PODTLS_AUTHORITY") or "/var/run/podtls-authority"),
            log=Path(environment.get("PODTLS_LOG") or "/var/log/podtls/evidence.jsonl"),
            replica=environment.get("PODTLS_REPLICA") or os.uname().nodename,
            source_address=_source_address(environment),
            run_directory=Path(environment.get("PODTLS_RUN") or RUN_DIRECTORY),
            identity=_identity(environment, trust_domain),
            serving_names=_serving_names(environment, zone),
            metrics_directory=environment.get("PROMETHEUS_MULTIPROC_DIR"),
        )

    @property
    def rules(self) -> Rules:
        """What attest() needs of all this."""
        return Rules(self.trust_domain, self.source_address)


def _trust_domain(environment: Mapping[str, str]) -> TrustDomain:
    try:
        return TrustDomain(environment.get(ENV_TRUST_DOMAIN) or "cluster.local")
    except IdentityError as error:
        raise ConfigurationError(f"{ENV_TRUST_DOMAIN}: {error}") from error


def _zone(environment: Mapping[str, str]) -> str:
    zone = environment.get("PODTLS_ZONE") or "cluster.local"
    # In a zone called `svc`, web.shop.svc.svc would be a Service of `shop` and a pod of a Service in a namespace `svc`.
    if zone == "svc" or not _NAME.fullmatch(zone):
        raise ConfigurationError(f"PODTLS_ZONE={zone!r}: expected a DNS name in lower case, no dot at its end, not svc")
    return zone


def _source_address(environment: Mapping[str, str]) -> SourceAddress:
    value = environment.get("PODTLS_SOURCE_ADDRESS") or SourceAddress.REQUIRE
    try:
        return SourceAddress(value)
    except ValueError as error:
        raise ConfigurationError(f"PODTLS_SOURCE_ADDRESS={value!r}: allowed are require and record") from error


def _identity(environment: Mapping[str, str], trust_domain: TrustDomain) -> WorkloadIdentity:
    namespace = environment.get(ENV_NAMESPACE) or "podtls-system"
    service_account = environment.get(ENV_SERVICE_ACCOUNT) or "podtls-ca"
    try:
        return WorkloadIdentity(trust_domain, namespace, service_account)
    except IdentityError as error:
        raise ConfigurationError(f"{ENV_NAMESPACE}, {ENV_SERVICE_ACCOUNT}: {error}") from error


def _serving_names(environment: Mapping[str, str], zone: str) -> tuple[str, ...]:
    names = (environment.get("PODTLS_SERVING_NAMES") or f"{_SERVICE},{_SERVICE}.{zone}").split(",")
    for name in names:
        if not _NAME.fullmatch(name):
            raise ConfigurationError(f"PODTLS_SERVING_NAMES: {name!r} is no DNS name")
    return tuple(sorted(set(names)))
