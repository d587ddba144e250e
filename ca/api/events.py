"""Tells a pod's owner in `kubectl describe pod` why it got no certificate: a Kubernetes Event. Best effort, always.

Evidence is the log's (evidence.py); an Event is a courtesy, kept for an hour and lost without harm.
"""

import hashlib
import logging
from datetime import datetime
from typing import Any, Final, Protocol

from ca.errors import RefusedError, UnavailableError
from serving.logs import log_fields

REASON: Final = "PodTLSEnrollmentRefused"
_COMPONENT: Final = "podtls-ca"
# https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/event-v1/: `note` ends there, so `message` too.
_MESSAGE_LENGTH: Final = 1024
_logger = logging.getLogger(__name__)


class EventWriter(Protocol):
    """Stores Events. Raises UnavailableError."""

    def create_event(self, namespace: str, event: dict[str, Any]) -> None:
        """Store a core/v1 Event, or nothing when one of its name is there."""
        ...


def report(writer: EventWriter, error: RefusedError, now: datetime) -> None:
    """Post the Event of a refusal, where a pod was refused; says in the log, and nowhere else, that it could not."""
    if not (error.caller.pod and error.caller.pod_uid):
        return  # The token is bound to no pod: there is nothing to describe.
    event = refused(error, now)
    try:
        writer.create_event(error.caller.namespace, event)
    except UnavailableError as unsaid:
        log_fields(_logger, {"event": event["metadata"]["name"], "lost": str(unsaid)}, level=logging.WARNING)


def refused(error: RefusedError, now: datetime) -> dict[str, Any]:
    """The core/v1 Event of a refusal, with the very reason that the pod is told and the record holds.

    A pod asks again and again. Its name says which pod and which reason, so that the API server keeps one of each.
    """
    caller, message = error.caller, str(error)
    time = f"{now:%Y-%m-%dT%H:%M:%SZ}"
    digest = hashlib.sha256(message.encode()).hexdigest()[:16]
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"podtls-{caller.pod_uid}-{digest}", "namespace": caller.namespace},
        # `kubectl describe` looks for the uid: a pod of the same name that came later is another one.
        "involvedObject": {
            "apiVersion": "v1",
            "kind": "Pod",
            "namespace": caller.namespace,
            "name": caller.pod,
            "uid": caller.pod_uid,
        },
        "type": "Warning",
        "reason": REASON,
        "message": message[:_MESSAGE_LENGTH],
        "source": {"component": _COMPONENT},
        "firstTimestamp": time,
        "lastTimestamp": time,
        "count": 1,
    }
