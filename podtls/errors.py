"""What the operator's command raises, and the exit code that it ends with. Nothing else lives here."""

from typing import ClassVar

from contract.names import EXIT_CONFIGURATION, EXIT_REFUSED, EXIT_UNAVAILABLE


class CommandError(Exception):
    """Base: one line that names what is wrong, what was given and what is allowed; printed by `main`."""

    exit_code: ClassVar[int] = EXIT_CONFIGURATION


class InputError(CommandError):
    """An option, a file or a document is not what it should be."""


class MissingPartError(CommandError):
    """A part of podtls is not installed here (images leave some out)."""

    exit_code = EXIT_UNAVAILABLE


class RefusedError(CommandError):
    """At least one pod is refused; nothing was written."""

    exit_code = EXIT_REFUSED


class UnreachableError(CommandError):
    """The API server does not answer, or not as an API server does."""

    exit_code = EXIT_UNAVAILABLE


class CredentialsError(CommandError):
    """The API server rejected the credentials: check kubeconfig and context."""


class ForbiddenError(CommandError):
    """The API server does not let the caller read what the command needs."""

    exit_code = EXIT_REFUSED


class SelectorError(CommandError):
    """A label selector that the API server would refuse."""
