"""`podtls status`: options in, tables out. What is shown is read in report.py."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click

from podtls.console import note, print_section, print_values
from podtls.kubernetes.client import connect
from podtls.options import cluster_options
from podtls.status.enrolled import EnrolledPod
from podtls.status.report import StatusReport, read_status

_STYLES: Final = {"lost root": "red"}


@click.command(
    epilog="""\b
Examples:
  podtls status
  podtls status -n shop
  podtls status --context staging -o json
"""
)
@click.option("-n", "--namespace", metavar="NAME", help="Only this namespace, enrolled or not.")
@cluster_options
def status(*, namespace: str | None, kubeconfig: Path | None, context: str | None, output: str) -> None:
    """Show which pods are enrolled, which are not and why, and what bypasses TLS.

    NAMES are those that the CA would certify now, from the Services as they are (-o json has all of them, also in the
    zone and for the pod's address). CERTIFICATE is how long each one is valid, and when the pod got its first; the
    evidence has every certificate: podtls audit list --kind certificate. TRUST compares the roots that the pod was
    admitted with to those of today: a pod with a lost root has to be recreated.
    """
    found = read_status(connect(kubeconfig, context), namespace)
    for line in found.notes if output == "table" else ():
        note(line)
    if output == "table":
        _print_report(found)
    else:
        print_values(found.to_json(), output)


def _print_report(found: StatusReport) -> None:
    _print_pods(found.enrolled)
    print_section(
        "Pods without TLS",
        ["NAMESPACE", "POD", "WHY", "WHAT TO DO"],
        [("", (each.namespace, each.name, each.reason, each.do)) for each in found.plain],
    )
    print_section(
        "Pods that could not be created",
        ["NAMESPACE", "OWNER", "TIMES", "LAST", "WHY"],
        [("", (each.namespace, each.owner, str(each.times), each.last, each.message)) for each in found.failed],
    )
    print_section(
        "Services of enrolled pods that lead past TLS",
        ["NAMESPACE", "SERVICE", "PORT", "TARGET", "WHAT TO DO"],
        [("", (each.namespace, each.service, str(each.port), each.target, each.do)) for each in found.plaintext],
    )
    if not found.namespaces:
        note("no namespace is enrolled; to enroll one: kubectl label namespace NAME podtls.io/inject=enabled")
    elif not found.enrolled and not found.plain:
        note(f"no pods in {', '.join(found.namespaces)}")


def _print_pods(pods: Sequence[EnrolledPod]) -> None:
    rows = [(_STYLES.get(each.trust, ""), _format_pod(each)) for each in pods]
    names = ["NAMESPACE", "POD", "STATE", "MODE", "PORTS", "TRUST", "CERTIFICATE", "NAMES", "RECORD"]
    print_section("Enrolled pods", names, rows)


def _format_pod(pod: EnrolledPod) -> list[str]:
    # The names in the zone follow from these, and the pod's address is of little interest.
    names = ",".join(name for name in pod.dns if name.endswith(".svc"))
    certificate = f"{pod.lifetime}, first {pod.since}" if pod.since else "none yet"
    facts = [pod.namespace, pod.name, pod.state, pod.mode, pod.ports or "-", pod.do or pod.trust]
    return [*facts, certificate, names or "-", pod.record[:12] or "-"]
