"""Kubernetes Events of refusals: `kubectl describe pod` shows a pod's owner why it got no certificate.

The evidence log is the proof (evidence.py). An Event is a courtesy: Kubernetes keeps it for an hour, and losing one
does no harm.
"""

import hashlib
import logging
from datetime import datetime
from typing import Any, Final, Protocol

from ca.errors import RefusedError, UnavailableError
from contract.names import CA_NAME
from serving.logs import log_fields

REASON: Final = "PodTLSEnrollmentRefused"
# https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/event-v1/: `note` ends there, so `message` too.
_MESSAGE_LENGTH: Final = 1024
_logger = logging.getLogger(__name__)


class EventWriter(Protocol):
    """Stores Events. Raises UnavailableError."""

    def create_event(self, namespace: str, event: dict[str, Any]) -> None:
        """Store a core/v1 Event, or nothing when one of its name is there."""
        ...


def report_refusal(writer: EventWriter, error: RefusedError, now: datetime) -> None:
    """Post the Event of a refused pod. A failure is logged and not raised."""
    if not (error.caller.pod and error.caller.pod_uid):
        return  # The token is bound to no pod: there is nothing to describe.
    event = build_refusal_event(error, now)
    try:
        writer.create_event(error.caller.namespace, event)
    except UnavailableError as failure:
        log_fields(_logger, {"event": event["metadata"]["name"], "lost": str(failure)}, level=logging.WARNING)


def build_refusal_event(error: RefusedError, now: datetime) -> dict[str, Any]:
    """The core/v1 Event of a refusal, with the very reason that the pod is told and the record holds.

    A pod retries. The Event's name says which pod and which reason, so that the API server keeps one of each.
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
        "source": {"component": CA_NAME},
        "firstTimestamp": time,
        "lastTimestamp": time,
        "count": 1,
    }
