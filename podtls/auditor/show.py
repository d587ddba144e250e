"""Prints one record for a person: its facts, its operations in colour, who asked for it. Reads no files."""

from collections.abc import Sequence
from typing import Any, Final

from rich.console import Console
from rich.text import Text

from audit.log import TornLine
from audit.pods import pod_of
from audit.query import describe_relation, to_json
from audit.record import AdmissionRecord, CertificateRecord, Record
from documents.writer import to_yaml
from podtls.console import make_console, note, printable

_SIGNS: Final = {"add": ("+", "green"), "replace": ("~", "yellow"), "remove": ("-", "red")}
_DECISIONS: Final = {"inject": "green", "issue": "green", "skip": "yellow", "deny": "red", "refuse": "red"}
# Shown in words below the facts.
_IN_WORDS: Final = {"v", "id", "kind", "operations", "requestedBy", "owners", "warnings"}


def print_record(record: Record, related: Sequence[Record]) -> None:
    """Print a record and its relations to stdout."""
    out = make_console()
    values = to_json(record)
    out.print(Text(f"{record.kind} {record.id}", style="bold"))
    for key, value in values.items():
        if key not in _IN_WORDS:
            style = _DECISIONS[record.decision] if key == "decision" else ""
            _print_fact(out, key, _format_value(value), style)
    if isinstance(record, AdmissionRecord):
        _print_admission(out, record)
    for line in (*_describe_caller(record), *_describe_relations(record, related)):
        out.print(Text(printable(line)))


def _print_fact(out: Console, key: str, value: str, style: str = "") -> None:
    out.print(Text.assemble((f"  {key:<15} ", "dim"), (printable(value), style)))


def _format_value(value: Any) -> str:
    if value is None or value in ("", []):
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _print_admission(out: Console, record: AdmissionRecord) -> None:
    for warning in record.warnings:
        _print_fact(out, "warning", warning, "yellow")
    out.print(Text(f"operations ({len(record.operations)})", style="bold"))
    for operation in record.operations:
        sign, style = _SIGNS.get(str(operation.get("op")), ("?", "red"))
        out.print(Text(f"  {sign} {printable(str(operation.get('path')))}", style=style))
        if "value" in operation:
            for line in to_yaml(operation["value"]).splitlines():
                out.print(Text(f"      {printable(line)}", style=style))


def _describe_caller(record: Record) -> list[str]:
    """What the record can and cannot say about the person who asked for it."""
    if isinstance(record, CertificateRecord):
        return []
    lines = ["who", f"  requested by {record.requested_by.get('username') or 'nobody named'}"]
    if record.caller == "unverified":
        lines.append(
            "  The caller was not verified to be kube-apiserver: anybody who can reach the webhook may have sent this."
        )
    for owner in record.owners:
        name = f"{owner.get('kind')}/{owner.get('name')}" if isinstance(owner, dict) else str(owner)
        lines.append(
            f"  A controller made this pod for its owner {name}. The API server's audit log names the person under that"
            f" owner (and its owners), namespace {record.namespace}."
        )
    return lines


def _describe_relations(record: Record, related: Sequence[Record]) -> list[str]:
    lines = ["related"]
    for other in related:
        time = f"{other.time:%Y-%m-%dT%H:%M:%SZ}"
        lines.append(f"  {describe_relation(record, other)} {other.id} {time} {other.decision} {pod_of(other)}")
    patch = record.patch_record if isinstance(record, CertificateRecord) else ""
    if patch and all(other.id != patch for other in related):
        lines.append(f"  patch {patch} (not in these files: the webhook's replicas have their own)")
    if isinstance(record, AdmissionRecord) and record.decision == "inject":
        if record.dry_run:
            lines.append("  A dry run: the API server stored no pod.")
        elif len(lines) == 1:
            lines.append(
                "  No certificate in these files: see the CA's files, or the pod was never stored or never started."
            )
    return lines if len(lines) > 1 else []


def report_torn_line(line: TornLine) -> None:
    """Print on stderr that a line is not a record."""
    note(f"{line.path}: line {line.number} (byte {line.offset}, {len(line.raw)} bytes) is not a record: {line.reason}")
