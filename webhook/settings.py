"""What an administrator sets, as values that cannot be wrong. The only reader of webhook environment variables.

`decide` knows Policy, `inject` knows InjectionSettings; Settings is what one replica runs with.
"""

import re
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from contract.dns import parse_zone
from contract.errors import ContractError
from contract.grammar import CAEndpoint
from contract.identity import TrustDomain
from contract.names import (
    CA_SERVICE,
    DEFAULT_CA_URL,
    DEFAULT_LOG,
    DEFAULT_TRUST_DOMAIN,
    DEFAULT_ZONE,
    ENV_CA_URL,
    ENV_INIT_IMAGE,
    ENV_LOG,
    ENV_REPLICA,
    ENV_TRUST_BUNDLE_FILE,
    ENV_TRUST_DOMAIN,
    ENV_ZONE,
    RUN_AS_USER,
)
from serving.settings import ENV_METRICS_DIRECTORY
from webhook.errors import SettingsError

_IMAGE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]*")
# https://kubernetes.io/docs/concepts/configuration/manage-resources-containers/, the spellings that we need of it.
_CPU: Final = re.compile(r"[1-9][0-9]{0,5}m?")
_MEMORY: Final = re.compile(r"[1-9][0-9]{0,5}(Mi|Gi)")
_BOOLEANS: Final = {"true": True, "false": False}
_MAX_UID: Final = 2**31 - 1
# The fields of PodSettings that are plain texts, and where they are read.
_TEXTS: Final = {
    "image": ENV_INIT_IMAGE,
    "ca_url": ENV_CA_URL,
    "trust_domain": ENV_TRUST_DOMAIN,
    "zone": ENV_ZONE,
    "cpu": "PODTLS_CPU",
    "memory": "PODTLS_MEMORY",
}


@dataclass(frozen=True, slots=True)
class Policy:
    """What `decide` knows of the administrator's choice. `mirrored_image` None: no image of a mirror is accepted."""

    zone: str = DEFAULT_ZONE
    ca_host: str = CA_SERVICE
    mirrored_image: str | None = None


@dataclass(frozen=True, slots=True)
class PodSettings:
    """What an injected Pod carries of the administrator's choice; raises SettingsError for a wrong value.

    `run_as_user` None leaves the uid to the platform. `cpu` and `memory` are quantities of Kubernetes, for each of our
    two containers.
    """

    image: str
    ca_url: str = DEFAULT_CA_URL
    trust_domain: str = DEFAULT_TRUST_DOMAIN
    zone: str = DEFAULT_ZONE
    run_as_user: int | None = RUN_AS_USER
    accept_image_rewrite: bool = False
    cpu: str = "100m"
    memory: str = "96Mi"

    def __post_init__(self) -> None:
        _check_grammar(ENV_TRUST_DOMAIN, self.trust_domain, TrustDomain)
        _check_grammar(ENV_ZONE, self.zone, parse_zone)
        _check_grammar(ENV_CA_URL, self.ca_url, CAEndpoint.parse)
        _check(ENV_INIT_IMAGE, self.image, ok=_IMAGE.fullmatch(self.image), expected="an image reference")
        _check("PODTLS_CPU", self.cpu, ok=_CPU.fullmatch(self.cpu), expected="a quantity such as 100m or 1")
        _check("PODTLS_MEMORY", self.memory, ok=_MEMORY.fullmatch(self.memory), expected="a quantity such as 96Mi")
        in_range = self.run_as_user is None or 0 < self.run_as_user <= _MAX_UID
        _check("PODTLS_RUN_AS_USER", self.run_as_user, ok=in_range, expected=f"1 to {_MAX_UID}, never root, or none")

    @property
    def policy(self) -> Policy:
        """What `decide` needs of all this."""
        host = CAEndpoint.parse(self.ca_url).host
        return Policy(self.zone, host, self.image if self.accept_image_rewrite else None)


@dataclass(frozen=True, slots=True)
class InjectionSettings:
    """What `inject` writes: the settings, and the trust bundle of the moment as PEM (webhook.bundle.parse_bundle)."""

    pods: PodSettings
    trust_bundle: str


@dataclass(frozen=True, slots=True)
class Settings:
    """What one replica of the webhook runs with. The bundle is a file, since it changes while we run."""

    pods: PodSettings
    trust_bundle_file: Path
    log: Path
    replica: str
    metrics_directory: str | None = None

    @classmethod
    def from_env(cls, environment: Mapping[str, str]) -> "Settings":
        """Reads PODTLS_* variables; raises SettingsError naming the variable that is missing or wrong."""
        return cls(
            pods=_read_pod_settings(environment),
            trust_bundle_file=Path(environment.get(ENV_TRUST_BUNDLE_FILE, "/var/run/podtls-bundle/ca.crt")),
            log=Path(environment.get(ENV_LOG, DEFAULT_LOG)),
            replica=environment.get(ENV_REPLICA) or socket.gethostname(),
            metrics_directory=environment.get(ENV_METRICS_DIRECTORY),
        )


def _read_pod_settings(environment: Mapping[str, str]) -> PodSettings:
    """What is absent has the default of PodSettings; only the image has none."""
    given: dict[str, Any] = {name: environment[key] for name, key in _TEXTS.items() if key in environment}
    if (user := environment.get("PODTLS_RUN_AS_USER")) is not None:
        given["run_as_user"] = _parse_user(user)
    if (accept := environment.get("PODTLS_ACCEPT_IMAGE_REWRITE")) is not None:
        given["accept_image_rewrite"] = _parse_boolean("PODTLS_ACCEPT_IMAGE_REWRITE", accept)
    return PodSettings(**{"image": "", **given})


def _parse_user(text: str) -> int | None:
    if text == "none":
        return None
    _check("PODTLS_RUN_AS_USER", text, ok=re.fullmatch("[0-9]{1,10}", text), expected="a numeric uid, or none")
    return int(text)


def _parse_boolean(name: str, text: str) -> bool:
    _check(name, text, ok=text in _BOOLEANS, expected="true or false")
    return _BOOLEANS[text]


def _check_grammar(name: str, text: str, parse: Callable[[str], object]) -> None:
    try:
        parse(text)
    except ContractError as error:
        raise SettingsError(f"{name}: {error}") from error


def _check(name: str, got: object, *, ok: object, expected: str) -> None:
    if not ok:
        raise SettingsError(f"{name}: got {got!r}, expected {expected}")
