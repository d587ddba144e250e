"""podtls.io/status: what the webhook writes on an injected pod, and everybody else reads there.

It points to the record of the patch, for people and auditors. It proves nothing: everybody who may edit the pod may
edit it.
"""

import json
from dataclasses import dataclass
from typing import Final, Self

from contract.errors import StatusAnnotationError, quote
from contract.grammar import is_record_id

_EXPECTED: Final = "a JSON object with the strings version, mode, ports and record (32 hexadecimal digits, or empty)"

_ENCODER: Final = json.JSONEncoder(separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class InjectionStatus:
    """How a pod was injected. str() is the annotation's value. Raises StatusAnnotationError for a bad record id."""

    version: str
    mode: str
    ports: str  # "8443=8080,8444=9090"
    record: str  # empty where `podtls inject` wrote it, which keeps no evidence

    def __post_init__(self) -> None:
        if self.record and not is_record_id(self.record):
            raise StatusAnnotationError(f"record {quote(self.record)}: expected 32 hexadecimal digits, or none")

    def __str__(self) -> str:
        return _ENCODER.encode({name: getattr(self, name) for name in self.__slots__})

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises StatusAnnotationError. Members that we do not know are left out: a later version may add some."""
        try:
            found = json.loads(text)
            members = [found[name] for name in cls.__slots__]
        # Nesting beyond the interpreter's limit is not a status of ours either.
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise StatusAnnotationError(f"status {quote(text)}: expected {_EXPECTED}") from error
        if not all(isinstance(member, str) for member in members):
            raise StatusAnnotationError(f"status {quote(text)}: expected {_EXPECTED}")
        return cls(*members)


def read_record_id(text: str | None) -> str:
    """The id of the record that the annotation's value names; empty where it names none, or is not ours."""
    try:
        return InjectionStatus.parse(text or "").record
    except StatusAnnotationError:
        return ""
