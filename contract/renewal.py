"""When a certificate is renewed: one rule for leaves, serving certificates and the issuing CA."""

from datetime import datetime, timedelta
from typing import Final

from contract.names import BACKDATE_SECONDS

_BACKDATE: Final = timedelta(seconds=BACKDATE_SECONDS)


def renewal_due(not_before: datetime, not_after: datetime, *, sooner: float = 0.0) -> datetime:
    """After two thirds of the life, or this fraction of the life sooner.

    The life begins when the certificate is issued. Its not_before lies a minute earlier, for clocks that are late: to
    count that minute as life would renew a certificate of one minute after a third of it.
    """
    start = not_before + _BACKDATE
    return start + (not_after - start) * (2 / 3 - sooner)
