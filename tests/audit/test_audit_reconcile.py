"""Pairing records with pods: what becomes of each record, which pods have none of their own, and nothing else."""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.pods import ListedPod, PodCreation
from audit.reconcile import Reconciliation, reconcile_records
from audit.record import Record
from tests.audit.records import TIME, admission, certificate

ID = "a" * 32
OTHER = "b" * 32
NAME = "checkout-5d8f-x7k2p"
DENIED = 'pods "x" is forbidden: exceeded quota'


def listed(name: str = NAME, record: str = ID, **changes: Any) -> ListedPod:
    values: dict[str, Any] = {"namespace": "shop", "uid": f"uid-{name}", "created": TIME, **changes}
    return ListedPod(name=name, record=record, **values)


def answered(*records: str, code: int = 201, message: str = "") -> PodCreation:
    return PodCreation(records or (ID,), "shop", "", TIME, code, message)


def outcomes(found: Reconciliation) -> dict[str, str]:
    return {each.id: each.outcome for each in found.records}


@pytest.mark.parametrize(
    ("pods", "others", "creations", "outcome", "why"),
    [
        pytest.param([listed()], [], [], "stored", f"pod {NAME} names it", id="pod"),
        pytest.param([], [certificate()], [], "stored", f"pod {NAME} got certificate 1f2e", id="certificate"),
        pytest.param([], [], [answered()], "stored", "the API server answered 201", id="201"),
        pytest.param([], [], [answered(OTHER, ID)], "stored", "the API server answered 201", id="201 to a later round"),
        pytest.param(
            [],
            [],
            [answered(code=403, message=DENIED)],
            "refused later",
            f"the API server answered 403: {DENIED}",
            id="403",
        ),
        pytest.param([], [], [answered(code=409)], "refused later", "the API server answered 409", id="no message"),
        pytest.param(
            [],
            [],
            [answered(code=500, message="etcd")],
            "refused later",
            "the API server answered 500: etcd (after an error of its own it may have stored the pod)",
            id="500",
        ),
        pytest.param([listed()], [], [answered(code=504)], "stored", f"pod {NAME} names it", id="504, and stored"),
        pytest.param(
            [],
            [],
            [answered(code=200, message="Connection closed early")],
            "not seen",
            "the API server answered 200: Connection closed early",
            id="client gone",
        ),
        pytest.param([], [], [], "not seen", "refused later, replaced in a later round, asked again, or", id="nothing"),
        pytest.param(
            [], [certificate(decision="refuse")], [], "not seen", "refused later, replaced", id="certificate refused"
        ),
        pytest.param(
            [], [certificate(namespace="ops")], [], "not seen", "refused later, replaced", id="certificate of another"
        ),
        pytest.param(
            [], [certificate(pod="cart-1")], [], "not seen", "refused later, replaced", id="certificate, another name"
        ),
    ],
)
def test_what_became_of_a_record(
    pods: list[ListedPod], others: list[Record], creations: list[PodCreation], outcome: str, why: str
) -> None:
    found = reconcile_records([admission(), *others], pods, creations)

    (fate,) = found.records
    assert (fate.id, fate.namespace, fate.pod, fate.outcome) == (ID, "shop", "checkout-5d8f-*", outcome)
    assert fate.why.startswith(why)


def test_review_that_was_asked_twice_has_a_surplus_record_that_says_so() -> None:
    """The edge proxy's Retry-After, or a cut connection: the same body comes again, and has a record of its own."""
    found = reconcile_records([admission(), admission(id=OTHER)], [listed(record=OTHER)], [])

    assert found.findings == ()
    assert [(each.id, each.outcome, each.why) for each in found.records] == [
        (ID, "not seen", f"the same review was asked again: record {OTHER}"),
        (OTHER, "stored", f"pod {NAME} names it"),
    ]


