"""What a front answers when Nginx itself must: a table. kube-apiserver shows a `metav1.Status` and drops all else."""

import json
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class FrontError:
    """One answer of Nginx's own."""

    code: int
    reason: str  # metav1.StatusReason
    message: str  # no quote, dollar or backslash: it becomes part of nginx.conf
    retry: bool = False  # kube-apiserver tries 502, 503 and 504 again only with Retry-After
    elsewhere: bool = False  # ends the connection, so that the next try is free to reach another replica
    also: tuple[int, ...] = ()  # Nginx's inner codes that end as this one

    @property
    def nginx_codes(self) -> tuple[int, ...]:
        """The codes that Nginx's error_page is told."""
        return (self.code, *self.also)


FRONT_ERRORS: Final = (
    # 494 to 497 are Nginx's own: header too large, client certificate refused or missing, HTTP on the HTTPS port.
    FrontError(
        400,
        "BadRequest",
        "podtls: not a valid HTTPS request, or a client certificate that is refused",
        also=(494, 495, 496, 497),
    ),
    FrontError(404, "NotFound", "podtls: there is nothing at this path"),
    FrontError(405, "MethodNotAllowed", "podtls: this method is not allowed"),
    FrontError(413, "RequestEntityTooLarge", "podtls: the body is larger than the {limit} bytes that are allowed"),
    FrontError(414, "BadRequest", "podtls: the request line is larger than the 8192 bytes that are allowed"),
    FrontError(429, "TooManyRequests", "podtls: too many requests from this address; ask again later", retry=True),
    FrontError(500, "InternalError", "podtls: the front could not serve this request; its log says why"),
    FrontError(501, "InternalError", "podtls: this transfer encoding is not implemented"),
    FrontError(
        502,
        "ServiceUnavailable",
        "podtls: the application behind the front does not answer; ask again",
        retry=True,
        elsewhere=True,
    ),
    FrontError(
        503, "ServiceUnavailable", "podtls: the application is not ready; ask again", retry=True, elsewhere=True
    ),
    FrontError(504, "Timeout", "podtls: the application did not answer in time; ask again", retry=True, elsewhere=True),
)


def status_body(error: FrontError, body_limit: int) -> str:
    """The `metav1.Status` (Kubernetes API reference, meta/v1) of an error, as one line of JSON."""
    return json.dumps(
        {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": error.message.format(limit=body_limit),
            "reason": error.reason,
            "code": error.code,
        }
    )
