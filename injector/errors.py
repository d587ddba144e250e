"""What can go wrong in a pod, each with the exit code that kubelet and the user see. Nothing is caught here."""

from typing import ClassVar

from contract.names import EXIT_CONFIGURATION, EXIT_REFUSED, EXIT_UNAVAILABLE


class InjectorError(Exception):
    """The base: one clear line, and the exit code of the process."""

    exit_code: ClassVar[int] = EXIT_UNAVAILABLE


class SettingsError(InjectorError):
    """The environment, or a file that it names, cannot be used. The line names variable, value and what is allowed."""

    exit_code = EXIT_CONFIGURATION


class UnavailableError(InjectorError):
    """The CA did not answer in a usable way; trying again may help.

    `retry_after` is the CA's own wish in seconds (RFC 9110 section 10.2.3), None where it said nothing.
    """

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class RefusedError(InjectorError):
    """The CA refused us, or we refuse what it sent; trying again with the same facts cannot help."""

    exit_code = EXIT_REFUSED


class TokenRefusedError(RefusedError):
    """HTTP 401. A token made this second may be unknown to one of several API servers, so it is worth a second try."""


class GenerationError(InjectorError):
    """The run directory cannot be written or read (full, read-only, half a generation). The old generation stays."""


class NginxError(InjectorError):
    """Nginx is missing, too old, without the stream module, or refuses a configuration. The old generation stays."""

    exit_code = EXIT_CONFIGURATION
