"""What can go wrong in the webhook: one small hierarchy, and how a message quotes a value. Nothing else.

`http_status` is the hint that the edge (app.py) turns into a metav1.Status.
"""

from contract import errors as contract


def quote(value: object) -> str:
    """Returns any value of raw JSON for a message of one line: quoted, escaped to printable ASCII, shortened."""
    return contract.quote(value if isinstance(value, str) else repr(value))


class WebhookError(Exception):
    """Base of what this package raises on purpose."""

    http_status = 500


class ReviewError(WebhookError):
    """The body is not a review of a Pod CREATE that we can read: the sender's fault, not the Pod's."""

    http_status = 400


class ReviewTooLargeError(ReviewError):
    """The review asks us to write more into the evidence log than any real one does."""

    http_status = 413


class RefusedError(WebhookError):
    """The Pod asks for something that it cannot have. `decide` turns it into a Deny with the same message."""

    http_status = 403


class SettingsError(WebhookError):
    """An environment variable is missing or wrong; the message names it."""


class TrustBundleError(WebhookError):
    """The trust bundle cannot be read now, so no Pod can be injected; the API server may try again."""

    http_status = 503
