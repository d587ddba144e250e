"""When the sidecar polls and when it renews: pure arithmetic on times and counts."""

from datetime import datetime
from typing import Final

from cryptography import x509

from injector.enroll.certificate import Bundle, Chain, is_trusted, leaf_renewal_due

# Seconds between polls. The names are asked for 3 s, 15 s, 1 min, 5 min after the sidecar's start and then every
# 10 min: `kubectl apply` often creates the Deployment a moment before its Service.
_POLL_INTERVALS: Final = (3, 12, 45, 240, 600)
_FIRST_RETRY: Final = 5
_LAST_RETRY: Final = 300


def is_renewal_due(chain: Chain, *, bundle: Bundle, now: datetime) -> bool:
    """Whether it is time, or the chain ends at a root that the bundle does not have (any more)."""
    return leaf_renewal_due(chain[0]) <= now or not is_trusted(chain, bundle=bundle, now=now)


def seconds_to_poll(leaf: x509.Certificate, *, now: datetime, polls: int, chance: float) -> int:
    """Seconds until the next poll, after `polls` polls before this one; fewer when the renewal is due earlier."""
    interval = _POLL_INTERVALS[min(polls, len(_POLL_INTERVALS) - 1)]
    # The long interval is jittered downwards; else the pods of one rollout would always ask the CA in step.
    pause = interval if interval < _POLL_INTERVALS[-1] else interval * (1 - chance / 5)
    return max(1, int(min(pause, (leaf_renewal_due(leaf) - now).total_seconds() + 1)))


def seconds_to_retry(failures: int, *, chance: float) -> int:
    """Seconds until the next try after `failures` failures before this one: doubling, half of it chance."""
    pause = min(_FIRST_RETRY * 2 ** min(failures, 10), _LAST_RETRY)
    return max(1, int(pause / 2 + pause / 2 * chance))
