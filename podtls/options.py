"""Options and arguments that several commands share, and the types of their values. Reads no file."""

import os
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from contract.names import DEFAULT_LOG, ENV_LOG

Command = TypeVar("Command", bound=Callable[..., Any])

_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


class Moment(click.ParamType[datetime]):
    """A time, or how long ago it was."""

    name = "time"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """An aware time; click's error names what is allowed."""
        if ago := re.fullmatch(r"([0-9]{1,5})([smhd])", value):
            return datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            allowed = "2026-11-22, 2026-11-22T10:30:00Z, or an age: 90s, 10m, 2h, 7d"
            self.fail(f"got {value!r}, allowed: {allowed}", param, ctx)
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


class RecordId(click.ParamType[str]):
    """The beginning of a record's id."""

    name = "id"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Its hex digits in lower case; click's error names what is allowed."""
        if not re.fullmatch(r"[0-9a-f]{1,32}", value.lower()):
            self.fail(f"got {value!r}, allowed: the first 1 to 32 hex digits of a record's id", param, ctx)
        return value.lower()


paths_argument = click.argument("paths", metavar="[PATH]...", nargs=-1, type=click.Path(path_type=Path))
since_option = click.option("--since", type=Moment(), help="Not before this time, or this age.")
until_option = click.option("--until", type=Moment(), help="Before this time, or this age.")
output_option = click.option(
    "-o", "--output", type=click.Choice(["table", "json", "yaml"]), default="table", show_default=True, help="Format."
)
_kubeconfig_option = click.option(
    "--kubeconfig",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Instead of KUBECONFIG, ~/.kube/config or the cluster that this runs in.",
)
_context_option = click.option("--context", metavar="NAME", help="Of the kubeconfig, instead of its current one.")


def cluster_options(command: Command) -> Command:
    """--kubeconfig, --context and -o."""
    return _kubeconfig_option(_context_option(output_option(command)))


def choose_logs(paths: tuple[Path, ...]) -> tuple[Path, ...]:
    """The paths, or the log that PODTLS_LOG names where there are none."""
    return paths or (Path(os.environ.get(ENV_LOG) or DEFAULT_LOG),)
