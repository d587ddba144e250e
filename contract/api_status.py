"""metav1.Status: the body of every HTTP error that the API server passes on to the person who sent the request."""

import json
from typing import Any, Final

# https://github.com/kubernetes/apimachinery/blob/master/pkg/apis/meta/v1/types.go, StatusReason
_REASONS: Final = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    409: "AlreadyExists",
    413: "RequestEntityTooLarge",
    414: "BadRequest",
    415: "UnsupportedMediaType",
    422: "Invalid",
    429: "TooManyRequests",
    500: "InternalError",
    501: "InternalError",
    502: "ServiceUnavailable",
    503: "ServiceUnavailable",
    504: "Timeout",
}


def encode_status(code: int, message: str) -> bytes:
    """Returns a Status of failure as JSON. kube-apiserver drops a body that is anything else."""
    return json.dumps(make_status(code, message)).encode()


def make_status(code: int, message: str) -> dict[str, Any]:
    """Returns a Status of failure."""
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": _REASONS.get(code, "Unknown"),
        "code": code,
    }
