"""What a user asks for in the annotations of a Pod, read once into `Wishes`. No other module reads raw annotations.

A value that is not exactly what is allowed raises RefusedError naming annotation, value and what is allowed; nothing is
trimmed, guessed or defaulted. What a wish means for this Pod is decided elsewhere, on values.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

import orjson

from contract.names import (
    ALLOW,
    CAPTURE,
    CAPTURES,
    LIFETIME,
    LIFETIME_MAX_SECONDS,
    LIFETIME_MIN_SECONDS,
    MODE,
    MODES,
    PORTS,
    STATUS,
    UPSTREAMS,
    VERSION,
)
from webhook.errors import RefusedError, shown

T = TypeVar("T")
Annotations = Mapping[str, str | None]

PORT: Final = re.compile(r"[1-9][0-9]{0,4}")
MAX_PORT: Final = 65535
# Far above any sensible list, far below the 256 KiB that Kubernetes gives to all annotations of an object.
MAX_LENGTH: Final = 4096
_MIRROR: Final = "kubernetes.io/config.mirror"
_KNOWN: Final = frozenset({MODE, CAPTURE, PORTS, UPSTREAMS, LIFETIME, STATUS})
_PREFIX: Final = "podtls.io/"
_HTTPS: Final = 443
_LABEL: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")  # RFC 1123 label, as Kubernetes has it
_LIFETIME: Final = re.compile(r"([1-9][0-9]{0,8})([smhd])")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_RECORD: Final = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class PortPair:
    """TLS arrives at port `tls` of the sidecar and goes on in plaintext to port `app` of the app."""

    tls: int
    app: int

    def __str__(self) -> str:
        return f"{self.tls}={self.app}"


@dataclass(frozen=True, slots=True)
class ServiceHost:
    """A Service, or one pod of a headless Service: then `hostname` is the pod's, else it is empty."""

    hostname: str
    service: str
    namespace: str

    def list_names(self, own_namespace: str, zone: str) -> tuple[str, ...]:
        """Returns every name that a pod of `own_namespace` may dial, the full one last."""
        prefix = f"{self.hostname}." if self.hostname else ""
        short = f"{prefix}{self.service}.{self.namespace}"
        bare = (self.service,) if self.namespace == own_namespace and not self.hostname else ()
        return (*bare, short, f"{short}.svc", f"{short}.svc.{zone}")


@dataclass(frozen=True, slots=True)
class UpstreamWish:
    """The app wants to dial `port` of `host` in plaintext; Nginx goes on to its `remote_port`."""

    host: ServiceHost
    port: int
    remote_port: int


@dataclass(frozen=True, slots=True)
class Wish(Generic[T]):
    """The value of one annotation, with the text that a later refusal quotes."""

    annotation: str
    text: str
    value: T

    def build_refusal(self, allowed: str) -> RefusedError:
        """Returns the error to raise where this Pod cannot have what is written."""
        return _build_refusal(self.annotation, self.text, allowed)


@dataclass(frozen=True, slots=True)
class Wishes:
    """All that the annotations ask for; None is what nobody wrote. The CA reads the lifetime again by itself."""

    mode: str | None
    capture: str | None
    lifetime_seconds: int | None
    ports: Wish[tuple[PortPair, ...]] | None
    upstreams: Wish[tuple[UpstreamWish, ...]] | None
    unknown: tuple[str, ...]


class _NotAllowedError(Exception):
    """A text is not what an annotation allows; the message says what is allowed."""


def parse_wishes(annotations: Annotations, namespace: str, zone: str) -> Wishes:
    """Returns what the annotations of a Pod in `namespace` ask for; raises RefusedError."""
    if ALLOW in annotations:
        # Ignoring a rule about who may connect would be a hole.
        raise RefusedError(f"annotation {ALLOW} is not supported yet by podtls {VERSION}; remove it")
    mode = _read(annotations, MODE, lambda text: _parse_choice(text, MODES))
    capture = _read(annotations, CAPTURE, lambda text: _parse_choice(text, CAPTURES))
    lifetime = _read(annotations, LIFETIME, _parse_lifetime)
    return Wishes(
        mode=_get_value(mode),
        capture=_get_value(capture),
        lifetime_seconds=_get_value(lifetime),
        ports=_read(annotations, PORTS, _parse_ports),
        upstreams=_read(annotations, UPSTREAMS, lambda text: _parse_upstreams(text, namespace, zone)),
        unknown=_find_unknown(annotations),
    )


def is_mirror_pod(annotations: Annotations) -> bool:
    """Whether kubelet marked the Pod as the mirror of a static one."""
    return _MIRROR in annotations


def read_status(annotations: Annotations) -> dict[str, Any] | None:
    """Returns podtls.io/status as an earlier injection wrote it, None where it is absent, {} where it is malformed."""
    if STATUS not in annotations:
        return None
    try:
        status = orjson.loads(annotations[STATUS] or "null")
    except orjson.JSONDecodeError:
        return {}
    return status if isinstance(status, dict) else {}


