"""Programs of ours are killed while a real controller-manager creates pods: nothing is lost or goes unrecorded.

What happened is read from kube-apiserver's own audit log: every answer that it gave to every creation, and when.
"""

import http.client
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial

import pytest

from contract.names import INJECT
from injector.__main__ import SystemClock
from injector.enroll import certificate, est
from injector.enroll.certificate import Chain
from injector.enroll.https import HTTPRequest, HTTPResponse
from injector.enroll.retry import persist
from injector.errors import UnavailableError
from lab.cluster.endpoint import LoopbackEndpoint, give_address, pod_token
from lab.cluster.errors import KubectlError
from lab.cluster.podtls_local import Podtls
from lab.cluster.processes import children, wait_until
from tests.cluster.api import Object, create, creations, pod
from tests.cluster.auditor import reconciled

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

DEPLOYMENTS = 4
REPLICAS = 50
PODS = DEPLOYMENTS * REPLICAS
UNDER_WAY = 20  # So many pods are admitted, and most are not, when something is killed.
CALLING = 'failed calling webhook "mtls-port.podtls.io": failed to call webhook: '
CLOSED = (
    "EOF",
    "connection reset by peer",
    "broken pipe",
    "use of closed network connection",
    "connect: connection refused",
)
ENROLLMENTS = 15  # Of each pod; all together stay below the burst that the edge proxy allows to one address.


@pytest.fixture(scope="module")
def drill(podtls: Podtls) -> Iterator[str]:
    """The namespace whose pods are created while things break."""
    namespace = podtls.cluster.create_namespace("drill", {INJECT: "enabled"})
    yield namespace
    podtls.cluster.kubectl("delete", "namespace", namespace, "--wait=false")


@dataclass(frozen=True, slots=True)
class Answers:
    """What kube-apiserver answered to the creations of one drill: those before the kill, and those after it."""

    before: list[Object]
    after: list[Object]

    @property
    def stored(self) -> int:
        """How many pods it has stored."""
        return sum(event["responseStatus"]["code"] == 201 for event in (*self.before, *self.after))

    @property
    def failures(self) -> list[str]:
        """What it said where it stored none."""
        answers = [event["responseStatus"] for event in (*self.before, *self.after)]
        return [answer["message"] for answer in answers if answer["code"] != 201]


def answers_while(podtls: Podtls, namespace: str, app: str, kill: Callable[[], object]) -> Answers:
    """Create 200 pods from four Deployments, kill when some of them are admitted, wait until all are stored."""
    apps = [f"{app}-{number}" for number in range(DEPLOYMENTS)]
    podtls.cluster.apply(*[deployment(namespace, each) for each in apps])
    wait_until("creation is under way", lambda: admitted(podtls, app) >= UNDER_WAY)
    killed = datetime.now(UTC)
    kill()
    for each in apps:
        desired = f"--for=jsonpath={{.status.replicas}}={REPLICAS}"
        podtls.cluster.kubectl("wait", f"deployment/{each}", "-n", namespace, desired, "--timeout=120s")
    told = partial(answers_to, podtls, namespace, app, killed)
    wait_until("the audit log has all pods", lambda: told().stored == PODS)
    return told()


def answers_to(podtls: Podtls, namespace: str, app: str, killed: datetime) -> Answers:
    events = [event for event in creations(podtls.cluster, namespace) if generate_name(event).startswith(f"{app}-")]
    answered = [datetime.fromisoformat(event["stageTimestamp"]) for event in events]
    return Answers(
        before=[event for event, time in zip(events, answered, strict=True) if time < killed],
        after=[event for event, time in zip(events, answered, strict=True) if time >= killed],
    )


def generate_name(event: Object) -> str:
    return str(event["requestObject"]["metadata"].get("generateName", ""))


def admitted(podtls: Podtls, app: str) -> int:
    """How many pods the webhook has recorded. To list them at kube-apiserver would take longer than to create them."""
    return (podtls.folder / "webhook/evidence.jsonl").read_bytes().count(f'"generateName":"{app}-'.encode())


def deployment(namespace: str, name: str) -> Object:
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": pod()["spec"]}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"replicas": REPLICAS, "selector": {"matchLabels": labels}, "template": template},
    }


def kill_worker(podtls: Podtls, name: str) -> None:
    os.kill(children(podtls.programs[name].pid)[0], signal.SIGKILL)


def kill_and_start_again(podtls: Podtls, name: str) -> None:
    podtls.kill(name)
    podtls.start_again(name)


def kill_and_start_again_when_it_is_missed(podtls: Podtls, namespace: str, name: str) -> None:
    """As kubelet, which needs a second or more: not before kube-apiserver has met what is gone."""
    podtls.kill(name)
    wait_until("kube-apiserver misses it", partial(is_missed, podtls, namespace))
    podtls.start_again(name)


def is_missed(podtls: Podtls, namespace: str) -> bool:
    answers = (event["responseStatus"] for event in creations(podtls.cluster, namespace))
    return any(answer.get("message", "").endswith(CLOSED) for answer in answers)


def assert_killed_under_way(answers: Answers) -> None:
    assert answers.before, "killed before anything was created"
    assert answers.after, "killed when all was over"
    assert answers.stored == PODS


def failed_creates(podtls: Podtls, namespace: str, app: str) -> list[str]:
    """What the controllers themselves say in Events."""
    events = podtls.cluster.get("events", "-n", namespace, "--field-selector", "reason=FailedCreate")["items"]
    return [event["message"] for event in events if event["involvedObject"]["name"].startswith(f"{app}-")]


