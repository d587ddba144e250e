"""The arithmetic behind every figure in docs/benchmarks.md."""

from collections.abc import Callable

import pytest

from lab.bench import figures
from lab.bench.figures import Series

US = "us"


def test_every_subject_is_measured_once_a_round_and_each_begins_in_turn() -> None:
    order: list[str] = []

    measured = figures.interleave({name: _recorder(name, order) for name in "abc"}, rounds=3)

    assert order == ["a", "b", "c", "b", "c", "a", "c", "a", "b"]
    assert measured["a"].values == (1.0, 6.0, 8.0)


def test_progress_is_told_once_a_round() -> None:
    told: list[int] = []

    figures.interleave({"a": lambda: 0.0, "b": lambda: 0.0}, rounds=3, on_round=told.append)

    assert told == [0, 1, 2]


@pytest.mark.parametrize(
    ("values", "median"),
    [
        pytest.param((3.0, 1.0, 900.0), 3.0, id="an outlier does not move it"),
        pytest.param((1.0, 2.0, 3.0, 10.0), 2.5, id="even count: between the middle two"),
        pytest.param((7.0,), 7.0, id="one round"),
    ],
)
def test_a_series_is_summed_up_by_its_median(values: tuple[float, ...], median: float) -> None:
    series = Series(values)

    assert series.median == median


def test_a_ratio_compares_each_round_with_itself() -> None:
    ours = Series((10.0, 20.0, 90.0))
    slow_machine_in_the_last_rounds = Series((5.0, 10.0, 30.0))

    times = figures.ratio(ours, slow_machine_in_the_last_rounds)

    assert times == 2.0


def test_series_of_different_rounds_have_no_ratio() -> None:
    with pytest.raises(ValueError, match="shorter than argument 1"):
        figures.ratio(Series((1.0, 2.0)), Series((1.0,)))


@pytest.mark.parametrize(
    ("theirs", "held"),
    [
        pytest.param(600.0, True, id="exactly the target"),
        pytest.param(599.0, False, id="just over it"),
        pytest.param(6000.0, True, id="far below it"),
    ],
)
def test_a_target_is_held_up_to_and_including_its_bound(theirs: float, held: bool) -> None:
    ours = figures.own("admission", "podtls", US, Series((100.0,)))

    row = figures.peer(ours, "naive", Series((theirs,)), at_most=1 / 6, words="at most 1/6")

    assert row.held is held
    assert row.ratio == pytest.approx(100 / theirs)
    assert row.measurement == "admission"
    assert row.target == "at most 1/6"


def test_a_peer_without_a_target_is_only_shown() -> None:
    ours = figures.own("enrollment", "podtls", "ms", Series((90.0,)))

    row = figures.peer(ours, "curl", Series((45.0,)))

    assert (row.ratio, row.held, row.target) == (2.0, None, "")


@pytest.mark.parametrize(
    ("median", "held"), [pytest.param(150.0, True, id="at"), pytest.param(150.1, False, id="above")]
)
def test_an_absolute_limit_is_held_against_the_median(median: float, held: bool) -> None:
    ours = figures.own("enrollment", "podtls", "ms", Series((1.0, median, 900.0)))

    row = figures.own_below(ours, 150)

    assert row.held is held
    assert row.target == "at most 150 ms"
    assert row.series == ours.series


def _recorder(name: str, order: list[str]) -> Callable[[], float]:
    def measure() -> float:
        order.append(name)
        return float(len(order))

    return measure
