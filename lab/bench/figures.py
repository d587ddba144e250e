"""The arithmetic of a comparison: interleaved rounds, medians, ratios, targets. Starts nothing and prints nothing."""

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Options:
    """How often all subjects take their turn, and where progress is told."""

    rounds: int
    log: Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Series:
    """What one subject measured, one value a round, all in the same unit."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """The median over the rounds."""
        return statistics.median(self.values)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: what was measured, how often our figure is this one, and what our target is."""

    measurement: str
    subject: str
    unit: str
    series: Series
    ratio: float | None = None  # our figure over this one; None on our own lines
    target: str = ""  # in words; empty where nothing is promised
    held: bool | None = None  # None where nothing is promised


def interleave(
    subjects: Mapping[str, Callable[[], float]], *, rounds: int, on_round: Callable[[int], None] = lambda _: None
) -> dict[str, Series]:
    """Measure all subjects once a round, each round beginning with another one.

    What slows the machine for a while then slows all of them, and none always runs behind the same neighbour.
    """
    names = list(subjects)
    values: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        on_round(number)
        start = number % len(names)
        for name in names[start:] + names[:start]:
            values[name].append(subjects[name]())
    return {name: Series(tuple(measured)) for name, measured in values.items()}


def ratio(ours: Series, theirs: Series) -> float:
    """The median over the rounds of ours / theirs: each round is compared with itself; ValueError if rounds differ."""
    return statistics.median(a / b for a, b in zip(ours.values, theirs.values, strict=True))


def own(measurement: str, subject: str, unit: str, series: Series) -> Row:
    """A line of ours that others are compared with."""
    return Row(measurement, subject, unit, series)


def own_below(row: Row, limit: float) -> Row:
    """The same line with an absolute limit in its unit, which the median has to stay within."""
    return Row(
        row.measurement,
        row.subject,
        row.unit,
        row.series,
        target=f"at most {limit:,g} {row.unit}",
        held=row.series.median <= limit,
    )


def peer(ours: Row, subject: str, series: Series, *, at_most: float | None = None, words: str = "") -> Row:
    """A line that ours is compared with; `at_most` is what our figure may be as a multiple of this one."""
    times = ratio(ours.series, series)
    held = None if at_most is None else times <= at_most
    return Row(ours.measurement, subject, ours.unit, series, ratio=times, target=words, held=held)
