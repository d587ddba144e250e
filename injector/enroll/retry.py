"""Trying again, with jitter, within a time budget. Knows clocks and errors, not what is tried."""

from collections.abc import Callable
from typing import Final, Protocol, TypeVar

from injector.errors import TokenRefusedError, UnavailableError

_REQUEST_SECONDS: Final = 10.0  # the longest that one try may take
_PAUSES: Final = (0.25, 0.5, 1.0, 2.0, 4.0)  # seconds between tries; the last one goes on
_TOKEN_TRIES: Final = 3

T = TypeVar("T")


class Clock(Protocol):
    """The effects of waiting."""

    def monotonic(self) -> float:
        """Seconds, never backwards."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait."""
        ...

    def chance(self) -> float:
        """A random number, 0 <= x < 1."""
        ...


def persist(attempt: Callable[[float], T], *, budget: float, clock: Clock) -> T:
    """Call `attempt(deadline)` until it returns, for `budget` seconds at most.

    Goes on after UnavailableError, not before its `retry_after`, and a few times after
    TokenRefusedError. Raises any other error at once, and UnavailableError when the budget is over.
    """
    end = clock.monotonic() + budget
    tries = 0
    while True:
        tries += 1
        try:
            return attempt(min(clock.monotonic() + _REQUEST_SECONDS, end))
        except TokenRefusedError:
            if tries >= _TOKEN_TRIES:
                raise
            pause = _pause(tries, clock)
        except UnavailableError as error:
            pause = _pause(tries, clock) + (error.retry_after or 0)
            if clock.monotonic() + pause >= end:
                times = "once" if tries == 1 else f"{tries} times"
                raise UnavailableError(f"{error} (tried {times} in {budget:g} s)") from error
        clock.sleep(pause)


def _pause(tries: int, clock: Clock) -> float:
    """Half of the pause is fixed and half is chance: a thousand pods that start together do not come back together."""
    pause = _PAUSES[min(tries, len(_PAUSES)) - 1]
    return pause / 2 + pause / 2 * clock.chance()
