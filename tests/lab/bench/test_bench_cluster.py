"""`python -m lab.bench cluster` where no cluster is needed: batches, quantiles, the pod, the proof, the rows."""

from typing import Any

import pytest

from contract.names import STATUS
from contract.status_annotation import InjectionStatus
from lab.bench import cluster
from lab.bench.cluster import WITH, WITHOUT, Memory, Side
from lab.bench.errors import BenchError


def pod(record: str = "") -> dict[str, Any]:
    """A stored pod; with `record`, one hexadecimal digit, an injected one that names it."""
    status = InjectionStatus("0.1.0", "mtls", "", record * 32)
    return {"metadata": {"annotations": {STATUS: str(status)} if record else {}}}


def record(name: str, decision: str = "inject") -> dict[str, Any]:
    return {"id": name * 32, "decision": decision}


@pytest.mark.parametrize(
    ("pods", "rounds", "sizes"),
    [
        pytest.param(500, 10, [50] * 10, id="even"),
        pytest.param(10, 3, [3, 3, 4], id="with a rest"),
        pytest.param(2, 1, [2], id="one batch"),
    ],
)
def test_batches_are_as_even_as_they_can_be_and_lose_none(pods: int, rounds: int, sizes: list[int]) -> None:
    assert cluster.batches(pods, rounds) == sizes


@pytest.mark.parametrize(
    ("count", "percent", "value"),
    [
        pytest.param(500, 50, 250, id="p50 of 500"),
        pytest.param(500, 99, 495, id="p99 of 500"),
        pytest.param(3, 50, 2, id="p50 of 3"),
        pytest.param(1, 99, 1, id="one value"),
    ],
)
def test_quantile_is_the_value_at_the_nearest_rank(count: int, percent: int, value: int) -> None:
    assert cluster.quantile(list(range(count, 0, -1)), percent) == value


def test_pod_leaves_to_the_api_server_what_it_adds_itself() -> None:
    written = cluster.pod()

    assert set(written["metadata"]) == {"generateName", "labels", "annotations"}
    assert not [volume for volume in written["spec"]["volumes"] if "projected" in volume]
    mounted = {mount["name"] for each in written["spec"]["containers"] for mount in each["volumeMounts"]}
    assert mounted == {volume["name"] for volume in written["spec"]["volumes"]}


def test_pods_that_name_one_record_each_are_right() -> None:
    # A record that no pod names is one of a pod that was not stored: no harm.
    records = [record("a"), record("b"), record("unstored"), record("c", "skip")]

    cluster.check({WITH: [pod("a"), pod("b")], WITHOUT: [pod(), pod()]}, records, 2)


@pytest.mark.parametrize(
    ("ours", "theirs", "records", "reason"),
    [
        pytest.param([pod("a")], [pod(), pod()], [record("a")], "expected 2 on each side", id="a pod is missing"),
        pytest.param([pod("a"), pod("b")], [pod(), pod("c")], [], "not labelled was injected", id="injected"),
        pytest.param([pod("a"), pod()], [pod(), pod()], [record("a")], "carries no", id="not injected"),
        pytest.param(
            [pod("a"), pod("a")], [pod(), pod()], [record("a")], "1 of the records", id="one record, two pods"
        ),
        pytest.param([pod("a"), pod("b")], [pod(), pod()], [record("a")], "1 of the records", id="record is missing"),
        pytest.param(
            [pod("a"), pod("b")],
            [pod(), pod()],
            [record("a"), record("b"), record("b")],
            "1 of the",
            id="written twice",
        ),
        pytest.param(
            [pod("a"), pod("b")], [pod(), pod()], [record("a"), record("b", "deny")], "1 of the", id="another decision"
        ),
    ],
)
def test_cluster_that_lost_or_mixed_records_is_no_measurement(
    ours: list[dict[str, Any]], theirs: list[dict[str, Any]], records: list[dict[str, Any]], reason: str
) -> None:
    with pytest.raises(BenchError, match=reason):
        cluster.check({WITH: ours, WITHOUT: theirs}, records, 2)


def test_rows_hold_both_sides_and_the_difference() -> None:
    ours = Side("a", walls=[0.3, 0.1], creates=[0.004, 0.006], cpu=0.002)
    theirs = Side("b", walls=[0.1, 0.1], creates=[0.002, 0.003])

    rows = cluster.rows(ours, theirs, Memory(120, 60))

    told = {(row.measurement, row.subject): row for row in rows}
    assert told["all pods", WITH].series.median == pytest.approx(400)
    assert told["all pods", WITHOUT].ratio == pytest.approx(2)
    assert told["a batch", WITHOUT].ratio == pytest.approx(2)
    assert told["a create, p50", cluster.ADDED].series.median == pytest.approx(2000)
    assert told["a create, p99", cluster.ADDED].series.median == pytest.approx(3000)
    assert told["pods a second", WITH].series.median == pytest.approx(5)
    assert told["webhook, one create", "Nginx + gunicorn"].series.median == pytest.approx(1000)
    assert [row.series.median for row in rows if row.unit == "MiB"] == [120, 60]
