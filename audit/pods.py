"""Which pod a record is about, and pods as others know them: the API server's list, its audit log. Reads nothing."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from audit.record import CertificateRecord, Record

# The API server cuts a longer generateName, so that five letters of its own fit into a label (RFC 1123).
_GENERATED_FROM: Final = 58


@dataclass(frozen=True, slots=True)
class ListedPod:
    """An injected pod, as the API server has it; `record` is the id that it names, empty where it names none.

    `own`: a pod of podtls itself, enrolled by its manifest and not by the webhook.
    """

    namespace: str
    name: str
    uid: str
    created: datetime
    record: str
    own: bool = False


@dataclass(frozen=True, slots=True)
class PodCreation:
    """How one creation of a pod ended, by the API server's audit log. `records` are the ids that it names.

    `name` is empty where the API server was to generate it.
    """

    records: tuple[str, ...]
    namespace: str
    name: str
    time: datetime
    code: int
    message: str

    def __str__(self) -> str:
        said = f": {self.message}" if self.message else ""
        return f"the API server answered {self.code}{said}"


def is_about(record: Record, pod: str) -> bool:
    """Whether a record may be about a pod of this name.

    At admission most pods have a generateName only, so each that may have got this name from it matches.
    """
    if isinstance(record, CertificateRecord):
        return record.pod == pod
    return may_be_named(record.name, record.generate_name, pod)


def may_be_named(name: str, generate_name: str, pod: str) -> bool:
    """Whether a pod that was admitted with these two may have got this name."""
    if name or not generate_name:
        return name == pod
    return pod.startswith(generate_name[:_GENERATED_FROM])


def pod_of(record: Record) -> str:
    """The pod's name, or `generateName*` of one that had none yet."""
    if isinstance(record, CertificateRecord):
        return record.pod
    return record.name or f"{record.generate_name}*"
