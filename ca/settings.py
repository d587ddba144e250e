"""Settings: the only reader of the CA's environment. Parsed once at start into a value that cannot be wrong."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from ca.api.attest import Rules, SourceAddress
from ca.errors import ConfigurationError
from contract.dns import LONGEST_ZONE, is_dns_name, parse_zone
from contract.errors import GrammarError, IdentityError
from contract.identity import TrustDomain, WorkloadIdentity
from contract.names import (
    CA_NAME,
    CA_SERVICE,
    DEFAULT_LOG,
    DEFAULT_TRUST_DOMAIN,
    DEFAULT_ZONE,
    ENV_AUTHORITY,
    ENV_LOG,
    ENV_NAMESPACE,
    ENV_REPLICA,
    ENV_RUN,
    ENV_SERVICE_ACCOUNT,
    ENV_SERVING_NAMES,
    ENV_SOURCE_ADDRESS,
    ENV_TRUST_DOMAIN,
    ENV_ZONE,
    RUN_DIRECTORY,
    SYSTEM_NAMESPACE,
)
from serving.settings import ENV_METRICS_DIRECTORY


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
        trust_domain = _parse_trust_domain(environment)
        zone = _parse_zone(environment)
        return cls(
            trust_domain=trust_domain,
            zone=zone,
            authority=Path(environment.get(ENV_AUTHORITY) or "/var/run/podtls-authority"),
            log=Path(environment.get(ENV_LOG) or DEFAULT_LOG),
            replica=environment.get(ENV_REPLICA) or os.uname().nodename,
            source_address=_parse_source_address(environment),
            run_directory=Path(environment.get(ENV_RUN) or RUN_DIRECTORY),
            identity=_parse_identity(environment, trust_domain),
            serving_names=_parse_serving_names(environment, zone),
            metrics_directory=environment.get(ENV_METRICS_DIRECTORY),
        )

    @property
    def rules(self) -> Rules:
        """What attest_pod() needs of all this."""
        return Rules(self.trust_domain, self.source_address)


def _parse_trust_domain(environment: Mapping[str, str]) -> TrustDomain:
    try:
        return TrustDomain(environment.get(ENV_TRUST_DOMAIN) or DEFAULT_TRUST_DOMAIN)
    except IdentityError as error:
        raise ConfigurationError(f"{ENV_TRUST_DOMAIN}: {error}") from error


def _parse_zone(environment: Mapping[str, str]) -> str:
    try:
        return parse_zone(environment.get(ENV_ZONE) or DEFAULT_ZONE)
    except GrammarError as error:
        raise ConfigurationError(f"{ENV_ZONE}: {error}") from error


def _parse_source_address(environment: Mapping[str, str]) -> SourceAddress:
    value = environment.get(ENV_SOURCE_ADDRESS) or SourceAddress.REQUIRE
    try:
        return SourceAddress(value)
    except ValueError as error:
        raise ConfigurationError(f"{ENV_SOURCE_ADDRESS}={value!r}: allowed are require and record") from error


def _parse_identity(environment: Mapping[str, str], trust_domain: TrustDomain) -> WorkloadIdentity:
    namespace = environment.get(ENV_NAMESPACE) or SYSTEM_NAMESPACE
    service_account = environment.get(ENV_SERVICE_ACCOUNT) or CA_NAME
    try:
        return WorkloadIdentity(trust_domain, namespace, service_account)
    except IdentityError as error:
        raise ConfigurationError(f"{ENV_NAMESPACE}, {ENV_SERVICE_ACCOUNT}: {error}") from error


def _parse_serving_names(environment: Mapping[str, str], zone: str) -> tuple[str, ...]:
    names = (environment.get(ENV_SERVING_NAMES) or f"{CA_SERVICE},{CA_SERVICE}.{zone}").split(",")
    for name in names:
        if not is_dns_name(name, longest=LONGEST_ZONE):
            raise ConfigurationError(f"{ENV_SERVING_NAMES}: {name!r} is not a DNS name")
    return tuple(sorted(set(names)))
