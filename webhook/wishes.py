"""What a user asks for in the annotations of a Pod, read once into `Wishes`.

No other module of the webhook reads raw annotations.

A value that is not exactly what is allowed raises RefusedError naming annotation, value and what is allowed. What a
wish means for this Pod is decided elsewhere, on values.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from contract.errors import GrammarError, StatusAnnotationError
from contract.grammar import Lifetime, PortPair, WantedUpstream, parse_port_pairs
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
from contract.status_annotation import InjectionStatus, read_record_id
from webhook.errors import RefusedError, quote

T = TypeVar("T")
Annotations = Mapping[str, str | None]

# Far above any sensible list, far below the 256 KiB that Kubernetes gives to all annotations of an object.
MAX_LENGTH: Final = 4096
_MIRROR: Final = "kubernetes.io/config.mirror"
_PREFIX: Final = "podtls.io/"
_ALLOWED: Final = {
    MODE: ", ".join(MODES),
    CAPTURE: ", ".join(CAPTURES),
    LIFETIME: f"a time such as 24h, from {LIFETIME_MIN_SECONDS}s to {LIFETIME_MAX_SECONDS}s",
    PORTS: "TLS=app port pairs such as 8443=8080,8444=9090, each port 1-65535, no spaces",
    UPSTREAMS: "host:port or host:port=remote port, separated by commas, such as payments.shop:80=443",
}
_KNOWN: Final = frozenset({*_ALLOWED, STATUS})


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
    lifetime: Lifetime | None
    ports: Wish[tuple[PortPair, ...]] | None
    upstreams: Wish[tuple[WantedUpstream, ...]] | None
    unknown: tuple[str, ...]


def parse_wishes(annotations: Annotations) -> Wishes:
    """Returns what the annotations ask for; raises RefusedError."""
    if ALLOW in annotations:
        # Ignoring a rule about who may connect would be a hole.
        raise RefusedError(f"annotation {ALLOW} is not supported yet by podtls {VERSION}; remove it")
    return Wishes(
        mode=_read_choice(annotations, MODE, MODES),
        capture=_read_choice(annotations, CAPTURE, CAPTURES),
        lifetime=_get_value(_read(annotations, LIFETIME, Lifetime.parse)),
        ports=_read(annotations, PORTS, _parse_ports),
        upstreams=_read(annotations, UPSTREAMS, _parse_upstreams),
        # These are mostly misspelt ones.
        unknown=tuple(sorted(key for key in annotations if key.startswith(_PREFIX) and key not in _KNOWN)),
    )


def is_mirror_pod(annotations: Annotations) -> bool:
    """Whether kubelet marked the Pod as the mirror of a static one."""
    return _MIRROR in annotations


def has_status(annotations: Annotations) -> bool:
    """Whether there is a podtls.io/status, well-formed or not."""
    return STATUS in annotations


def read_status(annotations: Annotations) -> InjectionStatus | None:
    """Returns podtls.io/status of an earlier injection, None unless it is exactly as podtls writes it."""
    text = annotations.get(STATUS)
    if not text:
        return None
    try:
        status = InjectionStatus.parse(text)
    except StatusAnnotationError:
        return None
    return status if str(status) == text else None


def read_earlier_record(annotations: Annotations) -> str:
    """Returns the id of the record that podtls.io/status names; empty where it names none."""
    text = annotations.get(STATUS)
    return read_record_id(text) if text else ""


def _read(annotations: Annotations, annotation: str, parse: Callable[[str], T]) -> Wish[T] | None:
    if annotation not in annotations:
        return None
    text = _get_text(annotations, annotation)
    try:
        return Wish(annotation, text, parse(text))
    except GrammarError as error:
        raise _build_refusal(annotation, text, f"{_ALLOWED[annotation]}; but {error}") from error


def _read_choice(annotations: Annotations, annotation: str, choices: tuple[str, ...]) -> str | None:
    if annotation not in annotations:
        return None
    text = _get_text(annotations, annotation)
    if text not in choices:
        raise _build_refusal(annotation, text, _ALLOWED[annotation])
    return text


def _get_text(annotations: Annotations, annotation: str) -> str:
    text = annotations[annotation] or ""
    if len(text) > MAX_LENGTH:
        raise _build_refusal(annotation, text, f"at most {MAX_LENGTH} characters, not {len(text)}")
    return text


def _get_value(wish: Wish[T] | None) -> T | None:
    return None if wish is None else wish.value


def _parse_ports(text: str) -> tuple[PortPair, ...]:
    try:
        return parse_port_pairs(text)
    except GrammarError:
        # In a long list it helps to name the whole item, where it is one that is wrong.
        _parse_items(text, PortPair.parse)
        raise


def _parse_upstreams(text: str) -> tuple[WantedUpstream, ...]:
    return _parse_items(text, WantedUpstream.parse)


def _parse_items(text: str, parse: Callable[[str], T]) -> tuple[T, ...]:
    return tuple(_parse_item(item, parse) for item in text.split(","))


def _parse_item(item: str, parse: Callable[[str], T]) -> T:
    try:
        return parse(item)
    except GrammarError as error:
        raise GrammarError(f"not {quote(item)}: {error}") from error


def _build_refusal(annotation: str, text: str, allowed: str) -> RefusedError:
    """The value is shown escaped and shortened."""
    return RefusedError(f"annotation {annotation}: {quote(text)} is not allowed; allowed: {allowed}")
