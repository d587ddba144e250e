"""Trying again and looking again: paces, budgets, jitter. The clock is a fake that moves when somebody sleeps."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from injector.enroll.certificate import leaf_renewal_due
from injector.enroll.retry import persist
from injector.enroll.schedule import seconds_to_poll, seconds_to_retry
from injector.errors import InjectorError, RefusedError, TokenRefusedError, UnavailableError
from tests.fakes import FakeClock
from tests.injector.authority import Authority


def failing(*errors: InjectorError) -> Callable[[float], str]:
    """Fails once for each error, then answers."""
    left = list(errors)

    def attempt(_: float) -> str:
        if left:
            raise left.pop(0)
        return "answer"

    return attempt


def test_pauses_grow_and_are_jittered() -> None:
    clock = FakeClock(luck=0.5)

    answer = persist(failing(*[UnavailableError("down")] * 7), budget=60, clock=clock)

    assert answer == "answer"
    assert clock.slept == [0.1875, 0.375, 0.75, 1.5, 3.0, 3.0, 3.0]


def test_a_retry_after_is_waited_for_and_a_bit_more() -> None:
    clock = FakeClock(luck=0)

    persist(failing(UnavailableError("busy", retry_after=5)), budget=60, clock=clock)

    assert clock.slept == [5.125]


def test_the_last_reason_and_the_count_are_told_when_the_budget_is_over() -> None:
    clock = FakeClock()

    with pytest.raises(UnavailableError, match=r"^down \(tried 6 times in 6 s\)$"):
        persist(failing(*[UnavailableError("down")] * 99), budget=6, clock=clock)

    assert clock.time < 1006


def test_no_try_has_more_time_than_the_budget_has_left() -> None:
    clock = FakeClock()
    deadlines: list[float] = []

    def attempt(deadline: float) -> None:
        deadlines.append(deadline - clock.time)
        clock.time = deadline
        raise UnavailableError("slow")

    with pytest.raises(UnavailableError, match="slow"):
        persist(attempt, budget=15, clock=clock)

    assert deadlines == [10.0, 4.8125]


def test_a_refused_token_is_worth_three_tries() -> None:
    clock = FakeClock()

    assert persist(failing(*[TokenRefusedError("401")] * 2), budget=60, clock=clock) == "answer"
    with pytest.raises(TokenRefusedError, match="401"):
        persist(failing(*[TokenRefusedError("401")] * 3), budget=60, clock=clock)


def test_a_refusal_ends_at_once() -> None:
    clock = FakeClock()

    with pytest.raises(RefusedError, match="no"):
        persist(failing(RefusedError("no")), budget=60, clock=clock)

    assert clock.slept == []


def test_the_sidecar_polls_soon_after_its_start_and_then_rarely(authority: Authority) -> None:
    leaf = authority.leaf().chain[0]
    now = leaf.not_valid_before_utc

    pauses = [seconds_to_poll(leaf, now=now, polls=polls, chance=0) for polls in range(6)]

    assert pauses == [3, 12, 45, 240, 600, 600]
    assert seconds_to_poll(leaf, now=now, polls=9, chance=0.999) == 480


def test_the_sidecar_polls_when_the_renewal_is_due(authority: Authority) -> None:
    leaf = authority.leaf().chain[0]
    due = leaf_renewal_due(leaf)

    assert seconds_to_poll(leaf, now=due - timedelta(seconds=20), polls=9, chance=0) == 21
    assert seconds_to_poll(leaf, now=due + timedelta(hours=1), polls=9, chance=0) == 1


def test_retries_double_up_to_five_minutes() -> None:
    assert [seconds_to_retry(failures, chance=0.9999) for failures in (0, 1, 2, 5, 6, 500)] == [4, 9, 19, 159, 299, 299]
    assert seconds_to_retry(0, chance=0) == 2
