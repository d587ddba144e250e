"""How one record looks to a person: its facts, its operations in colour, who stands behind it. Reads no files."""

from collections.abc import Sequence
from typing import Any, Final

from rich.console import Console
from rich.text import Text

from audit.record import AdmissionRecord, CertificateRecord, Record
from podtls.auditor.query import pod_of, relation, to_json
from podtls.console import console, printable
from podtls.inject.documents import to_yaml

_SIGNS: Final = {"add": ("+", "green"), "replace": ("~", "yellow"), "remove": ("-", "red")}
_DECISIONS: Final = {"inject": "green", "issue": "green", "skip": "yellow", "deny": "red", "refuse": "red"}
# Shown in words below the facts.
_APART: Final = {"v", "id", "kind", "operations", "requestedBy", "owners", "warnings"}


def print_record(record: Record, related: Sequence[Record]) -> None:
    """Print a record and its relations to stdout."""
    out = console()
    values = to_json(record)
    out.print(Text(f"{record.kind} {record.id}", style="bold"))
    for key, value in values.items():
        if key not in _APART:
            style = _DECISIONS[record.decision] if key == "decision" else ""
            _fact(out, key, _plain(value), style)
    if isinstance(record, AdmissionRecord):
        _print_admission(out, record)
    for line in (*_who(record), *_links(record, related)):
        out.print(Text(printable(line)))


def _fact(out: Console, key: str, value: str, style: str = "") -> None:
    out.print(Text.assemble((f"  {key:<15} ", "dim"), (printable(value), style)))


def _plain(value: Any) -> str:
    if value is None or value in ("", []):
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _print_admission(out: Console, record: AdmissionRecord) -> None:
    for warning in record.warnings:
        _fact(out, "warning", warning, "yellow")
    out.print(Text(f"operations ({len(record.operations)})", style="bold"))
    for operation in record.operations:
        sign, style = _SIGNS.get(str(operation.get("op")), ("?", "red"))
        out.print(Text(f"  {sign} {printable(str(operation.get('path')))}", style=style))
        if "value" in operation:
            for line in to_yaml(operation["value"]).splitlines():
                if line != "...":
                    out.print(Text(f"      {printable(line)}", style=style))


def _who(record: Record) -> list[str]:
    """What the record can and cannot say of the person behind it."""
    if isinstance(record, CertificateRecord):
        return []
    lines = ["who", f"  requested by {record.requested_by.get('username') or 'nobody named'}"]
    if record.caller == "unverified":
        lines.append(
            "  The caller was not verified to be kube-apiserver: anybody who reaches the webhook may have sent this."
        )
    for owner in record.owners:
        name = f"{owner.get('kind')}/{owner.get('name')}" if isinstance(owner, dict) else str(owner)
        lines.append(
            f"  A controller made this pod for its owner {name}. The human behind it stands in the API server's audit"
            f" log under that owner (and its owners), namespace {record.namespace}."
        )
    return lines


def _links(record: Record, related: Sequence[Record]) -> list[str]:
    lines = ["related"]
    for other in related:
        time = f"{other.time:%Y-%m-%dT%H:%M:%SZ}"
        lines.append(f"  {relation(record, other)} {other.id} {time} {other.decision} {pod_of(other)}")
    patch = record.patch_record if isinstance(record, CertificateRecord) else ""
    if patch and all(other.id != patch for other in related):
        lines.append(f"  patch {patch} (not in these files: the webhook's replicas have their own)")
    if isinstance(record, AdmissionRecord) and record.decision == "inject":
        if record.dry_run:
            lines.append("  A dry run: the API server stored no pod.")
        elif len(lines) == 1:
            lines.append(
                "  No certificate in these files: look into the CA's, or the pod was never stored or never started."
            )
    return lines if len(lines) > 1 else []
