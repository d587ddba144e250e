"""What a user may write on a Pod, parsed strictly into values. Upstreams have a room of their own (upstreams.py).

A value that is not exactly what is allowed raises RefusedError naming annotation, value and what is allowed; nothing is
trimmed, guessed or defaulted. Digits are ASCII digits. What a value means for this Pod is decided in ports.py.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from contract.names import (
    ALLOW,
    CAPTURE,
    LIFETIME,
    LIFETIME_MAX_SECONDS,
    LIFETIME_MIN_SECONDS,
    MODE,
    PORTS,
    STATUS,
    UPSTREAMS,
    VERSION,
)
from webhook.errors import RefusedError, shown

PORT: Final = re.compile(r"[1-9][0-9]{0,4}")
MAX_PORT: Final = 65535
# Far above any sensible list, far below the 256 KiB that Kubernetes gives to all annotations of an object.
MAX_LENGTH: Final = 4096
_LIFETIME: Final = re.compile(r"([1-9][0-9]{0,8})([smhd])")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_KNOWN: Final = frozenset({MODE, CAPTURE, PORTS, UPSTREAMS, LIFETIME, STATUS})


@dataclass(frozen=True, slots=True)
class PortPair:
    """TLS arrives at port `tls` of the sidecar and goes on in plaintext to port `app` of the app."""

    tls: int
    app: int

    def __str__(self) -> str:
        return f"{self.tls}={self.app}"


def refuse(annotation: str, value: str, allowed: str) -> RefusedError:
    """Returns the error whose message an app developer can act on; the value is shown escaped and shortened."""
    return RefusedError(f"annotation {annotation}: {shown(value)} is not allowed; allowed: {allowed}")


def get(annotations: Mapping[str, str | None], annotation: str) -> str | None:
    """Returns the value, None where there is none; raises RefusedError for a value of absurd length."""
    if annotation not in annotations:
        return None
    value = annotations[annotation] or ""
    if len(value) > MAX_LENGTH:
        raise refuse(annotation, value, f"at most {MAX_LENGTH} characters, not {len(value)}")
    return value


def parse_choice(annotations: Mapping[str, str | None], annotation: str, choices: tuple[str, ...]) -> str | None:
    """Returns the one of `choices` that is written, None where nothing is; raises RefusedError."""
    value = get(annotations, annotation)
    if value is not None and value not in choices:
        raise refuse(annotation, value, ", ".join(choices))
    return value


def parse_port(text: str) -> int | None:
    """Returns the port 1-65535 that `text` writes in plain ASCII digits, else None."""
    if not PORT.fullmatch(text) or int(text) > MAX_PORT:
        return None
    return int(text)


def parse_ports(annotations: Mapping[str, str | None]) -> tuple[PortPair, ...] | None:
    """Returns the pairs of podtls.io/ports in their order, None where it is not written; raises RefusedError."""
    value = get(annotations, PORTS)
    if value is None:
        return None
    pairs = tuple(_parse_pair(value, item) for item in value.split(","))
    taken = [pair.tls for pair in pairs]
    doubled = next((port for port in taken if taken.count(port) > 1), None)
    if doubled is not None:
        raise refuse(PORTS, value, f"each TLS port once, but {doubled} is written twice")
    return pairs


def _parse_pair(value: str, item: str) -> PortPair:
    tls, separator, app = item.partition("=")
    tls_port, app_port = parse_port(tls), parse_port(app)
    if not separator or tls_port is None or app_port is None:
        allowed = "TLS=app port pairs such as 8443=8080,8444=9090, each port 1-65535, no spaces"
        raise refuse(PORTS, value, f"{allowed}, but not {shown(item)}")
    return PortPair(tls_port, app_port)


def check_lifetime(annotations: Mapping[str, str | None]) -> None:
    """Raises RefusedError unless podtls.io/lifetime is absent or within the bounds. The CA reads the value itself."""
    value = get(annotations, LIFETIME)
    if value is None:
        return
    match = _LIFETIME.fullmatch(value)
    seconds = int(match[1]) * _SECONDS[match[2]] if match else 0
    if not LIFETIME_MIN_SECONDS <= seconds <= LIFETIME_MAX_SECONDS:
        bounds = f"{LIFETIME_MIN_SECONDS}s to {LIFETIME_MAX_SECONDS}s"
        raise refuse(LIFETIME, value, f"a whole number and s, m, h or d, such as 24h, from {bounds}")


def check_allow(annotations: Mapping[str, str | None]) -> None:
    """Raises RefusedError where podtls.io/allow is written: ignoring a rule about who may connect would be a hole."""
    if ALLOW in annotations:
        raise RefusedError(f"annotation {ALLOW} is not supported yet by podtls {VERSION}; remove it")


def unknown(annotations: Mapping[str, str | None]) -> list[str]:
    """Returns the podtls.io/... annotations that mean nothing, which are mostly misspelt ones."""
    prefix = MODE.partition("/")[0] + "/"
    return sorted(key for key in annotations if key.startswith(prefix) and key not in _KNOWN)
