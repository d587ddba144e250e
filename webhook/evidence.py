"""What is kept of a review: what was fixed when it arrived, and its record, durable before the response leaves."""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, Protocol

from audit.record import AdmissionRecord
from serving.logs import log_fields
from webhook.decision import Decision, Defaults, Deny, Inject, Skip
from webhook.jsonpatch import Operation
from webhook.metrics import Metrics
from webhook.request import AdmissionRequest
from webhook.response import collect_warnings
from webhook.settings import InjectionSettings

_LOGGED: Final = (
    "id",
    "uid",
    "namespace",
    "name",
    "generate_name",
    "decision",
    "reason",
    "source",
    "caller",
    "dry_run",
)
_LOGGER = logging.getLogger(__name__)


class Log(Protocol):
    """What we need of audit.log.EvidenceLog."""

    def append(self, record: AdmissionRecord) -> None:
        """Makes a record durable; raises audit.errors.LogWriteError."""
        ...

    def check_writable(self) -> None:
        """Raises audit.errors.LogWriteError where `append` would."""
        ...


@dataclass(frozen=True, slots=True)
class Arrival:
    """What is fixed when a review arrives, so that the rest is pure. The edge proxy tells `source` and `caller`."""

    body: bytes
    defaults: Defaults
    settings: InjectionSettings
    record_id: str
    time: datetime
    source: str
    caller: Literal["verified", "unverified"]


@dataclass(frozen=True, slots=True)
class Journal:
    """Where decisions are written down: the evidence log (durable), the replica's own log lines, the metrics."""

    log: Log
    replica: str
    metrics: Metrics

    def append(
        self, arrival: Arrival, request: AdmissionRequest, decision: Decision, operations: Sequence[Operation]
    ) -> None:
        """Returns when the record is durable; raises audit.errors.LogWriteError, and then nothing may be answered."""
        record = _build_record(self.replica, arrival, request, decision, operations)
        self.log.append(record)
        self.metrics.decisions.labels(record.decision, record.mode).inc()
        log_fields(_LOGGER, {field: getattr(record, field) for field in _LOGGED})


def _build_record(
    replica: str, arrival: Arrival, request: AdmissionRequest, decision: Decision, operations: Sequence[Operation]
) -> AdmissionRecord:
    match decision:
        case Inject():
            mode, ports = decision.mode, decision.ports_text
        case Skip() | Deny():
            mode, ports = "", ""
    return AdmissionRecord(
        id=arrival.record_id,
        time=arrival.time,
        replica=replica,
        decision=decision.kind,
        reason=_explain(request, decision, operations),
        source=arrival.source,
        caller=arrival.caller,
        dry_run=request.dry_run,
        uid=request.uid,
        namespace=request.namespace,
        name=request.name,
        generate_name=request.pod.generate_name,
        owners=request.pod.owners,
        service_account=request.pod.service_account,
        requested_by=request.user_info,
        digest="sha256:" + hashlib.sha256(arrival.body).hexdigest(),
        path=arrival.defaults.path,
        mode=mode,
        ports=ports,
        operations=[operation.to_json() for operation in operations],
        warnings=collect_warnings(decision, operations),
    )


def _explain(request: AdmissionRequest, decision: Decision, operations: Sequence[Operation]) -> str:
    """Names the earlier record that podtls.io/status speaks of, so that an auditor finds both."""
    earlier = request.pod.earlier_record
    if not isinstance(decision, Inject) or not earlier:
        return decision.reason
    if operations:
        return f"{decision.reason}; replaces what record {earlier} injected"
    return f"{decision.reason}; equal to what record {earlier} injected, nothing to add"
