"""`podtls check`: options in; findings and an exit code out. What is checked is in checks.py."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import click
from rich.text import Text

from podtls.check.checks import check_cluster
from podtls.check.finding import CheckFinding, CheckReport
from podtls.console import count_noun, make_console, print_values, printable
from podtls.kubernetes.client import connect
from podtls.options import cluster_options

_STYLES: Final = {"ok": "green", "warning": "yellow", "problem": "bold red"}
_LEVEL_WIDTH: Final = 9
_CHECK_WIDTH: Final = 14


@click.command(
    epilog="""\b
Examples:
  podtls check
  podtls check --context staging
  podtls check -o json
"""
)
@cluster_options
def check(*, kubeconfig: Path | None, context: str | None, output: str) -> int:
    """Check whether podtls works in a cluster, or could.

    Before podtls is installed it says so, and whether anything would prevent it. Each finding is ok, a warning or a
    problem, with what to do. Nothing is changed and no Secret is read; the API server proxies to webhook and CA.

    The exit code is 0 without problems, 1 with problems, 69 when the API server does not answer, 64 for wrong usage.
    """
    report = check_cluster(connect(kubeconfig, context), lambda: datetime.now(UTC))
    if output == "table":
        _print_report(report)
    else:
        print_values(report.to_json(), output)
    return 1 if report.count("problem") else 0


def _print_report(report: CheckReport) -> None:
    screen = make_console()
    for finding in report.findings:
        for line in _format_finding(finding):
            screen.print(line, soft_wrap=True)
    problems, warnings = report.count("problem"), report.count("warning")
    screen.print(Text(f"\n{count_noun(problems, 'problem')}, {count_noun(warnings, 'warning')}"), soft_wrap=True)


def _format_finding(finding: CheckFinding) -> list[Text]:
    level = Text(finding.level.ljust(_LEVEL_WIDTH), style=_STYLES[finding.level])
    lines = [level + Text(finding.check.ljust(_CHECK_WIDTH) + printable(finding.what))]
    if finding.do:
        lines.append(Text(" " * (_LEVEL_WIDTH + _CHECK_WIDTH) + "-> " + printable(finding.do)))
    return lines
