"""`podtls audit reconcile`: options in, findings and fates out. What is compared is in audit/reconcile.py."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC
from pathlib import Path
from typing import Any, Final

import click

from audit import query
from audit.apiserver_log import read_creations
from audit.errors import LogReadError
from audit.pods import PodCreation
from audit.reconcile import PodFinding, Reconciliation, RecordFate, reconcile_records
from podtls.auditor.pods import read_listed_pods
from podtls.auditor.show import report_torn_line
from podtls.console import count_noun, note, print_section, print_values
from podtls.errors import InputError
from podtls.options import choose_logs, output_option, paths_argument, since_option, until_option

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
@since_option
@until_option
@output_option
def reconcile(
    paths: tuple[Path, ...], *, pods_file: str | None, api_audit: tuple[Path, ...], output: str, **members: Any
) -> int:
    """Compare records with pods: every pod must name one record of its own. Also show what became of each record.

    Give the logs of all replicas of webhook and CA, rotated ones too, and list the pods before the logs are copied:
    a pod whose record is not in these files is a finding.

    Of each record that injected a pod it says: `stored` (a pod names it, it got a certificate, or the API server
    answered 201), `refused later` (the API server says so), or `not seen`. Surplus records are not a fault. A pod that
    does not name exactly one record of its own is a finding; with findings the exit code is 1.
    """
    if pods_file is None and not api_audit:
        raise click.UsageError("nothing to compare with, expected --pods FILE, --api-audit FILE or both")
    pods = [] if pods_file is None else read_listed_pods(pods_file)
    creations = _read_creations(api_audit)
    records = query.read_records(query.find_logs(choose_logs(paths)), report_torn_line)
    found = reconcile_records(records, pods, creations).within(**members)
    if output == "table":
        _print_reconciliation(found)
    else:
        print_values(_to_json(found), output)
    return 1 if found.findings else 0


def _read_creations(files: Sequence[Path]) -> list[PodCreation]:
    found = []
    for file in files:
        try:
            named = list(read_creations(file, report_torn_line))
        except LogReadError as error:
            raise InputError(f"--api-audit: {error}") from error
        if not named:
            note(f"--api-audit: {file}: no creation of a pod in it names a record; does its policy log pods?")
        found += named
    return found


def _to_json(found: Reconciliation) -> dict[str, Any]:
    own = sum(pod.own for pod in found.pods)
    return {
        "findings": [_format_time(asdict(each)) for each in found.findings],
        "records": [_format_time(asdict(each)) for each in found.records],
        "pods": {"compared": len(found.pods) - own, "own": own},
    }


def _format_time(values: dict[str, Any]) -> dict[str, Any]:
    return {**values, "time": values["time"].astimezone(UTC).isoformat().replace("+00:00", "Z")}


def _print_reconciliation(found: Reconciliation) -> None:
    print_section(
        "Findings",
        ["FINDING", "NAMESPACE", "POD", "RECORD", "WHY"],
        [("red", _format_finding(each)) for each in found.findings],
    )
    print_section(
        "Records",
        ["TIME", "OUTCOME", "NAMESPACE", "POD", "ID", "WHY"],
        [(_STYLES.get(each.outcome, ""), _format_fate(each)) for each in found.records],
    )
    click.echo(_summarize(found))


def _format_finding(found: PodFinding) -> list[str]:
    return [found.finding, found.namespace, found.pod or "-", found.record[:12] or "-", found.why]


def _format_fate(fate: RecordFate) -> list[str]:
    time = f"{fate.time.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
    return [time, fate.outcome, fate.namespace, fate.pod, fate.id[:12], fate.why]


def _summarize(found: Reconciliation) -> str:
    """One line of counts, podtls's own pods among them."""
    counts = Counter(each.outcome for each in found.records)
    own = sum(pod.own for pod in found.pods)
    fates = ", ".join(f"{counts[outcome]} {outcome}" for outcome in ("stored", "refused later", "not seen"))
    exempt = f" (and {own} of podtls itself, which need none)" if own else ""
    compared = count_noun(len(found.pods) - own, "pod")
    return f"{count_noun(len(found.findings), 'finding')}; {compared} compared{exempt}; records: {fates}"
