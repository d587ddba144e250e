"""What is compared by `podtls audit reconcile`, and what comes of it. Values only; the pairing is reconcile.py's."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

Outcome = Literal["stored", "refused later", "not seen"]
Fault = Literal[
    "no record", "two pods name one record", "record of another pod", "record of no stored pod", "two records of one id"
]


@dataclass(frozen=True, slots=True)
class ListedPod:
    """A pod with our injection, as the API server has it; `record` is the id that it names, "" where there is none.

    `own`: a pod of podtls itself, enrolled by its manifest and not by the webhook.
    """

    namespace: str
    name: str
    uid: str
    created: datetime
    record: str
    own: bool = False


@dataclass(frozen=True, slots=True)
class Creation:
    """How the API server answered one creation of a pod, by its audit log. `records` are those that it names.

    `name` is "" where the API server was to make one up.
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


@dataclass(frozen=True, slots=True)
class Finding:
    """A stored pod that does not name exactly one record of its own."""

    finding: Fault
    time: datetime
    namespace: str
    pod: str
    record: str
    why: str


@dataclass(frozen=True, slots=True)
class Fate:
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

    findings: tuple[Finding, ...]
    records: tuple[Fate, ...]
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
