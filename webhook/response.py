"""The AdmissionReview that goes out: a decision and its operations, as JSON. No policy, no HTTP."""

import base64
from collections.abc import Sequence
from typing import Any, Final

import orjson

from contract.names import AUDIT_LATER_RECORD, AUDIT_RECORD
from webhook.decision import Decision
from webhook.jsonpatch import Operation
from webhook.request import API_VERSION, AdmissionRequest

# The API server shortens warnings above 256 characters, and drops all of them when they are more than 4 KiB.
_MAX_WARNING: Final = 256
_MAX_WARNINGS: Final = 12


def respond(request: AdmissionRequest, decision: Decision, operations: Sequence[Operation], record_id: str) -> bytes:
    """Returns the AdmissionReview that answers: allowed or not and why, the patch, warnings, audit annotations."""
    response: dict[str, Any] = {
        "uid": request.uid,
        "allowed": decision.allowed,
        "auditAnnotations": {
            "decision": decision.kind,
            "reason": decision.reason,
            # The API server keeps the first value of a key: a reinvocation's id under the same key would be lost.
            (AUDIT_LATER_RECORD if request.pod.earlier_record else AUDIT_RECORD): record_id,
        },
    }
    if not decision.allowed:
        message = f"podtls: {decision.reason}"
        response["status"] = {"status": "Failure", "message": message, "reason": "Forbidden", "code": 403}
    if warnings := collect_warnings(decision, operations):
        response["warnings"] = _shorten(warnings)
    if operations:
        patch = orjson.dumps([operation.to_json() for operation in operations])
        response |= {"patchType": "JSONPatch", "patch": base64.b64encode(patch).decode("ascii")}
    return _encode(response)


def allow_with_warnings(uid: str, warnings: Sequence[str]) -> bytes:
    """Returns the AdmissionReview that lets an object pass as it is, with warnings for its sender."""
    response: dict[str, Any] = {"uid": uid, "allowed": True}
    if warnings:
        response["warnings"] = _shorten(warnings)
    return _encode(response)


def collect_warnings(decision: Decision, operations: Sequence[Operation]) -> list[str]:
    """Returns what the user is warned of: by the decision, and for each entry that was replaced or removed.

    As many as the API server shows, and how many more there are: the log holds no more than that either.
    """
    found = [*decision.warnings, *(operation.note for operation in operations if operation.note)]
    if len(found) <= _MAX_WARNINGS:
        return found
    return [*found[: _MAX_WARNINGS - 1], f"podtls: and {len(found) - _MAX_WARNINGS + 1} more warnings"]


def _shorten(warnings: Sequence[str]) -> list[str]:
    return [warning[:_MAX_WARNING] for warning in warnings[:_MAX_WARNINGS]]


def _encode(response: dict[str, Any]) -> bytes:
    return orjson.dumps({"apiVersion": API_VERSION, "kind": "AdmissionReview", "response": response})
