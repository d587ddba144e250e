"""500 pods through a real kube-apiserver, in a labelled namespace and in an unlabelled one: what our webhook adds.

Both namespaces take turns, a batch of pods each, from several clients at once that keep their connections. The cluster
is the control-plane tier of the tests: the webhook is Nginx and gunicorn as shipped, its log is a real file.
"""

import json
import ssl
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Final
from urllib.parse import urlsplit

from contract.names import INJECT, STATUS
from lab.bench import cpu, figures, review
from lab.bench.admission import record_of
from lab.bench.client import Connection, Endpoint, connected
from lab.bench.errors import BenchError, MissingError
from lab.bench.figures import Options, Row, Series
from lab.cluster.cluster import Cluster
from lab.cluster.errors import ClusterError, MissingPartsError
from lab.cluster.launch import running_control_plane
from lab.cluster.podtls_local import Podtls, running_podtls

PODS: Final = 500
WITH: Final = "with podtls (labelled namespace)"
WITHOUT: Final = "without (namespace not labelled)"
ADDED: Final = "what podtls adds"
_CLIENTS: Final = 4
_WARM_UP: Final = 20
_LABELS: Final = {WITH: {INJECT: "enabled"}, WITHOUT: {}}
_HEADERS: Final = {"Content-Type": "application/json", "Accept": "application/json"}


@dataclass
class Side:
    """One of the two namespaces, and what its batches took; times in seconds."""

    namespace: str
    walls: list[float] = field(default_factory=list)
    creates: list[float] = field(default_factory=list)
    cpu: float = 0.0  # of our webhook, meanwhile

    @property
    def wall(self) -> float:
        """All of its batches together."""
        return sum(self.walls)


@dataclass(frozen=True, slots=True)
class Memory:
    """What the processes of our webhook hold after the last pod, in MiB; `shared` pages count once."""

    resident: float
    shared_once: float


def measure(options: Options) -> list[Row]:
    """The rows of 500 pods on each side. Raises BenchError, MissingError (no kube-apiserver, no Nginx)."""
    options.log("starting kube-apiserver, etcd, the CA and the webhook")
    try:
        with running_control_plane() as cluster, running_podtls(cluster) as podtls:
            return compare(podtls, PODS, options)
    except MissingPartsError as error:
        raise MissingError(str(error)) from error
    except ClusterError as error:
        raise BenchError(str(error)) from error


def compare(podtls: Podtls, pods: int, options: Options) -> list[Row]:
    """The rows of that many pods on each side, in as many batches as rounds. Raises BenchError, ClusterError."""
    webhook = [podtls.programs[name].pid for name in ("webhook", "webhook-edge")]
    sides = {name: Side(podtls.cluster.create_namespace("bench", labels)) for name, labels in _LABELS.items()}
    with ExitStack() as stack:
        clients: SimpleQueue[Connection] = SimpleQueue()
        for _ in range(_CLIENTS):
            clients.put(stack.enter_context(_administrator(podtls.cluster)))
        for name in sides:
            create(clients, Side(podtls.cluster.create_namespace("warm-up", _LABELS[name])), _WARM_UP)
        sizes = {name: iter(batches(pods, options.rounds)) for name in sides}
        figures.interleave(
            {name: partial(_batch, clients, side, sizes[name], webhook) for name, side in sides.items()},
            rounds=options.rounds,
            on_round=lambda number: options.log(f"batch {number + 1} of {options.rounds}"),
        )
    stored = {name: podtls.cluster.get("pods", "-n", side.namespace)["items"] for name, side in sides.items()}
    check(stored, podtls.records("webhook"), pods)
    options.log(f"each of {pods} stored pods names one record of its own; the others name none")
    return rows(sides[WITH], sides[WITHOUT], memory(cpu.tree(webhook)))