def test_killed_worker_of_the_webhook_fails_no_admission(podtls: Podtls, drill: str) -> None:
    answers = answers_while(podtls, drill, "worker", partial(kill_worker, podtls, "webhook"))

    assert_killed_under_way(answers)
    assert answers.failures == []
    assert failed_creates(podtls, drill, "worker") == []


def test_killed_gunicorn_of_the_webhook_is_waited_for_and_all_pods_are_created(podtls: Podtls, drill: str) -> None:
    answers = answers_while(podtls, drill, "gunicorn", partial(kill_and_start_again, podtls, "webhook"))

    assert_killed_under_way(answers)
    # The edge proxy has kube-apiserver ask again; a machine on which gunicorn starts slowly uses up the webhook's 5 s.
    assert [failure for failure in answers.failures if not failure.endswith("context deadline exceeded")] == []


def test_killed_nginx_of_the_webhook_fails_what_is_in_flight_and_controllers_try_again(
    podtls: Podtls, drill: str
) -> None:
    kill = partial(kill_and_start_again_when_it_is_missed, podtls, drill, "webhook-edge")

    answers = answers_while(podtls, drill, "nginx", kill)

    assert_killed_under_way(answers)
    assert answers.failures != []
    assert [failure for failure in answers.failures if not (CALLING in failure and failure.endswith(CLOSED))] == []
    assert [event for event in failed_creates(podtls, drill, "nginx") if CALLING not in event] == []


@dataclass
class Enrollments:
    """Pods that enroll again and again, each with its own token, as podtls-init does."""

    endpoint: LoopbackEndpoint
    tokens: list[str]
    done: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self, token: str) -> list[Chain]:
        """All enrollments of one pod, one after the other."""
        return [self._enroll(token) for _ in range(ENROLLMENTS)]

    def _enroll(self, token: str) -> Chain:
        request = certificate.make_request(certificate.make_key())
        chain = persist(
            lambda deadline: est.enroll(self._exchange, request, token=token, deadline=deadline),
            budget=60,
            clock=SystemClock(),
        )
        with self.lock:
            self.done += 1
        return chain

    def _exchange(self, request: HTTPRequest, *, deadline: float) -> HTTPResponse:
        """Fails as injector.enroll.https.Https does, which would look the CA's name up in this machine's DNS."""
        try:
            return self.endpoint(request, deadline=deadline)
        except (OSError, http.client.HTTPException) as error:
            raise UnavailableError(f"{type(error).__name__}: {error}") from error


@pytest.fixture(scope="module")
def tokens(podtls: Podtls, drill: str) -> list[str]:
    """Tokens of four enrolled pods whose address is where this test asks from."""
    names = [f"enrolling-{number}" for number in range(4)]
    for name in names:
        create(podtls.cluster, drill, pod(name))
        give_address(podtls.cluster, drill, name)
    return [pod_token(podtls.cluster, drill, name) for name in names]


@pytest.mark.parametrize(
    "kill",
    [
        pytest.param(partial(kill_worker, name="ca"), id="worker"),
        pytest.param(partial(kill_and_start_again, name="ca"), id="gunicorn"),
        pytest.param(partial(kill_and_start_again, name="ca-edge"), id="nginx"),
    ],
)
def test_killed_program_of_the_ca_fails_no_enrollment(
    podtls: Podtls, tokens: list[str], kill: Callable[[Podtls], object]
) -> None:
    enrollments = Enrollments(podtls.endpoint("ca"), tokens)

    with ThreadPoolExecutor(len(tokens)) as pool:
        running = [pool.submit(enrollments.run, token) for token in tokens]
        wait_until("enrollment is under way", lambda: enrollments.done >= len(tokens))
        kill(podtls)
        before = enrollments.done

    issued = serials(running)
    assert before < len(issued) == len(tokens) * ENROLLMENTS
    recorded = [each["serial"] for each in podtls.records("ca") if each["decision"] == "issue"]
    assert {serial: recorded.count(serial) for serial in issued} == dict.fromkeys(issued, 1)


def serials(running: list[Future[list[Chain]]]) -> list[str]:
    return [f"{chain[0].serial_number:x}" for each in running for chain in each.result()]


def test_afterwards_every_pod_names_one_record_and_surplus_records_are_told(podtls: Podtls, drill: str) -> None:
    refused_later(podtls, drill)

    code, told = reconciled(podtls, "-n", drill)

    assert (code, told["findings"]) == (0, [])
    stored = podtls.cluster.get("pods", "-n", drill)["items"]
    assert told["pods"] == {"compared": len(stored), "own": 0}
    outcomes = {each["id"]: each for each in told["records"]}
    assert sum(each["outcome"] == "stored" for each in outcomes.values()) == len(stored)
    refused = [(each["pod"], each["why"]) for each in outcomes.values() if each["outcome"] == "refused later"]
    assert [name for name, _ in refused] == ["too-many"]
    assert refused[0][1].startswith('the API server answered 403: pods "too-many" is forbidden: exceeded quota')


def refused_later(podtls: Podtls, namespace: str) -> None:
    """A pod that the API server refuses after we have patched it: over the namespace's quota."""
    meta = {"name": "enough", "namespace": namespace}
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": meta, "spec": {"hard": {"pods": "1"}}}
    podtls.cluster.apply(quota)
    known = partial(podtls.cluster.get, "resourcequota", "enough", "-n", namespace)
    wait_until("the quota counts", lambda: "used" in known().get("status", {}))
    with pytest.raises(KubectlError, match="exceeded quota"):
        create(podtls.cluster, namespace, pod("too-many"))
    podtls.cluster.kubectl("delete", "resourcequota", "enough", "-n", namespace)
    named = f'"namespace":"{namespace}","name":"too-many"'
    wait_until("the audit log has the refusal", lambda: any(creations(podtls.cluster, named)))
