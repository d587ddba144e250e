"""Compares evidence records with pods: which became pods, and which pods have no record. Reads no file, prints nothing.

A record without a pod is possible: the API server refused the pod later, or asked again. A stored pod that does not
name exactly one record of its own is not possible (docs/evidence-format.md), and so it is a finding.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal

from audit.pods import ListedPod, PodCreation, may_be_named, pod_of
from audit.record import AdmissionRecord, Record, encode
from contract.names import STATUS

Outcome = Literal["stored", "refused later", "not seen"]
Fault = Literal[
    "no record", "two pods name one record", "record of another pod", "record of no stored pod", "two records of one id"
]

_CREATED: Final = 201
# If many pods name one record, each finding lists so many of the others.
_OTHERS: Final = 3


@dataclass(frozen=True, slots=True)
class PodFinding:
    """A stored pod that does not name exactly one record of its own."""

    finding: Fault
    time: datetime
    namespace: str
    pod: str
    record: str
    why: str


@dataclass(frozen=True, slots=True)
class RecordFate:
    """What became of the pod of one record that says `inject`, and how that is known."""

    id: str
    time: datetime
    namespace: str
    pod: str
    outcome: Outcome
    why: str


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """What a comparison has found; records are in the order they came in."""

    findings: tuple[PodFinding, ...]
    records: tuple[RecordFate, ...]
    pods: tuple[ListedPod, ...]

    def within(self, namespace: str | None, since: datetime | None, until: datetime | None) -> "Reconciliation":
        """What concerns one namespace and one span of time (`since` is included, `until` is not)."""

        def is_within(there: str, time: datetime) -> bool:
            return namespace in {None, there} and (since is None or since <= time) and (until is None or time < until)

        return Reconciliation(
            tuple(each for each in self.findings if is_within(each.namespace, each.time)),
            tuple(each for each in self.records if is_within(each.namespace, each.time)),
            tuple(each for each in self.pods if is_within(each.namespace, each.created)),
        )


@dataclass(frozen=True, slots=True)
class _Admission:
    """What the pairing needs of an admission record, and a digest of the rest: there may be millions of them."""

    id: str
    time: datetime
    namespace: str
    name: str
    generate_name: str
    pod: str
    decision: str
    dry_run: bool
    is_empty: bool
    review: tuple[str, str]
    digest: bytes

    def is_of(self, namespace: str, pod: str) -> bool:
        """Whether a pod of this name may be the one that was admitted."""
        return namespace == self.namespace and may_be_named(self.name, self.generate_name, pod)


@dataclass(slots=True)
class _Known:
    """All that is known, by record id; `asked` has the ids of each review.

    `certificates`: the serial number of the first one of each pod (namespace, name) that names the record.
    """

    admissions: dict[str, list[_Admission]] = field(default_factory=dict)
    asked: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    certificates: dict[str, dict[tuple[str, str], str]] = field(default_factory=dict)
    creations: dict[str, PodCreation] = field(default_factory=dict)
    pods: dict[str, list[ListedPod]] = field(default_factory=dict)
    latest: datetime | None = None


def reconcile_records(
    records: Iterable[Record], pods: Iterable[ListedPod], creations: Sequence[PodCreation]
) -> Reconciliation:
    """Compare all records, in order of time, with pods as listed and with what the API server's audit log says.

    Pairing needs everything: choose what to show afterwards, by `within`.
    """
    listed = list({(pod.namespace, pod.name, pod.uid): pod for pod in pods}.values())
    known = _collect(records, [pod for pod in listed if not pod.own], creations)
    findings = [finding for pods in known.pods.values() for pod in pods for finding in _check_pod(pod, known)]
    admitted = (each for same in known.admissions.values() for each in same)
    return Reconciliation(
        (*findings, *_check_creations(creations, known)),
        tuple(
            RecordFate(each.id, each.time, each.namespace, each.pod, *_decide_outcome(each, known))
            for each in admitted
            if each.decision == "inject" and not each.dry_run
        ),
        tuple(listed),
    )


def _collect(records: Iterable[Record], pods: Iterable[ListedPod], creations: Iterable[PodCreation]) -> _Known:
    known = _Known(creations={record: each for each in creations for record in each.records})
    for pod in pods:
        known.pods.setdefault(pod.record, []).append(pod)
    for record in records:
        known.latest = max(known.latest or record.time, record.time)
        if isinstance(record, AdmissionRecord):
            _add(_keep_needed(record), known)
        elif record.decision == "issue":
            serials = known.certificates.setdefault(record.patch_record, {})
            serials.setdefault((record.namespace, record.pod), record.serial)
    return known


def _add(admission: _Admission, known: _Known) -> None:
    same = known.admissions.setdefault(admission.id, [])
    # Copies of one log hold the same record more than once.
    if admission not in same:
        same.append(admission)
        known.asked.setdefault(admission.review, []).append(admission.id)


def _keep_needed(record: AdmissionRecord) -> _Admission:
    return _Admission(
        id=record.id,
        time=record.time,
        namespace=record.namespace,
        name=record.name,
        generate_name=record.generate_name,
        pod=pod_of(record),
        decision=record.decision,
        dry_run=record.dry_run,
        is_empty=not record.operations,
        review=(record.uid, record.digest),
        digest=hashlib.sha256(encode(record)).digest(),
    )


def _check_pod(pod: ListedPod, known: _Known) -> Iterator[PodFinding]:
    if fault := _find_fault(pod, known):
        yield PodFinding(fault[0], pod.created, pod.namespace, pod.name, pod.record, fault[1])
    same = known.pods[pod.record] if pod.record else []
    if len(same) > 1:
        others = ", ".join(f"{other.namespace}/{other.name}" for other in same[: _OTHERS + 1] if other != pod)
        why = f"{len(same)} pods do, also {others}: {STATUS} was copied"
        yield PodFinding("two pods name one record", pod.created, pod.namespace, pod.name, pod.record, why)


def _find_fault(pod: ListedPod, known: _Known) -> tuple[Fault, str] | None:
    """Why this pod does not have exactly one record of its own."""
    found = known.admissions.get(pod.record, [])
    if not found:
        return "no record", _explain_missing(pod, known)
    if len(found) > 1:
        return "two records of one id", f"{len(found)} different records have this id: at most one is the webhook's"
    (record,) = found
    if not record.is_of(pod.namespace, pod.name):
        return "record of another pod", f"the record is of {record.namespace}/{record.pod}"
    if why := _explain_nothing_stored(record, known):
        return "record of no stored pod", why
    return None


def _explain_nothing_stored(record: _Admission, known: _Known) -> str:
    """Why no pod can have come of this record; empty where one can."""
    if record.decision != "inject":
        return f"the record says {record.decision}: nothing was injected"
    if record.dry_run:
        return "the record is of a dry run, which stores nothing"
    creation = known.creations.get(record.id)
    return str(creation) if creation and _is_refusal(creation) else ""


def _explain_missing(pod: ListedPod, known: _Known) -> str:
    if not pod.record:
        return f"{STATUS} names none: the webhook did not inject it"
    if known.latest and pod.created > known.latest:
        return f"in none of these files; the last record in them ({known.latest:%Y-%m-%dT%H:%M:%SZ}) is older than it"
    return "in none of these files"


def _check_creations(creations: Iterable[PodCreation], known: _Known) -> Iterator[PodFinding]:
    """Records that the API server's audit log names and these files do not have."""
    for creation in creations:
        for record in creation.records:
            if record not in known.admissions and record not in known.pods:
                why = f"in none of these files, and the API server's audit log names it: {creation}"
                yield PodFinding("no record", creation.time, creation.namespace, creation.name, record, why)


