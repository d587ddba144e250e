"""`podtls audit list` and `podtls audit show`: options in, records out. What a record looks like is audit_show.py's."""

import itertools
import json
import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import click

from audit.log import TornLine
from audit.record import AdmissionRecord, Record, encode
from podtls import audit_show, evidence
from podtls.console import Columns, note, printable_json
from podtls.documents import to_yaml
from podtls.errors import InputError

_DEFAULT_LOG: Final = "/var/log/podtls/evidence.jsonl"
_DECISIONS: Final = ("inject", "skip", "deny", "issue", "refuse")
_STYLES: Final = {"deny": "red", "refuse": "red", "skip": "yellow"}
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


class _Moment(click.ParamType[datetime]):
    name = "time"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        if ago := re.fullmatch(r"([0-9]{1,5})([smhd])", value):
            return datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            self.fail(
                f"got {value!r}, allowed: 2026-11-22, 2026-11-22T10:30:00Z, or an age: 90s, 10m, 2h, 7d", param, ctx
            )
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


class _RecordId(click.ParamType[str]):
    name = "id"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not re.fullmatch(r"[0-9a-f]{1,32}", value.lower()):
            self.fail(f"got {value!r}, allowed: the first 1 to 32 hex digits of a record's id", param, ctx)
        return value.lower()


_paths = click.argument("paths", metavar="[PATH]...", nargs=-1, type=click.Path(path_type=Path))
_output = click.option(
    "-o", "--output", type=click.Choice(["table", "json", "yaml"]), default="table", show_default=True, help="Format."
)


@click.group()
def audit() -> None:
    """Read the evidence: every patch and every certificate.

    PATH is a log, a copy of one, or a directory of such; several may be given. Without one it is the log that
    PODTLS_LOG names, or /var/log/podtls/evidence.jsonl. Nothing is asked of a cluster.
    """


@audit.command(
    "list",
    epilog="""\b
Examples:
  podtls audit list
  podtls audit list --namespace shop --since 2h evidence/
  podtls audit list --decision deny -o json webhook-0.jsonl webhook-1.jsonl
  podtls audit list --kind certificate --pod checkout-5d8f-x7k2p
  podtls audit list --follow
""",
)
@_paths
@click.option("-n", "--namespace", metavar="NAME", help="Only pods of this namespace.")
@click.option("--kind", type=click.Choice(["admission", "certificate"]), help="Only this kind.")
@click.option("--decision", type=click.Choice(_DECISIONS), help="Only this decision.")
@click.option("--pod", metavar="NAME", help="Only what may be about this pod (by name or generateName).")
@click.option("--since", type=_Moment(), help="Not before this time, or this age.")
@click.option("--until", type=_Moment(), help="Before this time, or this age.")
@click.option("--id", type=_RecordId(), help="Only ids that begin so.")
@click.option("--follow", is_flag=True, help="Go on with what is written from now on, until Ctrl-C.")
@_output
def list_records(paths: tuple[Path, ...], *, follow: bool, output: str, **members: Any) -> None:
    """List records in order of time. Lines that are no records are reported on stderr.

    With -o json it is one array (with --follow one object a line), with -o yaml one list.
    """
    wanted = evidence.Filter(**members)
    if follow:
        found = evidence.follow(_sources(paths), wanted, _report)
    else:
        found = evidence.batches(_sources(paths), wanted, _report)
    if output == "table":
        _print_table(found, always=not follow)
    elif output == "yaml":
        _print_yaml(found, always=not follow)
    elif follow:
        for record in itertools.chain.from_iterable(found):
            click.echo(_line(record))
    else:
        _print_array(found)


@audit.command(
    "show",
    epilog="""\b
Examples:
  podtls audit show 4f1d22
  podtls audit show 4f1d22 evidence/ -o yaml
""",
)
@click.argument("record_id", metavar="ID", type=_RecordId())
@_paths
@_output
def show(record_id: str, paths: tuple[Path, ...], *, output: str) -> None:
    """Show one record, by the first digits of its id, with the records that belong to it.

    A certificate names the patch that its pod was admitted with, and a patch the certificates that were issued for it.
    """
    sources = evidence.files(_sources(paths))
    record = _the_one(list(evidence.with_id(sources, record_id, _report)), record_id, sources)
    related = evidence.related(sources, record)
    if output == "table":
        audit_show.print_record(record, related)
        return
    values = {"record": evidence.to_json(record), "related": [evidence.to_json(other) for other in related]}
    as_json = printable_json(json.dumps(values, indent=2, ensure_ascii=False)) + "\n"
    click.echo(to_yaml(values) if output == "yaml" else as_json, nl=False)


def _sources(paths: tuple[Path, ...]) -> tuple[Path, ...]:
    return paths or (Path(os.environ.get("PODTLS_LOG") or _DEFAULT_LOG),)


def _report(line: TornLine) -> None:
    note(f"{line.path}: line {line.number} (byte {line.offset}, {len(line.raw)} bytes) is no record: {line.reason}")


def _the_one(found: list[Record], record_id: str, sources: list[Path]) -> Record:
    if not found:
        raise InputError(f"ID: got {record_id!r}, no record of {len(sources)} file(s) has an id that begins so")
    # Copies of one log hold the same record more than once.
    ids = sorted({record.id for record in found})
    if len(ids) > 1:
        raise InputError(f"ID: got {record_id!r}, {len(ids)} ids begin so: {', '.join(ids[:5])}")
    if any(other != found[0] for other in found):
        raise InputError(f"ID: got {record_id!r}, there are different records of id {ids[0]}: one is not ours")
    return found[0]


def _print_table(found: Iterator[list[Record]], *, always: bool) -> None:
    columns = Columns(["TIME", "DECISION", "NAMESPACE", "POD", "REASON", "ID"])
    printed = False
    for batch in found:
        columns.print([(_STYLES.get(record.decision, ""), _row(record)) for record in batch])
        printed = True
    if always and not printed:
        note("no record matches")


def _row(record: Record) -> list[str]:
    is_dry = isinstance(record, AdmissionRecord) and record.dry_run
    decision = f"{record.decision} (dry run)" if is_dry else record.decision
    time = f"{record.time:%Y-%m-%dT%H:%M:%SZ}"
    return [time, decision, record.namespace, evidence.pod_of(record), record.reason, record.id[:12]]


def _print_yaml(found: Iterator[list[Record]], *, always: bool) -> None:
    printed = False
    for record in itertools.chain.from_iterable(found):
        click.echo(to_yaml([evidence.to_json(record)]), nl=False)
        printed = True
    if always and not printed:
        click.echo("[]")


def _print_array(found: Iterator[list[Record]]) -> None:
    before = "["
    for record in itertools.chain.from_iterable(found):
        click.echo(f"{before}\n{_line(record)}", nl=False)
        before = ","
    click.echo("\n]" if before == "," else "[]")


def _line(record: Record) -> str:
    return printable_json(encode(record).decode())
