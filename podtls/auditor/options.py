"""What the commands of `podtls audit` share: arguments, types of options, how a torn line is told. Reads no file."""

import os
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import click

from audit.log import TornLine
from podtls.console import note

_DEFAULT_LOG: Final = "/var/log/podtls/evidence.jsonl"
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
            self.fail(
                f"got {value!r}, allowed: 2026-11-22, 2026-11-22T10:30:00Z, or an age: 90s, 10m, 2h, 7d", param, ctx
            )
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
output_option = click.option(
    "-o", "--output", type=click.Choice(["table", "json", "yaml"]), default="table", show_default=True, help="Format."
)


def sources_of(paths: tuple[Path, ...]) -> tuple[Path, ...]:
    """The paths, or the log that PODTLS_LOG names where there are none."""
    return paths or (Path(os.environ.get("PODTLS_LOG") or _DEFAULT_LOG),)


def report_torn(line: TornLine) -> None:
    """Tell of a line that is no record, on stderr."""
    note(f"{line.path}: line {line.number} (byte {line.offset}, {len(line.raw)} bytes) is no record: {line.reason}")
