"""`podtls audit list` and `podtls audit show`, and the group that they and `reconcile` (reconcile_command.py) are in.

Options in, records out. What a record looks like is in show.py.
"""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import click

from audit import query
from audit.pods import pod_of
from audit.record import AdmissionRecord, Record, encode
from documents.writer import to_yaml
from podtls.auditor.reconcile_command import reconcile
from podtls.auditor.show import print_record, report_torn_line
from podtls.console import Columns, note, print_values, printable_json
from podtls.errors import InputError
from podtls.options import RecordId, choose_logs, output_option, paths_argument, since_option, until_option

_DECISIONS: Final = ("inject", "skip", "deny", "issue", "refuse")
_STYLES: Final = {"deny": "red", "refuse": "red", "skip": "yellow"}


@click.group()
def audit() -> None:
    """Read the evidence: every patch and every certificate.

    PATH is a log, a copy of one, or a directory of them; several may be given. Without PATH it is the log that
    PODTLS_LOG names, or /var/log/podtls/evidence.jsonl. No cluster is contacted.
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
@paths_argument
@click.option("-n", "--namespace", metavar="NAME", help="Only pods of this namespace.")
@click.option("--kind", type=click.Choice(["admission", "certificate"]), help="Only this kind.")
@click.option("--decision", type=click.Choice(_DECISIONS), help="Only this decision.")
@click.option("--pod", metavar="NAME", help="Only records that may be about this pod (by name or generateName).")
@since_option
@until_option
@click.option("--id", type=RecordId(), help="Only records whose id starts with this.")
@click.option("--follow", is_flag=True, help="Keep printing new records until Ctrl-C.")
@output_option
def list_records(paths: tuple[Path, ...], *, follow: bool, output: str, **members: Any) -> None:
    """List records in order of time. Lines that are not records are reported on stderr.

    With -o json it is one array (with --follow one object a line), with -o yaml one list.
    """
    wanted = query.RecordFilter(**members)
    if follow:
        found = query.follow(choose_logs(paths), wanted, report_torn_line)
    else:
        found = query.read_batches(choose_logs(paths), wanted, report_torn_line)
    if output == "table":
        _print_table(found, always=not follow)
    elif output == "yaml":
        _print_yaml(found, always=not follow)
    elif follow:
        for record in itertools.chain.from_iterable(found):
            click.echo(_format_line(record))
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
@click.argument("record_id", metavar="ID", type=RecordId())
@paths_argument
@output_option
def show(record_id: str, paths: tuple[Path, ...], *, output: str) -> None:
    """Show one record, by the first digits of its id, with the records that belong to it.

    A certificate names the patch that its pod was admitted with, and a patch the certificates that were issued for it.
    """
    sources = query.find_logs(choose_logs(paths))
    record = _choose_record(list(query.find_by_id(sources, record_id, report_torn_line)), record_id, sources)
    related = query.find_related(sources, record)
    if output == "table":
        print_record(record, related)
    else:
        values = {"record": query.to_json(record), "related": [query.to_json(other) for other in related]}
        print_values(values, output)


def _choose_record(found: list[Record], record_id: str, sources: list[Path]) -> Record:
    if not found:
        raise InputError(f"ID: got {record_id!r}, no record in {len(sources)} file(s) has an id that starts with it")
    # Copies of one log hold the same record more than once.
    ids = sorted({record.id for record in found})
    if len(ids) > 1:
        raise InputError(f"ID: got {record_id!r}, {len(ids)} ids start with it: {', '.join(ids[:5])}")
    if any(other != found[0] for other in found):
        raise InputError(f"ID: got {record_id!r}, different records have id {ids[0]}: podtls did not write all of them")
    return found[0]


def _print_table(found: Iterator[list[Record]], *, always: bool) -> None:
    columns = Columns(["TIME", "DECISION", "NAMESPACE", "POD", "REASON", "ID"])
    printed = False
    for batch in found:
        columns.print([(_STYLES.get(record.decision, ""), _format_row(record)) for record in batch])
        printed = True
    if always and not printed:
        note("no record matches")


def _format_row(record: Record) -> list[str]:
    is_dry = isinstance(record, AdmissionRecord) and record.dry_run
    decision = f"{record.decision} (dry run)" if is_dry else record.decision
    time = f"{record.time:%Y-%m-%dT%H:%M:%SZ}"
    return [time, decision, record.namespace, pod_of(record), record.reason, record.id[:12]]


def _print_yaml(found: Iterator[list[Record]], *, always: bool) -> None:
    printed = False
    for record in itertools.chain.from_iterable(found):
        click.echo(to_yaml([query.to_json(record)]), nl=False)
        printed = True
    if always and not printed:
        click.echo("[]")


def _print_array(found: Iterator[list[Record]]) -> None:
    before = "["
    for record in itertools.chain.from_iterable(found):
        click.echo(f"{before}\n{_format_line(record)}", nl=False)
        before = ","
    click.echo("\n]" if before == "," else "[]")


def _format_line(record: Record) -> str:
    return printable_json(encode(record).decode())


audit.add_command(reconcile)