def batches(pods: int, rounds: int) -> list[int]:
    """The sizes of the batches: as even as they can be."""
    return [pods * (number + 1) // rounds - pods * number // rounds for number in range(rounds)]


def _batch(clients: "SimpleQueue[Connection]", side: Side, sizes: Iterator[int], webhook: Sequence[int]) -> float:
    """Seconds that the side's next batch takes."""
    before = cpu.tree_seconds(webhook)
    create(clients, side, next(sizes))
    side.cpu += cpu.tree_seconds(webhook) - before
    return side.walls[-1]


def create(clients: "SimpleQueue[Connection]", side: Side, count: int) -> None:
    """Create pods as fast as all clients together can, and note what it took. Raises BenchError."""
    path, body = f"/api/v1/namespaces/{side.namespace}/pods", json.dumps(pod()).encode()

    def one(_: int) -> float:
        connection = clients.get()
        try:
            before = time.perf_counter()
            status, answer = connection.request("POST", path, _HEADERS, body)
            took = time.perf_counter() - before
        finally:
            clients.put(connection)
        if status != 201:
            raise BenchError(f"kube-apiserver answered {status}: {answer[:500]!r}")
        return took

    with ThreadPoolExecutor(_CLIENTS) as pool:
        before = time.perf_counter()
        side.creates += pool.map(one, range(count))
        side.walls.append(time.perf_counter() - before)


def pod() -> dict[str, Any]:
    """The pod of the other measurements as its ReplicaSet writes it: what kube-apiserver adds itself is left out."""
    written = review.pod()
    metadata = {key: written["metadata"][key] for key in ("generateName", "labels", "annotations")}
    spec = {key: value for key, value in written["spec"].items() if key not in {"serviceAccount", "tolerations"}}
    tokens = {volume["name"] for volume in spec["volumes"] if "projected" in volume}
    spec["volumes"] = [volume for volume in spec["volumes"] if volume["name"] not in tokens]
    for container in spec["containers"]:
        container["volumeMounts"] = [each for each in container["volumeMounts"] if each["name"] not in tokens]
    # Nobody schedules them: without a node the scheduler would only try and try, beside what is measured.
    spec |= {"schedulerName": "nobody", "serviceAccountName": "default"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def check(stored: dict[str, list[dict[str, Any]]], records: list[dict[str, Any]], pods: int) -> None:
    """Raises BenchError unless every stored pod of ours names one record, each another, and the others name none."""
    counts = {name: len(found) for name, found in stored.items()}
    if set(counts.values()) != {pods}:
        raise BenchError(f"stored are {counts}, expected {pods} on each side")
    if any(STATUS in each["metadata"].get("annotations", {}) for each in stored[WITHOUT]):
        raise BenchError("a pod of the namespace that is not labelled was injected")
    written = Counter(each["id"] for each in records if each["decision"] == "inject")
    named = Counter(record_of(each) for each in stored[WITH])
    if wrong := [record for record, times in named.items() if (times, written[record]) != (1, 1)]:
        raise BenchError(f"{len(wrong)} of the records that pods name are not exactly one record of one pod")


def memory(processes: Sequence[int]) -> Memory:
    """What these processes hold together. Raises ProcessLookupError when one is gone."""
    rollups = [_rollup(pid) for pid in processes]
    return Memory(*(sum(found[key] for found in rollups) / 1024 for key in ("Rss", "Pss")))


def _rollup(pid: int) -> dict[str, int]:
    # In kB, a line each (proc(5)); the first line is the range of addresses.
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    return {line.partition(":")[0]: int(line.split()[1]) for line in lines}


def rows(ours: Side, theirs: Side, held: Memory) -> list[Row]:
    """The table: wall time and pods/s by batch, the quantiles of all creates, and what our webhook used."""
    batch_walls = [Series(tuple(wall * 1e3 for wall in side.walls)) for side in (ours, theirs)]
    wall = figures.own("a batch", WITH, "ms", batch_walls[0])
    total = figures.own("all pods", WITH, "ms", _one(ours.wall * 1e3))
    rate = figures.own("pods a second", WITH, "/s", _one(len(ours.creates) / ours.wall))
    spent = figures.own("webhook, one create", "Nginx + gunicorn", "us CPU", _one(ours.cpu / len(ours.creates) * 1e6))
    return [
        total,
        figures.peer(total, WITHOUT, _one(theirs.wall * 1e3)),
        wall,
        figures.peer(wall, WITHOUT, batch_walls[1]),
        *_quantile_rows(ours, theirs, 50),
        *_quantile_rows(ours, theirs, 99),
        rate,
        figures.peer(rate, WITHOUT, _one(len(theirs.creates) / theirs.wall)),
        spent,
        figures.own("webhook, memory", "resident, summed over its processes", "MiB", _one(held.resident)),
        figures.own("webhook, memory", "shared pages counted once (PSS)", "MiB", _one(held.shared_once)),
    ]


def _quantile_rows(ours: Side, theirs: Side, percent: int) -> list[Row]:
    ours_us, theirs_us = (quantile(side.creates, percent) * 1e6 for side in (ours, theirs))
    row = figures.own(f"a create, p{percent}", WITH, "us", _one(ours_us))
    added = Row(row.measurement, ADDED, row.unit, _one(ours_us - theirs_us))
    return [row, figures.peer(row, WITHOUT, _one(theirs_us)), added]


def quantile(values: Sequence[float], percent: int) -> float:
    """The smallest value that so many percent of all do not exceed (nearest rank)."""
    return sorted(values)[-(-len(values) * percent // 100) - 1]


def _one(value: float) -> Series:
    return Series((value,))


@contextmanager
def _administrator(cluster: Cluster) -> Iterator[Connection]:
    """An open connection to kube-apiserver as the kubeconfig's user, who is exempt from its fair queueing."""
    config = json.loads(cluster.kubeconfig.read_text())
    server, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    bundle = Path(server["certificate-authority"])
    context = ssl.create_default_context(cafile=str(bundle))
    context.load_cert_chain(user["client-certificate"], user["client-key"])
    port = urlsplit(server["server"]).port
    if port is None:
        raise BenchError(f"the kubeconfig names no port: {server['server']}")
    with connected(Endpoint(port, "localhost", bundle), context) as connection:
        yield connection
