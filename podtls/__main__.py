"""The `podtls` command: its subcommands by name, and how errors end.

Each subcommand is loaded only when it is called, so that `podtls --help` starts at once.
"""

import importlib
import sys
from collections.abc import Sequence
from typing import Final

import click

from audit.errors import AuditError
from contract.names import EXIT_CONFIGURATION, VERSION
from documents.errors import DocumentError
from podtls.errors import CommandError, MissingPartError

_ROOMS: Final = ("contract", "audit", "documents", "injector", "serving", "webhook", "ca", "podtls")
_INTERRUPTED: Final = 130  # 128 + SIGINT, as shells have it

# name -> module:attribute, and its line in `podtls --help`.
_COMMANDS: Final = {
    "inject": ("podtls.inject.inject_command:inject", "Inject the pods of YAML files, as the webhook would."),
    "uninject": ("podtls.inject.uninject_command:uninject", "Remove what podtls added to the pods of YAML files."),
    "check": ("podtls.check.command:check", "Check whether podtls works in a cluster, or could."),
    "status": ("podtls.status.command:status", "Show which pods are enrolled, which are not and why."),
    "manifests": ("podtls.manifests.command:manifests", "Write the manifests of podtls to a folder, to be applied."),
    "audit": ("podtls.auditor.command:audit", "Read the evidence: every patch and every certificate."),
}

_EXAMPLES: Final = """\b
Examples:
  podtls inject -f deployment.yaml --image podtls-init:0.1.0 --bundle ca.crt | kubectl apply -f -
  podtls manifests podtls-manifests --registry registry.example.com/podtls
  podtls check
  podtls status -n shop
  podtls audit list --namespace shop --since 1h
  podtls audit show 4f1d22
"""


class _LazyGroup(click.Group):
    """A group that knows its commands by name and imports one when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        if cmd_name not in _COMMANDS:
            return None
        module, attribute = _COMMANDS[cmd_name][0].split(":")
        try:
            command = getattr(importlib.import_module(module), attribute)
        except ModuleNotFoundError as error:
            if not _is_missing_part(error.name or "", module):
                raise
            raise MissingPartError(f"{cmd_name}: not installed here, {error.name} is missing") from error
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in _COMMANDS.items()])


def _is_missing_part(name: str, module: str) -> bool:
    """Whether a module that was not found is a room, a third-party package or the command itself.

    Any other module of podtls comes with its room: if it is not found, the import is wrong.
    """
    room, _, inner = name.partition(".")
    return room not in _ROOMS or not inner or module.startswith(name)


@click.group(cls=_LazyGroup, epilog=_EXAMPLES, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, prog_name="podtls")
def cli() -> None:
    """TLS identities and mutual TLS for every pod of a labelled namespace."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. An error is one line on stderr; 64: wrong input, 69: something is missing, 77: refused."""
    try:
        result = cli.main(arguments, prog_name="podtls", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        return EXIT_CONFIGURATION
    except (click.ClickException, CommandError, AuditError, DocumentError) as error:
        return _fail(error)
    except click.Abort:
        return _INTERRUPTED
    return result if isinstance(result, int) else 0


def _fail(error: click.ClickException | CommandError | AuditError | DocumentError) -> int:
    message = error.format_message() if isinstance(error, click.ClickException) else str(error)
    click.echo(f"podtls: {' '.join(message.split())}", err=True)
    return error.exit_code if isinstance(error, CommandError) else EXIT_CONFIGURATION


if __name__ == "__main__":
    sys.exit(main())
