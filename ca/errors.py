"""What the CA raises, each with the HTTP status of its response. Nothing else lives here."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Final

# RFC 7030 section 4.2.3: a 202 must, and a 503 may, say when to come back. In seconds.
RETRY_PENDING: Final = 1
RETRY_UNAVAILABLE: Final = 2


class CAError(Exception):
    """Base of all errors of this package; `http_status` and `headers` are for the edge, which responds."""

    http_status: ClassVar[int] = 500
    headers: ClassVar[Mapping[str, str]] = {}


class ConfigurationError(CAError):
    """A setting or a file that the program needs is missing or wrong; the message names it."""


class ProfileError(CAError):
    """A certificate that we made is not what the design says. It never leaves; this is our own bug."""


class CSRError(CAError):
    """A request that is malformed, carries a key that we do not certify, or does not prove its possession."""

    http_status = 400


class UnauthenticatedError(CAError):
    """No bearer token, or none that the API server vouches for with our audience. Nothing of the caller is known."""

    http_status = 401
    headers: ClassVar[Mapping[str, str]] = {"WWW-Authenticate": "Bearer"}


@dataclass(frozen=True, slots=True)
class Caller:
    """What an authenticated token says about its bearer, before anything of it was compared with the pod."""

    namespace: str = ""
    service_account: str = ""
    pod: str = ""
    pod_uid: str = ""
    node: str = ""
    token_id: str = ""


class RefusedError(CAError):
    """An authenticated caller that gets no certificate. The one error that is recorded, so it says who."""

    http_status = 403

    def __init__(self, reason: str, caller: Caller) -> None:
        super().__init__(reason)
        self.caller = caller


class PendingError(CAError):
    """The API server does not show the pod's address yet: come back in a moment (RFC 7030 section 4.2.3)."""

    http_status = 202
    headers: ClassVar[Mapping[str, str]] = {"Retry-After": str(RETRY_PENDING)}


class NotAcceptableError(CAError):
    """The client accepts no response type that we have."""

    http_status = 406


class TooLargeError(CAError):
    """The request is larger than any honest one."""

    http_status = 413


class UnsupportedTypeError(CAError):
    """The request's content type is not EST's."""

    http_status = 415


class UnavailableError(CAError):
    """The API server or our own authority cannot vouch for anything now; nothing was signed."""

    http_status = 503
    headers: ClassVar[Mapping[str, str]] = {"Retry-After": str(RETRY_UNAVAILABLE)}
