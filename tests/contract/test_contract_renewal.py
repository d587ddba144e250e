"""When a certificate is renewed."""

from datetime import UTC, datetime, timedelta

import pytest

from contract.names import BACKDATE_SECONDS
from contract.renewal import renewal_due

ISSUED = datetime(2026, 11, 28, 12, tzinfo=UTC)
NOT_BEFORE = ISSUED - timedelta(seconds=BACKDATE_SECONDS)


@pytest.mark.parametrize(
    ("lifetime", "after"),
    [
        pytest.param(timedelta(minutes=1), timedelta(seconds=40), id="the shortest"),
        pytest.param(timedelta(hours=24), timedelta(hours=16), id="the usual"),
        pytest.param(timedelta(days=365), timedelta(days=365) * 2 / 3, id="an issuing CA"),
    ],
)
def test_certificate_is_due_after_two_thirds_of_the_life_that_it_was_issued_for(
    lifetime: timedelta, after: timedelta
) -> None:
    due = renewal_due(NOT_BEFORE, ISSUED + lifetime)

    assert abs(due - ISSUED - after) < timedelta(milliseconds=1)


def test_renewal_can_be_sooner_by_a_fraction_of_the_life() -> None:
    due = renewal_due(NOT_BEFORE, ISSUED + timedelta(hours=30), sooner=2 / 3 - 0.6)

    assert abs(due - ISSUED - timedelta(hours=18)) < timedelta(milliseconds=1)
