"""What parsing a shared name or grammar raises. Each message names the field, the value and what is allowed."""

from typing import Final

_SHOWN: Final = 80


class ContractError(ValueError):
    """Base of all errors of this package."""


class GrammarError(ContractError):
    """Text that does not follow one of our grammars: a DNS name, a port, an upstream, a lifetime."""


class IdentityError(ContractError):
    """Text that names no trust domain or workload identity."""


class StatusAnnotationError(ContractError):
    """A podtls.io/status that we did not write."""


def quote(text: str) -> str:
    """Returns `text` for a message of one line: quoted, escaped to printable ASCII, shortened."""
    return ascii(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}...")
