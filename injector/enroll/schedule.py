"""When the sidecar looks again: pure arithmetic on times and counts."""

from datetime import datetime
from typing import Final

from cryptography import x509

from injector.enroll.certificate import renewal_due

# Seconds between looks. The names are asked for 3 s, 15 s, 1 min, 5 min after the sidecar's start and then every
# 10 min: `kubectl apply` often creates the Deployment a moment before its Service.
_GAPS: Final = (3, 12, 45, 240, 600)
_FIRST_RETRY: Final = 5
_LAST_RETRY: Final = 300


def seconds_to_next(leaf: x509.Certificate, *, now: datetime, looks: int, chance: float) -> int:
    """Seconds until the next look, after `looks` looks before this one; earlier when the renewal is due earlier."""
    gap = _GAPS[min(looks, len(_GAPS) - 1)]
    # The long gap is jittered downwards; pods of one rollout would ask the CA in step for ever.
    pause = gap if gap < _GAPS[-1] else gap * (1 - chance / 5)
    return max(1, int(min(pause, (renewal_due(leaf) - now).total_seconds() + 1)))


def seconds_to_retry(failures: int, *, chance: float) -> int:
    """Seconds until the next try after `failures` failures before this one: doubling, half of it chance."""
    pause = min(_FIRST_RETRY * 2 ** min(failures, 10), _LAST_RETRY)
    return max(1, int(pause / 2 + pause / 2 * chance))