def test_round_that_found_nothing_to_add_says_that_the_pod_names_the_earlier_one() -> None:
    records = [admission(), admission(id=OTHER, uid="second call", operations=[])]

    found = reconcile_records(records, [listed()], [])

    assert found.findings == ()
    assert outcomes(found) == {ID: "stored", OTHER: "not seen"}
    assert (
        found.records[1].why == "it added nothing: the pod carried an injection already, and names the record of that"
    )


@pytest.mark.parametrize("named", [pytest.param(ID, id="equal"), pytest.param(OTHER, id="replaced")])
def test_both_rounds_of_a_reinvocation_are_stored_where_the_audit_log_names_both(named: str) -> None:
    records = [admission(), admission(id=OTHER, uid="second call")]

    found = reconcile_records(records, [listed(record=named)], [answered(ID, OTHER)])

    assert found.findings == ()
    assert set(outcomes(found).values()) == {"stored"}


def test_dry_runs_and_pods_that_were_not_injected_are_no_records_of_pods() -> None:
    records = [admission(dry_run=True), admission(id=OTHER, decision="skip"), admission(id="e" * 32, decision="deny")]

    found = reconcile_records(records, [], [answered(ID, OTHER)])

    assert (found.records, found.findings) == ((), ())


@pytest.mark.parametrize(
    ("records", "pod", "creations", "finding", "why"),
    [
        pytest.param([], listed(), [], "no record", "in none of these files", id="record not there"),
        pytest.param(
            [admission()],
            listed(record=OTHER, created=TIME + timedelta(seconds=1)),
            [],
            "no record",
            "in none of these files; the last record in them (2026-11-22T10:30:00Z) is older than it",
            id="record not copied yet",
        ),
        pytest.param(
            [admission()],
            listed(record=""),
            [],
            "no record",
            "podtls.io/status names none: the webhook did not inject it",
            id="names none",
        ),
        pytest.param([certificate(id=ID)], listed(), [], "no record", "in none of these files", id="a certificate's"),
        pytest.param(
            [admission()],
            listed(namespace="ops"),
            [],
            "record of another pod",
            "the record is of shop/checkout-5d8f-*",
            id="another namespace",
        ),
        pytest.param(
            [admission()],
            listed("cart-7c6d-b2zq9"),
            [],
            "record of another pod",
            "the record is of shop/checkout-5d8f-*",
            id="another generateName",
        ),
        pytest.param(
            [admission(name="web")],
            listed("web-2"),
            [],
            "record of another pod",
            "the record is of shop/web",
            id="another name",
        ),
        pytest.param(
            [admission(generate_name="")],
            listed(),
            [],
            "record of another pod",
            "the record is of shop/*",
            id="a record without any name",
        ),
        pytest.param(
            [admission(decision="deny")],
            listed(),
            [],
            "record of no stored pod",
            "the record says deny: nothing was injected",
            id="denied",
        ),
        pytest.param(
            [admission(dry_run=True)],
            listed(),
            [],
            "record of no stored pod",
            "the record is of a dry run, which stores nothing",
            id="dry run",
        ),
        pytest.param(
            [admission()],
            listed(),
            [answered(code=403, message=DENIED)],
            "record of no stored pod",
            f"the API server answered 403: {DENIED}",
            id="refused by the API server",
        ),
        pytest.param(
            [admission(), admission(reason="forged")],
            listed(),
            [],
            "two records of one id",
            "2 different records have this id: at most one is the webhook's",
            id="two records",
        ),
    ],
)
def test_pod_without_one_record_of_its_own_is_a_finding(
    records: list[Record], pod: ListedPod, creations: list[PodCreation], finding: str, why: str
) -> None:
    found = reconcile_records(records, [pod], creations)

    (told,) = found.findings
    assert (told.finding, told.why) == (finding, why)
    assert (told.namespace, told.pod, told.record, told.time) == (pod.namespace, pod.name, pod.record, pod.created)


def test_record_whose_pod_was_refused_is_not_stored_because_somebody_copied_its_id() -> None:
    found = reconcile_records([admission()], [listed()], [answered(code=403)])

    assert outcomes(found) == {ID: "refused later"}


