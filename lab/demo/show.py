"""How the demo looks on a terminal: steps, facts, patches in colour, verdicts; plain when piped. Decides nothing."""

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from rich.console import Console
from rich.text import Text

from podtls.console import make_console, printable

_INDENT: Final = "    "
_LONG: Final = 90
_COLOURS: Final = {"add": "green", "replace": "yellow", "remove": "red"}
_SIGNS: Final = {"add": "+", "replace": "~", "remove": "-"}

Part = tuple[str, str]


class Show:
    """Writes to one console. What is shown may come from strangers: it is text, never markup, and has no controls."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or make_console()
        self._began = time.monotonic()
        self._number = 0

    def step(self, title: str) -> None:
        """Begin the next numbered step."""
        self._number += 1
        self._console.print()
        elapsed = f"  {time.monotonic() - self._began:.1f} s"
        self._print((f"{self._number:2}  {title}", "bold cyan"), (elapsed, "dim"), indent="")

    def fact(self, name: str, value: str) -> None:
        """One thing to know."""
        self._print((f"{name:>16}  ", "dim"), (value, ""))

    def line(self, text: str, style: str = "") -> None:
        """A line of text."""
        self._print((text, style))

    def patch(self, operations: Iterable[Mapping[str, Any]]) -> None:
        """RFC 6902 operations, one a line, long values shortened."""
        for operation in operations:
            sign, colour = _SIGNS.get(operation["op"], "?"), _COLOURS.get(operation["op"], "")
            value = summary(operation["value"]) if "value" in operation else ""
            self._print((f"{sign} {operation['path']}  ", colour), (value, "dim"))

    def certificate(self, whose: str, leaf: x509.Certificate) -> None:
        """What a person asks of a certificate: whose, which names, how long."""
        self.fact("certificate of", whose)
        for name in names(leaf):
            self.fact("name", name)
        self.fact("serial", f"{leaf.serial_number:x}")
        self.fact("valid", _validity(leaf.not_valid_before_utc, leaf.not_valid_after_utc))
        self.fact("key", _key(leaf))

    def verdict(self, claim: str, why: Sequence[str], *, held: bool) -> None:
        """One proof: did it hold, and what shows it."""
        mark, style = ("held  ", "bold green") if held else ("FAILED", "bold red")
        self._print((f"{mark}  ", style), (claim, "bold"))
        for reason in why:
            self._print((f"        {reason}", "dim"))

    def _print(self, *parts: Part, indent: str = _INDENT) -> None:
        self._console.print(Text.assemble(indent, *((printable(text), style) for text, style in parts)))


def names(leaf: x509.Certificate) -> list[str]:
    """URI first, then the DNS names."""
    try:
        extension = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    uris = extension.get_values_for_type(x509.UniformResourceIdentifier)
    return [*uris, *extension.get_values_for_type(x509.DNSName)]


def summary(value: Any) -> str:
    """A value of a patch in a line: of containers and volumes the names, of anything else its JSON, shortened."""
    if isinstance(value, list) and value and all(isinstance(item, dict) and "name" in item for item in value):
        return ", ".join(item["name"] for item in value)
    return shorten(json.dumps(value))


def shorten(text: str, length: int = _LONG) -> str:
    """At most that long, cut in the middle."""
    if len(text) <= length:
        return text
    half = (length - 5) // 2
    return f"{text[:half]} ... {text[-half:]}"


def _validity(start: datetime, end: datetime) -> str:
    return f"{start:%Y-%m-%d %H:%M:%S} to {end:%Y-%m-%d %H:%M:%S} UTC"


def _key(leaf: x509.Certificate) -> str:
    key = leaf.public_key()
    return f"ECDSA {key.curve.name}" if isinstance(key, ec.EllipticCurvePublicKey) else type(key).__name__