def _decide_outcome(record: _Admission, known: _Known) -> tuple[Outcome, str]:
    creation = known.creations.get(record.id)
    # First of all: a copy of a refused pod's id does not make the pod a stored one.
    if creation and _is_refusal(creation):
        return "refused later", str(creation)
    for pod in known.pods.get(record.id, ()):
        if record.is_of(pod.namespace, pod.name):
            return "stored", f"pod {pod.name} names it"
    for (namespace, name), serial in known.certificates.get(record.id, {}).items():
        if record.is_of(namespace, name):
            return "stored", f"pod {name} got certificate {serial}"
    if creation and creation.code == _CREATED:
        return "stored", str(creation)
    if creation and creation.code >= 500:
        return "refused later", f"{creation} (after an error of its own it may have stored the pod)"
    return "not seen", _explain_unseen(record, creation, known)


def _explain_unseen(record: _Admission, creation: PodCreation | None, known: _Known) -> str:
    if creation:
        return str(creation)
    if again := [other for other in known.asked[record.review] if other != record.id]:
        return f"the same review was asked again: record {again[-1]}"
    if record.is_empty:
        return "it added nothing: the pod carried an injection already, and names the record of that"
    return "refused later, replaced in a later round, asked again, or deleted since"


def _is_refusal(creation: PodCreation) -> bool:
    """Whether it is certain that nothing was stored; after 5xx it is not."""
    return 400 <= creation.code < 500
