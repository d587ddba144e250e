"""`python -m bench cluster` measures what it says: on the real control plane, with few pods."""

from queue import SimpleQueue

import pytest

from lab.bench import cluster
from lab.bench.client import Connection
from lab.bench.cluster import WITH, WITHOUT, Side
from lab.bench.errors import BenchError
from lab.bench.figures import Options
from lab.cluster.podtls_local import Podtls

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]


def test_every_pod_is_created_on_both_sides_and_names_one_record(podtls: Podtls) -> None:
    said: list[str] = []

    rows = cluster.compare(podtls, 12, Options(rounds=3, log=said.append))

    assert said[-1] == "each of 12 stored pods names one record of its own; the others name none"
    batches = {row.subject: row.series.values for row in rows if row.measurement == "a batch"}
    assert {subject: len(values) for subject, values in batches.items()} == {WITH: 3, WITHOUT: 3}
    assert all(row.series.median > 0 for row in rows if row.subject != cluster.ADDED)


def test_pod_that_is_not_created_ends_the_measurement(podtls: Podtls) -> None:
    clients: SimpleQueue[Connection] = SimpleQueue()
    with cluster._administrator(podtls.cluster) as connection:
        clients.put(connection)

        with pytest.raises(BenchError, match=r"kube-apiserver answered 404: .*namespaces .*no-such.* not found"):
            cluster.create(clients, Side("no-such"), 1)


def test_memory_is_that_of_the_processes(podtls: Podtls) -> None:
    held = cluster.memory([podtls.programs["webhook"].pid])

    assert 0 < held.shared_once <= held.resident
