"""What is printed: one table for people, or JSON for a program. Measures nothing."""

import json
import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table

from lab.bench import processes
from lab.bench.errors import MissingError
from lab.bench.figures import Row

_PROGRAMS = {"nginx": ("-v",), "openssl": ("version",), "go": ("version",)}


def table(rows: Sequence[Row]) -> Table:
    """One line a row; the ratio is our figure over that of the line."""
    titles = ("measurement", "subject", "median", "min to max", "podtls is", "target", "held")
    result = Table(*titles, caption="medians over the rounds; ratios are medians of the rounds' own ratios")
    for number in (2, 3, 4):
        result.columns[number].justify = "right"
    previous = None
    for row in rows:
        if previous not in {None, row.measurement}:
            result.add_section()
        previous = row.measurement
        result.add_row(*_cells(row))
    return result


def as_json(rows: Sequence[Row]) -> str:
    """The rows with all their values, and the machine they were measured on."""
    measured = [asdict(row) | {"median": row.series.median, "values": list(row.series.values)} for row in rows]
    for entry in measured:
        del entry["series"]
    return json.dumps({"machine": machine(), "rows": measured}, indent=2)


def machine() -> dict[str, Any]:
    """What a figure depends on, as far as the machine tells."""
    return {
        "cpus": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 2),
        **{name: version for name in _PROGRAMS if (version := _version(name))},
    }


def show(rows: Sequence[Row], output: str) -> None:
    """Print the rows on stdout as `table` or `json`."""
    if output == "json":
        print(as_json(rows))
    else:
        # A pipe has no width; 80 columns would fold the table.
        console = Console()
        (console if console.is_terminal else Console(width=120)).print(table(rows))


def _cells(row: Row) -> tuple[str, ...]:
    low, high = min(row.series.values), max(row.series.values)
    times = "" if row.ratio is None else f"{row.ratio:.2f} x"
    held = {None: "", True: "[green]yes[/]", False: "[red]no[/]"}[row.held]
    return (
        row.measurement,
        row.subject,
        f"{row.series.median:,.0f} {row.unit}",
        f"{low:,.0f} to {high:,.0f}",
        times,
        row.target,
        held,
    )


def _version(name: str) -> str:
    try:
        command = [processes.nginx() if name == "nginx" else processes.program(name), *_PROGRAMS[name]]
    except MissingError:
        return ""
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
    return (done.stdout or done.stderr).strip().splitlines()[0]
