"""`podtls audit reconcile`: options in, findings and fates out. What is paired with what is reconcile.py's."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC
from pathlib import Path
from typing import Any, Final

import click

from podtls.auditor import query
from podtls.auditor.apiserver_log import creations
from podtls.auditor.options import Moment, output_option, paths_argument, report_torn, sources_of
from podtls.auditor.pods import listed
from podtls.auditor.reconcile import compare
from podtls.auditor.reconciliation import Creation, Fate, Finding, Reconciliation
from podtls.console import Columns, note
from podtls.kubernetes.options import print_values

_BATCH: Final = 500
_STYLES: Final = {"refused later": "yellow", "not seen": "yellow"}


@click.command(
    "reconcile",
    epilog="""\b
Examples:
  kubectl get pods -A -o json | podtls audit reconcile --pods - evidence/
  podtls audit reconcile --pods pods.json --api-audit audit.log --api-audit audit-1.log evidence/
  podtls audit reconcile --api-audit audit.log -n shop --since 7d -o json evidence/
""",
)
@paths_argument
@click.option("--pods", "pods_file", metavar="FILE", help="What kubectl get pods -A -o json prints; - is stdin.")
@click.option(
    "--api-audit",
    "api_audit",
    metavar="FILE",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Audit log of the API server, level Metadata or more; may be repeated.",
)
@click.option("-n", "--namespace", metavar="NAME", help="Show only pods of this namespace.")
@click.option("--since", type=Moment(), help="Show nothing before this time, or this age.")
@click.option("--until", type=Moment(), help="Show only what is before this time, or this age.")
@output_option
def reconcile(
    paths: tuple[Path, ...], *, pods_file: str | None, api_audit: tuple[Path, ...], output: str, **members: Any
) -> int:
    """Compare the records with the pods: every pod names one record, and what became of each record's pod.

    Give the logs of all replicas of webhook and CA, rotated ones too, and list the pods before the logs are copied:
    a pod whose record is not in these files is a finding.

    Of each record that injected a pod it says: `stored` (a pod names it, it got a certificate, or the API server
    answered 201), `refused later` (the API server says so), or `not seen`. Surplus records are no fault. Findings are
    pods that do not name exactly one record of their own; then the exit code is 1.
    """
    if pods_file is None and not api_audit:
        raise click.UsageError("nothing to compare with, expected --pods FILE, --api-audit FILE or both")
    pods = [] if pods_file is None else listed(pods_file)
    answered = _answered(api_audit)
    records = query.records(query.files(sources_of(paths)), report_torn)
    found = compare(records, pods, answered).within(**members)
    if output == "table":
        _print(found)
    else:
        print_values(_to_json(found), output)
    return 1 if found.findings else 0


def _answered(files: Sequence[Path]) -> list[Creation]:
    found = []
    for file in files:
        told = list(creations(file, report_torn))
        if not told:
            note(f"--api-audit: {file}: no creation of a pod in it names a record; does its policy log pods?")
        found += told
    return found


def _to_json(found: Reconciliation) -> dict[str, Any]:
    own = sum(pod.own for pod in found.pods)
    return {
        "findings": [_timed(asdict(each)) for each in found.findings],
        "records": [_timed(asdict(each)) for each in found.records],
        "pods": {"compared": len(found.pods) - own, "own": own},
    }


def _timed(values: dict[str, Any]) -> dict[str, Any]:
    return {**values, "time": values["time"].astimezone(UTC).isoformat().replace("+00:00", "Z")}


def _print(found: Reconciliation) -> None:
    _section(
        "Findings",
        ["FINDING", "NAMESPACE", "POD", "RECORD", "WHY"],
        [("red", _finding(each)) for each in found.findings],
    )
    _section(
        "Records",
        ["TIME", "OUTCOME", "NAMESPACE", "POD", "ID", "WHY"],
        [(_STYLES.get(each.outcome, ""), _fate(each)) for each in found.records],
    )
    click.echo(_summary(found))


def _section(title: str, names: Sequence[str], rows: Sequence[tuple[str, Sequence[str]]]) -> None:
    if not rows:
        return
    click.echo(f"{title}:")
    columns = Columns(names)
    for start in range(0, len(rows), _BATCH):
        columns.print(rows[start : start + _BATCH])
    click.echo("")


def _finding(found: Finding) -> list[str]:
    return [found.finding, found.namespace, found.pod or "-", found.record[:12] or "-", found.why]


def _fate(fate: Fate) -> list[str]:
    time = f"{fate.time.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
    return [time, fate.outcome, fate.namespace, fate.pod, fate.id[:12], fate.why]


def _summary(found: Reconciliation) -> str:
    """One line of counts; own pods are named, so that nobody misses them."""
    counts = Counter(each.outcome for each in found.records)
    own = sum(pod.own for pod in found.pods)
    fates = ", ".join(f"{counts[outcome]} {outcome}" for outcome in ("stored", "refused later", "not seen"))
    ours = f" (and {own} of podtls itself, which need none)" if own else ""
    compared = _counted(len(found.pods) - own, "pod")
    return f"{_counted(len(found.findings), 'finding')}; {compared} compared{ours}; records: {fates}"


def _counted(count: int, noun: str) -> str:
    return f"{count or 'no'} {noun}{'s' * (count != 1)}"
