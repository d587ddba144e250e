"""What the evidence package raises. Nothing else lives here."""

from typing import ClassVar


class AuditError(Exception):
    """Base of all errors of this package; `http_status` is a hint for the edge that answers."""

    http_status: ClassVar[int] = 500


class LogWriteError(AuditError):
    """A record is not durable, so what it records must not be answered (503: another replica may be able to)."""

    http_status = 503


class LogReadError(AuditError):
    """A log cannot be opened or read at all (a torn line in it is no error, it is reported as a value)."""


class RecordError(AuditError):
    """A record cannot be written, or a line is not a record of this schema; the message names the field."""
