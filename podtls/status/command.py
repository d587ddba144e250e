"""`podtls status`: what is told is cluster/status.py's; here it is asked for and printed."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click

from podtls.console import Columns, note
from podtls.kubernetes.client import connect
from podtls.kubernetes.options import cluster_options, print_values
from podtls.status.enrolled import EnrolledPod
from podtls.status.report import Status
from podtls.status.report import status as status_of

_STYLES: Final = {"lost root": "red"}
_ADDRESS: Final = ".pod."


@click.command(
    epilog="""\b
Examples:
  podtls status
  podtls status -n shop
  podtls status --context staging -o json
"""
)
@click.option("-n", "--namespace", metavar="NAME", help="Only this one, enrolled or not.")
@cluster_options
def status(*, namespace: str | None, kubeconfig: Path | None, context: str | None, output: str) -> None:
    """Show which pods are enrolled, which are not and why, and what bypasses TLS.

    NAMES are those that the CA would certify now, from the Services as they are (-o json has them all, with the zone's
    and the pod's address). CERTIFICATE is how long each one lives, and when the pod got its first; every certificate
    with its end is in the evidence: podtls audit list --kind certificate. TRUST compares the roots that the pod was
    admitted with to those of today: a pod of a lost root has to be recreated.
    """
    found = status_of(connect(kubeconfig, context), namespace)
    for line in found.notes if output == "table" else ():
        note(line)
    if output == "table":
        _print(found)
    else:
        print_values(found.to_json(), output)


def _print(found: Status) -> None:
    _print_pods(found.enrolled)
    _section(
        "Pods without TLS",
        ["NAMESPACE", "POD", "WHY", "WHAT TO DO"],
        [(each.namespace, each.name, each.reason, each.do) for each in found.plain],
    )
    _section(
        "Pods that could not be created",
        ["NAMESPACE", "OWNER", "TIMES", "LAST", "WHY"],
        [(each.namespace, each.owner, str(each.times), each.last, each.message) for each in found.failed],
    )
    _section(
        "Services of enrolled pods that lead past TLS",
        ["NAMESPACE", "SERVICE", "PORT", "TARGET", "WHAT TO DO"],
        [(each.namespace, each.service, str(each.port), each.target, each.do) for each in found.plaintext],
    )
    if not found.namespaces:
        note("no namespace is enrolled; to enroll one: kubectl label namespace NAME podtls.io/inject=enabled")
    elif not found.enrolled and not found.plain:
        note(f"no pods in {', '.join(found.namespaces)}")


def _print_pods(pods: Sequence[EnrolledPod]) -> None:
    rows = [
        (
            each.namespace,
            each.name,
            each.state,
            each.mode,
            each.ports or "-",
            each.do or each.trust,
            f"{each.lifetime}, first {each.since}" if each.since else "none yet",
            ",".join(_short(each.dns)) or "-",
            each.record[:12] or "-",
        )
        for each in pods
    ]
    names = ["NAMESPACE", "POD", "STATE", "MODE", "PORTS", "TRUST", "CERTIFICATE", "NAMES", "RECORD"]
    _section("Enrolled pods", names, rows, styles=[_STYLES.get(each.trust, "") for each in pods])


def _short(dns: Sequence[str]) -> list[str]:
    """The names without the forms that follow from them (in the zone), and without the pod's address."""
    return [name for name in dns if name.endswith(".svc")]


def _section(title: str, names: Sequence[str], rows: Sequence[Sequence[str]], styles: Sequence[str] = ()) -> None:
    if rows:
        click.echo(f"{title}:")
        Columns(names).print(list(zip(styles or [""] * len(rows), rows, strict=True)))
        click.echo("")
