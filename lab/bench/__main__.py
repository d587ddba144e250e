"""`python -m lab.bench`: measure, with progress on stderr and one table on stdout. Never fails for being slow."""

import sys
from collections.abc import Callable
from functools import partial
from typing import Final

import click

from lab.bench import admission, enrollment, issuance, report
from lab.bench.errors import BenchError
from lab.bench.figures import Options, Row


def _cluster(options: Options) -> list[Row]:
    from lab.bench import cluster  # Late: nothing else here needs the tests' cluster.

    return cluster.measure(options)


ALONE: Final[dict[str, Callable[[Options], list[Row]]]] = {
    "admission": admission.measure,
    "issuance": issuance.measure,
    "enrollment": enrollment.measure,
}
MEASUREMENTS: Final = ALONE | {"cluster": _cluster}


@click.command(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Examples: python -m lab.bench; python -m lab.bench admission --rounds 21; python -m lab.bench -o json",
)
@click.argument("measurements", nargs=-1, metavar="[admission|issuance|enrollment|cluster]...")
@click.option("--rounds", default=11, show_default=True, type=click.IntRange(1), help="How often all take their turn.")
@click.option("-o", "--output", default="table", show_default=True, type=click.Choice(["table", "json"]))
def main(measurements: tuple[str, ...], rounds: int, output: str) -> None:
    """Measure podtls beside what one would do without it, in turns, and print medians and ratios.

    \b
    admission   CPU of Nginx + gunicorn for one pod, beside a naive webhook and the least one in Go
    issuance    CPU of signing a leaf, beside OpenSSL's own, and of a whole enrollment at the CA
    enrollment  from process start to certificate on disk, beside openssl + curl
    cluster     500 pods through a real kube-apiserver, with the webhook and without (needs what test-cluster needs)

    Without a name, the first three. Ends with 0 also where a figure is over its target; with 1 when one is missing.
    """  # noqa: D301 - \b is click's mark for a block that keeps its lines.
    if unknown := sorted(set(measurements) - set(MEASUREMENTS)):
        raise click.BadParameter(f"got {unknown[0]!r}, allowed are {', '.join(MEASUREMENTS)}")
    rows: list[Row] = []
    for name in measurements or ALONE:
        try:
            rows += MEASUREMENTS[name](Options(rounds=rounds, log=partial(_log, name)))
        except BenchError as error:
            _log(name, str(error))
            sys.exit(1)
    report.show(rows, output)


def _log(name: str, line: str) -> None:
    print(f"{name}: {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main(prog_name="python -m lab.bench")
