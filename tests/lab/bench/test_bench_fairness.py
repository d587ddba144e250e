"""The comparison is fair: whoever is measured beside our webhook answers the same patch for the same review."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import jsonpatch
import pytest

from audit.record import AdmissionRecord, decode
from lab.bench import admission, naive, review, servers
from lab.bench.client import connected
from lab.bench.errors import BenchError, MissingError
from lab.bench.figures import Options
from lab.bench.servers import Server

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def subjects(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Server]]:
    with ExitStack() as stack:
        yield admission.start(stack, tmp_path_factory.mktemp("servers"), Options(rounds=1, log=print))


@pytest.fixture
def floor(subjects: dict[str, Server]) -> Server:
    if admission.FLOOR not in subjects:
        pytest.skip("Go is not installed here")
    return subjects[admission.FLOOR]


def test_the_naive_webhook_makes_the_same_pod(subjects: dict[str, Server]) -> None:
    ours, theirs = (injected(subjects[name]) for name in (admission.OURS, admission.NAIVE))

    assert theirs == ours


def test_the_floor_answers_the_same_operations(subjects: dict[str, Server], floor: Server) -> None:
    ours = admission.template(admission.ask(subjects[admission.OURS]))

    theirs = admission.template(admission.ask(floor))

    assert theirs == ours


def test_the_floor_answers_each_review_under_its_uid_with_a_record_id_of_its_own(floor: Server) -> None:
    answers = [exchange(floor) for _ in range(2)]

    assert [answer["response"]["uid"] for _, answer in answers] == [uid(body) for body, _ in answers]
    records = {admission.record_of(applied(answer)) for _, answer in answers}
    assert len(records) == 2


def test_the_floor_writes_the_record_that_our_readers_know(floor: Server) -> None:
    body, answer = exchange(floor)

    line = (floor.endpoint.bundle.parent / "evidence.jsonl").read_bytes().splitlines()[-1]

    record = decode(line)
    assert isinstance(record, AdmissionRecord)
    assert record.id == admission.record_of(applied(answer))
    assert record.digest == f"sha256:{hashlib.sha256(body).hexdigest()}"
    assert record.operations == admission.operations(json.dumps(answer).encode())
    assert record.owners == review.pod()["metadata"]["ownerReferences"]
    assert record.requested_by == json.loads(body)["request"]["userInfo"]


def test_ours_is_durable_before_it_answers(subjects: dict[str, Server]) -> None:
    ours = subjects[admission.OURS]

    body, answer = exchange(ours)

    log = ours.endpoint.bundle.parents[2] / "evidence.jsonl"
    record = decode(log.read_bytes().splitlines()[-1])
    assert isinstance(record, AdmissionRecord)
    assert (record.uid, record.id) == (uid(body), admission.record_of(applied(answer)))


def test_an_answer_without_a_patch_is_not_measured() -> None:
    answer = json.dumps({"response": {"uid": "1", "allowed": True}}).encode()

    with pytest.raises(BenchError, match="the webhook did not inject"):
        admission.operations(answer)


def test_a_pod_without_our_status_has_no_record() -> None:
    with pytest.raises(BenchError, match=r"carries no podtls\.io/status"):
        admission.record_of(review.pod())


def test_the_naive_webhook_leaves_the_users_pod_as_it_was() -> None:
    pod = review.pod()
    added = naive.additions(pod, pod | {"spec": pod["spec"] | {"initContainers": [{"name": "podtls-init"}]}})

    mutated = naive.mutate(pod, added, "f" * 32)

    assert pod == review.pod()
    assert [container["name"] for container in mutated["spec"]["initContainers"]] == ["podtls-init"]


def test_without_go_the_floor_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lab.bench.processes.EXTRA_PATH", "")
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(MissingError, match="go is not installed here"):
        servers.build_floor(tmp_path)


def injected(server: Server) -> dict[str, Any]:
    pod: dict[str, Any] = jsonpatch.apply_patch(review.pod(), admission.template(admission.ask(server)))
    return pod


def exchange(server: Server) -> tuple[bytes, dict[str, Any]]:
    body = review.body()
    with connected(server.endpoint) as connection:
        status, answer = connection.request("POST", review.PATH, {"Content-Type": "application/json"}, body)
    assert status == 200
    return body, json.loads(answer)


def applied(answer: dict[str, Any]) -> dict[str, Any]:
    pod: dict[str, Any] = jsonpatch.apply_patch(review.pod(), admission.operations(json.dumps(answer).encode()))
    return pod


def uid(body: bytes) -> str:
    value: str = json.loads(body)["request"]["uid"]
    return value