def test_two_pods_that_name_one_record_are_both_found() -> None:
    copy = listed("checkout-5d8f-copy")

    found = reconcile_records([admission()], [listed(), copy], [])

    assert [(each.finding, each.pod, each.why) for each in found.findings] == [
        ("two pods name one record", NAME, "2 pods do, also shop/checkout-5d8f-copy: podtls.io/status was copied"),
        ("two pods name one record", copy.name, f"2 pods do, also shop/{NAME}: podtls.io/status was copied"),
    ]


def test_copy_in_another_namespace_is_found_for_both_reasons() -> None:
    found = reconcile_records([admission()], [listed(), listed(namespace="ops")], [])

    assert [(each.namespace, each.finding) for each in found.findings] == [
        ("shop", "two pods name one record"),
        ("ops", "record of another pod"),
        ("ops", "two pods name one record"),
    ]


def test_many_copies_are_counted_and_some_are_named() -> None:
    copies = [listed(f"checkout-5d8f-{number}") for number in range(50)]

    found = reconcile_records([admission()], copies, [])

    assert len(found.findings) == 50
    assert found.findings[9].why == (
        "50 pods do, also shop/checkout-5d8f-0, shop/checkout-5d8f-1, shop/checkout-5d8f-2, shop/checkout-5d8f-3:"
        " podtls.io/status was copied"
    )


def test_pods_without_an_id_are_no_copies_of_each_other() -> None:
    found = reconcile_records([], [listed("a", ""), listed("b", "")], [])

    assert {each.finding for each in found.findings} == {"no record"}


def test_pod_that_is_listed_twice_is_one_pod() -> None:
    assert reconcile_records([admission()], [listed(), listed()], []).findings == ()


def test_copies_of_a_log_hold_one_record() -> None:
    found = reconcile_records([admission(), admission()], [listed()], [])

    assert found.findings == ()
    assert len(found.records) == 1


def test_name_that_the_api_server_cut_is_the_pods_own() -> None:
    long = "a" * 70 + "-"

    found = reconcile_records([admission(generate_name=long)], [listed(long[:58] + "x7k2p")], [])

    assert (found.findings, outcomes(found)) == ((), {ID: "stored"})


def test_own_pods_of_podtls_need_no_record() -> None:
    own = listed("podtls-webhook-0", "", namespace="podtls-system", own=True)

    found = reconcile_records([admission()], [own], [])

    assert found.findings == ()
    assert found.pods == (own,)


def test_record_that_only_the_api_server_has_met_is_a_finding() -> None:
    found = reconcile_records([], [], [answered(ID, code=403, message=DENIED)])

    (told,) = found.findings
    assert (told.finding, told.namespace, told.record) == ("no record", "shop", ID)
    assert told.why == (
        f"in none of these files, and the API server's audit log names it: the API server answered 403: {DENIED}"
    )


def test_missing_record_of_a_listed_pod_is_told_once() -> None:
    assert len(reconcile_records([], [listed()], [answered()]).findings) == 1


@pytest.mark.parametrize(
    ("chosen", "findings", "records", "pods"),
    [
        pytest.param((None, None, None), 2, 2, 2, id="all"),
        pytest.param(("shop", None, None), 1, 1, 1, id="namespace"),
        pytest.param((None, TIME, None), 2, 2, 2, id="since is included"),
        pytest.param((None, TIME + timedelta(hours=1), None), 1, 1, 1, id="since"),
        pytest.param((None, None, TIME + timedelta(hours=1)), 1, 1, 1, id="until is not"),
    ],
)
def test_what_is_shown_is_chosen_after_everything_was_paired(
    chosen: tuple[Any, Any, Any], findings: int, records: int, pods: int
) -> None:
    later = TIME + timedelta(hours=1)
    told = [admission(), admission(id=OTHER, time=later, namespace="ops")]
    there = [listed(record="c" * 32), listed(record="d" * 32, namespace="ops", created=later)]

    found = reconcile_records(told, there, []).within(*chosen)

    assert (len(found.findings), len(found.records), len(found.pods)) == (findings, records, pods)


