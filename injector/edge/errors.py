"""The responses that Nginx makes itself, as a table. kube-apiserver shows the user a metav1.Status and nothing else."""

from dataclasses import dataclass
from typing import Final

from contract.api_status import encode_status


@dataclass(frozen=True, slots=True)
class EdgeError:
    """One response of Nginx's own."""

    code: int
    message: str  # no quote, dollar or backslash: it becomes part of nginx.conf
    retry: bool = False  # kube-apiserver tries 502, 503 and 504 again only with Retry-After
    elsewhere: bool = False  # ends the connection, so that the next try is free to reach another replica
    also: tuple[int, ...] = ()  # Nginx's inner codes that end as this one

    @property
    def nginx_codes(self) -> tuple[int, ...]:
        """The codes that Nginx's error_page is told."""
        return (self.code, *self.also)


EDGE_ERRORS: Final = (
    # 494 to 497 are Nginx's own: header too large, client certificate refused or missing, HTTP on the HTTPS port.
    EdgeError(
        400,
        "podtls: not a valid HTTPS request, or a client certificate that is refused",
        also=(494, 495, 496, 497),
    ),
    EdgeError(404, "podtls: there is nothing at this path"),
    EdgeError(405, "podtls: this method is not allowed"),
    EdgeError(413, "podtls: the body is larger than the {limit} bytes that are allowed"),
    EdgeError(414, "podtls: the request line is larger than the 8192 bytes that are allowed"),
    EdgeError(429, "podtls: too many requests from this address; ask again later", retry=True),
    EdgeError(500, "podtls: the edge proxy could not serve this request; its log says why"),
    EdgeError(501, "podtls: this transfer encoding is not implemented"),
    EdgeError(502, "podtls: the application does not answer; ask again", retry=True, elsewhere=True),
    EdgeError(503, "podtls: the application is not ready; ask again", retry=True, elsewhere=True),
    EdgeError(504, "podtls: the application did not answer in time; ask again", retry=True, elsewhere=True),
)


def encode_body(error: EdgeError, body_limit: int) -> str:
    """The metav1.Status of an error, as one line of JSON."""
    return encode_status(error.code, error.message.format(limit=body_limit)).decode()