def read_record(status: Mapping[str, Any] | None) -> str:
    """Returns the record id in a status, empty where there is none that looks like one."""
    record = (status or {}).get("record")
    return record if isinstance(record, str) and _RECORD.fullmatch(record) else ""


def _read(annotations: Annotations, annotation: str, parse: Callable[[str], T]) -> Wish[T] | None:
    if annotation not in annotations:
        return None
    text = annotations[annotation] or ""
    if len(text) > MAX_LENGTH:
        raise _build_refusal(annotation, text, f"at most {MAX_LENGTH} characters, not {len(text)}")
    try:
        return Wish(annotation, text, parse(text))
    except _NotAllowedError as error:
        raise _build_refusal(annotation, text, str(error)) from error


def _get_value(wish: Wish[T] | None) -> T | None:
    return None if wish is None else wish.value


def _build_refusal(annotation: str, text: str, allowed: str) -> RefusedError:
    """The value is shown escaped and shortened."""
    return RefusedError(f"annotation {annotation}: {shown(text)} is not allowed; allowed: {allowed}")


def _parse_choice(text: str, choices: tuple[str, ...]) -> str:
    if text not in choices:
        raise _NotAllowedError(", ".join(choices))
    return text


def _parse_lifetime(text: str) -> int:
    match = _LIFETIME.fullmatch(text)
    seconds = int(match[1]) * _SECONDS[match[2]] if match else 0
    if not LIFETIME_MIN_SECONDS <= seconds <= LIFETIME_MAX_SECONDS:
        bounds = f"{LIFETIME_MIN_SECONDS}s to {LIFETIME_MAX_SECONDS}s"
        raise _NotAllowedError(f"a whole number and s, m, h or d, such as 24h, from {bounds}")
    return seconds


def _parse_ports(text: str) -> tuple[PortPair, ...]:
    pairs = tuple(map(_parse_pair, text.split(",")))
    taken = [pair.tls for pair in pairs]
    doubled = next((port for port in taken if taken.count(port) > 1), None)
    if doubled is not None:
        raise _NotAllowedError(f"each TLS port once, but {doubled} is written twice")
    return pairs


def _parse_pair(item: str) -> PortPair:
    tls, separator, app = item.partition("=")
    tls_port, app_port = _parse_port(tls), _parse_port(app)
    if not separator or tls_port is None or app_port is None:
        allowed = "TLS=app port pairs such as 8443=8080,8444=9090, each port 1-65535, no spaces"
        raise _NotAllowedError(f"{allowed}, but not {shown(item)}")
    return PortPair(tls_port, app_port)


def _parse_port(text: str) -> int | None:
    if not PORT.fullmatch(text) or int(text) > MAX_PORT:
        return None
    return int(text)


def _parse_upstreams(text: str, namespace: str, zone: str) -> tuple[UpstreamWish, ...]:
    return tuple(_parse_upstream(item, namespace, zone) for item in text.split(","))


def _parse_upstream(item: str, namespace: str, zone: str) -> UpstreamWish:
    dialled, separator, remote = item.partition("=")
    name, _, port_text = dialled.partition(":")
    host = _parse_host(name, namespace, zone)
    port = _parse_port(port_text)
    remote_port = _parse_port(remote) if separator else _HTTPS
    if host is None or port is None or remote_port is None:
        raise _NotAllowedError(
            "host:port or host:port=remote port, separated by commas, such as payments.shop:80=443; host is svc, "
            f"svc.ns, svc.ns.svc or svc.ns.svc.{zone}, with a pod's hostname before it where there is a namespace; "
            f"but not {shown(item)}"
        )
    return UpstreamWish(host, port, remote_port)


def _parse_host(name: str, namespace: str, zone: str) -> ServiceHost | None:
    stem = name.removesuffix(f".svc.{zone}")
    if stem == name:
        # With the search list of a pod, `payments.svc` alone is the Service payments of a namespace named svc.
        stem = name.removesuffix(".svc") if name.count(".") > 1 else name
    labels = stem.split(".")
    if not all(_LABEL.fullmatch(label) for label in labels) or len(stem) > 253 - len(zone) - 5:
        return None
    # The hosts file has a meaning for `localhost` already, and a Service of this name could be dialled by it alone.
    if name == "localhost" or labels[-2:-1] == ["localhost"]:
        return None
    match labels:
        case [service] if stem == name:
            return ServiceHost("", service, namespace)
        case [service, its_namespace]:
            return ServiceHost("", service, its_namespace)
        case [hostname, service, its_namespace]:
            return ServiceHost(hostname, service, its_namespace)
        case _:
            return None


def _find_unknown(annotations: Annotations) -> tuple[str, ...]:
    """Annotations of ours that mean nothing are mostly misspelt ones."""
    return tuple(sorted(key for key in annotations if key.startswith(_PREFIX) and key not in _KNOWN))
