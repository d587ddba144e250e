"""Checks of the API server itself: its version, its clock against this machine's, and what it lets the caller read."""

import re
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final

from contract.names import BACKDATE_SECONDS
from podtls.check.finding import CheckFinding, ok, problem, warning
from podtls.kubernetes.objects import Object
from podtls.kubernetes.reader import Access

# Native sidecars are GA, and the named ports of sidecars are in EndpointSlices.
_OLDEST: Final = (1, 33)
_VERSION: Final = re.compile(r"v([0-9]+)\.([0-9]+)")
# The Date header has whole seconds, and the response took a moment. A leaf is backdated by a minute, not more.
_CLOCK_OK: Final = timedelta(seconds=10)
_CLOCK_LATE: Final = timedelta(seconds=BACKDATE_SECONDS)


def check_version(found: Object) -> CheckFinding:
    """Whether the API server is new enough, from the response to GET /version."""
    name = str(found.get("gitVersion", ""))
    parsed = _VERSION.match(name)
    oldest = f"v{_OLDEST[0]}.{_OLDEST[1]}"
    if not parsed:
        return warning(
            "version", f"the API server says its version is {name!r}", f"make sure that it is {oldest} or newer"
        )
    if (int(parsed[1]), int(parsed[2])) < _OLDEST:
        return problem(
            "version", f"the API server is {name}, podtls needs {oldest} or newer", "upgrade the cluster first"
        )
    return ok("version", f"the API server is {name}")


def parse_date(date: str) -> datetime | None:
    """The time in a Date header (RFC 9110 section 6.6.1), None where there is none."""
    try:
        moment = parsedate_to_datetime(date)
    except ValueError:
        return None
    return moment if moment.tzinfo else None


def check_clock(server: datetime | None, now: datetime) -> CheckFinding:
    """Whether this machine's clock and the API server's agree."""
    if server is None:
        return warning("clock", "the API server does not say what time it is", "compare its clock by hand")
    apart = abs(server - now)
    what = f"this machine's clock and the API server's are {apart.total_seconds():.0f} s apart"
    do = "synchronize both with NTP: certificates and tokens are refused by clocks that are wrong"
    if apart > _CLOCK_LATE:
        return problem("clock", what, do)
    if apart > _CLOCK_OK:
        return warning("clock", what, do)
    return ok("clock", "this machine's clock and the API server's agree")


def check_access(denied: Iterable[Access]) -> Iterator[CheckFinding]:
    """What the caller may not read, and so what was not checked."""
    missing = sorted({str(each) for each in denied})
    for each in missing:
        yield problem(
            "access", f"you may not {each}: not checked", f"ask an administrator for it: kubectl auth can-i {each}"
        )
    if not missing:
        yield ok("access", "you may read everything that is checked")