@dataclass
class History:
    """What happened, in full, and what of it each witness has seen."""

    records: list[Record] = field(default_factory=list)
    pods: list[ListedPod] = field(default_factory=list)
    creations: list[PodCreation] = field(default_factory=list)
    expected: dict[str, str] = field(default_factory=dict)

    def admit(self, number: int, outcome: str, *, dry_run: bool = False, **changes: Any) -> str:
        record = f"{len(self.records):032x}"
        named = {"uid": str(len(self.records)), "digest": str(number), "generate_name": f"app-{number}-", **changes}
        self.records.append(admission(id=record, dry_run=dry_run, **named))
        if not dry_run:
            self.expected[record] = outcome
        return record

    def list_pod(self, number: int, record: str) -> None:
        self.pods.append(listed(f"app-{number}-{len(self.pods)}", record))


def happen(history: History, number: int, fate: str) -> None:
    match fate:
        case "stored":
            record = history.admit(number, "stored")
            history.list_pod(number, record)
            history.creations.append(answered(record))
        case "deleted since":
            history.creations.append(answered(history.admit(number, "stored")))
        case "refused":
            history.creations.append(answered(history.admit(number, "refused later"), code=403))
        case "asked again":
            history.admit(number, "not seen", uid=f"review {number}")
            record = history.admit(number, "stored", uid=f"review {number}")
            history.list_pod(number, record)
            history.creations.append(answered(record))
        case "equal round" | "replaced in a round":
            first, second = history.admit(number, "stored"), history.admit(number, "stored")
            history.list_pod(number, first if fate == "equal round" else second)
            history.creations.append(answered(first, second))
        case "dry run":
            history.creations.append(answered(history.admit(number, "stored", dry_run=True)))


FATES = ["stored", "deleted since", "refused", "asked again", "equal round", "replaced in a round", "dry run"]
UNTIMED = settings(deadline=None)
HISTORIES = st.lists(st.sampled_from(FATES), max_size=12)


def history_of(fates: list[str]) -> History:
    history = History()
    for number, fate in enumerate(fates):
        happen(history, number, fate)
    return history


@UNTIMED
@given(fates=HISTORIES)
def test_whatever_happened_there_is_no_false_finding_and_every_outcome_is_right(fates: list[str]) -> None:
    history = history_of(fates)

    found = reconcile_records(history.records, history.pods, history.creations)

    assert found.findings == ()
    assert outcomes(found) == history.expected


@UNTIMED
@given(fates=HISTORIES, pods=st.booleans(), creations=st.booleans())
def test_a_witness_less_makes_records_unseen_and_nothing_wrong(
    fates: list[str], *, pods: bool, creations: bool
) -> None:
    history = history_of(fates)

    found = reconcile_records(history.records, history.pods if pods else [], history.creations if creations else [])

    assert found.findings == ()
    assert all(outcome in {"not seen", history.expected[record]} for record, outcome in outcomes(found).items())


@UNTIMED
@given(fates=HISTORIES, data=st.data())
def test_a_pod_whose_record_is_gone_is_found_and_no_other(fates: list[str], data: st.DataObject) -> None:
    history = history_of([*fates, "stored"])
    victim = data.draw(st.sampled_from(history.pods))

    found = reconcile_records([each for each in history.records if each.id != victim.record], history.pods, [])

    assert [(each.finding, each.pod) for each in found.findings] == [("no record", victim.name)]


@UNTIMED
@given(fates=HISTORIES, data=st.data())
def test_a_copied_id_is_found_at_the_copy_and_at_the_pod_that_it_was_copied_from(
    fates: list[str], data: st.DataObject
) -> None:
    history = history_of([*fates, "stored"])
    victim = data.draw(st.sampled_from(history.pods))
    copy = listed(f"{victim.name}-copy", victim.record)

    found = reconcile_records(history.records, [*history.pods, copy], history.creations)

    assert {(each.finding, each.pod) for each in found.findings} == {
        ("two pods name one record", victim.name),
        ("two pods name one record", copy.name),
    }
