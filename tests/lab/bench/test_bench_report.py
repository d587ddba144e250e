"""What `python -m lab.bench` prints."""

import json

from click.testing import CliRunner
from rich.console import Console

from lab.bench import figures, report
from lab.bench.__main__ import main
from lab.bench.figures import Series

OURS = figures.own("admission", "ours", "us", Series((400.0, 500.0, 450.0)))
NAIVE = figures.peer(OURS, "naive", Series((4000.0, 5000.0, 4500.0)), at_most=1 / 6, words="at most 1/6")
FLOOR = figures.peer(OURS, "floor", Series((100.0, 125.0, 112.5)), at_most=3, words="at most 3 x")
NAMES = ("ours", "naive", "floor")


def test_the_table_says_median_range_ratio_and_whether_the_target_is_held() -> None:
    console = Console(width=120)

    with console.capture() as captured:
        console.print(report.table([OURS, NAIVE, FLOOR]))

    lines = captured.get().splitlines()
    ours, naive, floor = (next(line for line in lines if f" {name} " in line) for name in NAMES)
    assert "450 us" in ours
    assert "400 to 500" in ours
    assert "0.10 x" in naive
    assert "yes" in naive
    assert "4.00 x" in floor
    assert "no" in floor


def test_json_holds_every_round_and_the_machine() -> None:
    told = json.loads(report.as_json([OURS, NAIVE]))

    assert told["machine"]["python"]
    assert told["rows"][0]["values"] == [400.0, 500.0, 450.0]
    assert told["rows"][1]["ratio"] == 0.1
    assert told["rows"][1]["held"] is True


def test_help_names_the_three_measurements() -> None:
    result = CliRunner().invoke(main, ["--help"])

    assert result.exit_code == 0
    assert all(name in result.output for name in ("admission", "issuance", "enrollment"))


def test_an_unknown_measurement_is_refused_with_what_is_allowed() -> None:
    result = CliRunner().invoke(main, ["latency"])

    assert result.exit_code == 2
    assert "got 'latency', allowed are admission, issuance, enrollment" in result.output
