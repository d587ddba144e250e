"""What an administrator sets, as values that cannot be wrong. The only reader of webhook environment variables.

`decide` knows Policy, `inject` knows InjectionSettings; Settings is what one replica runs with.
"""

import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from contract.grammar import CAEndpoint
from contract.names import RUN_AS_USER
from webhook.errors import SettingsError

_LABEL: Final = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
# In a zone called `svc`, web.shop.svc.svc would be a Service of `shop` and a pod of a Service in a namespace `svc`.
_ZONE: Final = re.compile(rf"(?!svc\Z)(?=.{{1,200}}\Z){_LABEL}(\.{_LABEL})*")
# As the CA has it (contract/identity.py): it is the leaf's O as well, which ends at 64 characters.
_TRUST_DOMAIN: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_IMAGE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]*")
# https://kubernetes.io/docs/concepts/configuration/manage-resources-containers/, the spellings that we need of it.
_CPU: Final = re.compile(r"[1-9][0-9]{0,5}m?")
_MEMORY: Final = re.compile(r"[1-9][0-9]{0,5}(Mi|Gi)")
_BOOLEANS: Final = {"true": True, "false": False}
_MAX_UID: Final = 2**31 - 1


_DEFAULT_ZONE: Final = "cluster.local"
_DEFAULT_CA_HOST: Final = "podtls-ca.podtls-system.svc"
# The fields of PodSettings that are plain texts, and where they are read.
_TEXTS: Final = {
    "image": "PODTLS_INIT_IMAGE",
    "ca_url": "PODTLS_CA_URL",
    "trust_domain": "PODTLS_TRUST_DOMAIN",
    "zone": "PODTLS_ZONE",
    "cpu": "PODTLS_CPU",
    "memory": "PODTLS_MEMORY",
}


@dataclass(frozen=True, slots=True)
class Policy:
    """What `decide` knows of the administrator's choice. `mirrored_image` None: no image of a mirror is accepted."""

    zone: str = _DEFAULT_ZONE
    ca_host: str = _DEFAULT_CA_HOST
    mirrored_image: str | None = None


@dataclass(frozen=True, slots=True)
class PodSettings:
    """What an injected Pod carries of the administrator's choice; raises SettingsError for a wrong value.

    `run_as_user` None leaves the uid to the platform. `cpu` and `memory` are quantities of Kubernetes, for each of our
    two containers.
    """

    image: str
    ca_url: str = f"https://{_DEFAULT_CA_HOST}"
    trust_domain: str = "cluster.local"
    zone: str = _DEFAULT_ZONE
    run_as_user: int | None = RUN_AS_USER
    accept_image_rewrite: bool = False
    cpu: str = "100m"
    memory: str = "96Mi"

    def __post_init__(self) -> None:
        domain = _TRUST_DOMAIN.fullmatch(self.trust_domain)
        _check("PODTLS_INIT_IMAGE", self.image, ok=_IMAGE.fullmatch(self.image), expected="an image reference")
        _check("PODTLS_TRUST_DOMAIN", self.trust_domain, ok=domain, expected="a DNS name of 64 characters at most")
        _check("PODTLS_ZONE", self.zone, ok=_ZONE.fullmatch(self.zone), expected="a DNS name, and not svc")
        _check("PODTLS_CA_URL", self.ca_url, ok=_is_door(self.ca_url), expected="https://host[:port]")
        _check("PODTLS_CPU", self.cpu, ok=_CPU.fullmatch(self.cpu), expected="a quantity such as 100m or 1")
        _check("PODTLS_MEMORY", self.memory, ok=_MEMORY.fullmatch(self.memory), expected="a quantity such as 96Mi")
        in_range = self.run_as_user is None or 0 < self.run_as_user <= _MAX_UID
        _check("PODTLS_RUN_AS_USER", self.run_as_user, ok=in_range, expected=f"1 to {_MAX_UID}, never root, or none")

    @property
    def policy(self) -> Policy:
        """What `decide` needs of all this."""
        ca_host = urlsplit(self.ca_url).hostname or ""
        return Policy(self.zone, ca_host, self.image if self.accept_image_rewrite else None)


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
            trust_bundle_file=Path(environment.get("PODTLS_TRUST_BUNDLE_FILE", "/var/run/podtls-bundle/ca.crt")),
            log=Path(environment.get("PODTLS_LOG", "/var/log/podtls/evidence.jsonl")),
            replica=environment.get("PODTLS_REPLICA") or socket.gethostname(),
            metrics_directory=environment.get("PROMETHEUS_MULTIPROC_DIR"),
        )


def _read_pod_settings(environment: Mapping[str, str]) -> PodSettings:
    """What is absent has the default of PodSettings; only the image has none."""
    given: dict[str, Any] = {name: environment[key] for name, key in _TEXTS.items() if key in environment}
    if (user := environment.get("PODTLS_RUN_AS_USER")) is not None:
        given["run_as_user"] = _parse_user(user)
    if (accept := environment.get("PODTLS_ACCEPT_IMAGE_REWRITE")) is not None:
        given["accept_image_rewrite"] = _parse_boolean("PODTLS_ACCEPT_IMAGE_REWRITE", accept)
    return PodSettings(**{"image": "", **given})


def _is_door(url: str) -> bool:
    """Asks the injector itself, which has to dial it."""
    try:
        CAEndpoint.parse(url)
    except ValueError:
        return False
    return True


def _parse_user(text: str) -> int | None:
    if text == "none":
        return None
    _check("PODTLS_RUN_AS_USER", text, ok=re.fullmatch("[0-9]{1,10}", text), expected="a numeric uid, or none")
    return int(text)


def _parse_boolean(name: str, text: str) -> bool:
    _check(name, text, ok=text in _BOOLEANS, expected="true or false")
    return _BOOLEANS[text]


def _check(name: str, got: object, *, ok: object, expected: str) -> None:
    if not ok:
        raise SettingsError(f"{name}: got {got!r}, expected {expected}")
