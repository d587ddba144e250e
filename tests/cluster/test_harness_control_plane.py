import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.cluster.cluster import Cluster
from lab.cluster.errors import KubectlError, NotReadyError
from lab.cluster.journal import Run, begin, journals_folder, note, runs
from lab.cluster.launch import running_control_plane
from lab.cluster.processes import is_running, start, wait_until
from lab.cluster.sweep import clean, leftovers, sweep
from tests.cluster.conftest import skip_unless_complete

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

NODE = "somewhere"
PAUSE: dict[str, Any] = {"name": "app", "image": "example.test/app:1"}
STARTS_AND_IS_KILLED = """
import os, signal
from lab.cluster.launch import running_control_plane
with running_control_plane() as cluster:
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def namespace(control_plane: Cluster) -> Iterator[str]:
    name = control_plane.create_namespace("harness")
    yield name
    control_plane.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture
def pod(control_plane: Cluster, namespace: str) -> str:
    control_plane.apply({"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}})
    control_plane.apply(pod_named("web", namespace))
    return "web"


def pod_named(name: str, namespace: str, **labels: str) -> dict[str, Any]:
    metadata = {"name": name, "namespace": namespace, "labels": labels}
    # Without a kubelet nobody ends a pod, so its grace period must be none.
    spec = {"nodeName": NODE, "terminationGracePeriodSeconds": 0, "containers": [PAUSE]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def review(cluster: Cluster, token: str, audience: str) -> Any:
    spec = {"token": token, "audiences": [audience]}
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": spec}
    return json.loads(cluster.kubectl("create", "-f", "-", "-o", "json", input=json.dumps(body)))["status"]


def token_of(cluster: Cluster, namespace: str, pod: str, audience: str) -> str:
    bound = ["--bound-object-kind=Pod", f"--bound-object-name={pod}", f"--audience={audience}", "--duration=600s"]
    return cluster.kubectl("create", "token", "default", "--namespace", namespace, *bound).strip()


def test_the_server_is_the_kubernetes_that_our_go_module_names(control_plane: Cluster) -> None:
    version = json.loads(control_plane.kubectl("version", "-o", "json"))["serverVersion"]

    assert (version["gitVersion"], version["major"], version["minor"]) == ("v1.36.3", "1", "36")


def test_a_token_bound_to_a_pod_is_reviewed_with_the_pod_and_its_node(
    control_plane: Cluster, namespace: str, pod: str
) -> None:
    status = review(control_plane, token_of(control_plane, namespace, pod, "podtls-ca"), "podtls-ca")

    extra = status["user"]["extra"]
    uid = control_plane.get("pod", pod, "--namespace", namespace)["metadata"]["uid"]
    assert status["authenticated"] is True
    assert status["audiences"] == ["podtls-ca"]
    assert status["user"]["username"] == f"system:serviceaccount:{namespace}:default"
    assert extra["authentication.kubernetes.io/pod-name"] == [pod]
    assert extra["authentication.kubernetes.io/pod-uid"] == [uid]
    assert extra["authentication.kubernetes.io/node-name"] == [NODE]
    assert extra["authentication.kubernetes.io/credential-id"][0].startswith("JTI=")


def test_a_token_of_another_audience_is_not_authenticated(control_plane: Cluster, namespace: str, pod: str) -> None:
    status = review(control_plane, token_of(control_plane, namespace, pod, "somebody-else"), "podtls-ca")

    assert not status.get("authenticated")
    assert "token audiences" in status["error"]


def test_the_audit_log_holds_a_created_pod_in_full(control_plane: Cluster, namespace: str) -> None:
    control_plane.apply(pod_named("audited", namespace, seen="yes"))

    events = [json.loads(line) for line in control_plane.audit_log.read_text().splitlines()]
    (event,) = [each for each in events if each.get("objectRef", {}).get("name") == "audited"]
    assert event["level"] == "RequestResponse"
    assert event["responseObject"]["metadata"]["labels"] == {"seen": "yes"}


def test_a_validating_admission_policy_refuses_with_its_message(control_plane: Cluster, namespace: str) -> None:
    rules = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
    validation = {
        "expression": "!('refused' in object.metadata.?labels.orValue({}))",
        "message": "refused by the policy",
    }
    spec = {"matchConstraints": {"resourceRules": [rules]}, "validations": [validation]}
    where = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}}
    binding = {"policyName": "harness", "validationActions": ["Deny"], "matchResources": where}
    meta = {"apiVersion": "admissionregistration.k8s.io/v1", "metadata": {"name": "harness"}}
    control_plane.apply({**meta, "kind": "ValidatingAdmissionPolicy", "spec": spec})
    control_plane.apply({**meta, "kind": "ValidatingAdmissionPolicyBinding", "spec": binding})

    wait_until("the policy is in force", lambda: "refused by the policy" in refusal(control_plane, namespace))

    control_plane.apply(pod_named("accepted", namespace))


def refusal(cluster: Cluster, namespace: str) -> str:
    body = json.dumps(pod_named("refused", namespace, refused="yes"))
    try:
        cluster.kubectl("create", "--dry-run=server", "-f", "-", input=body)
    except KubectlError as error:
        return str(error)
    return ""


@pytest.mark.usefixtures("own_cache")
def test_a_killed_test_run_is_swept_by_the_next_start() -> None:
    skip_unless_complete("control-plane")

    killed = subprocess.run([sys.executable, "-c", STARTS_AND_IS_KILLED], check=False)

    (run,) = runs()
    assert killed.returncode == -signal.SIGKILL
    assert sum(line.startswith("process") for line in leftovers(run)) == 4
    assert sweep() == [run]
    assert leftovers(run) == []


@pytest.mark.usefixtures("own_cache")
def test_a_cluster_that_a_person_starts_stays_until_it_is_taken_down() -> None:
    skip_unless_complete("control-plane")

    exported = cluster_command("up", "--tier=control-plane")

    assert sweep() == []
    assert cluster_command("up", "--tier=control-plane") == exported
    # What is printed works when pasted, and its last line asks whether the cluster is ready.
    assert subprocess.run(["sh", "-c", exported], capture_output=True, text=True, check=True).stdout == "ok"
    assert cluster_command("status").count(" runs, pid ") == 4
    (run,) = runs()
    assert cluster_command("down") == f"{run.id} (control-plane) is gone"
    assert leftovers(run) == []


def cluster_command(*arguments: str) -> str:
    command = [sys.executable, "-m", "lab.cluster", *arguments]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


@pytest.mark.usefixtures("own_cache")
def test_a_cluster_that_does_not_start_leaves_its_logs_and_nothing_else() -> None:
    skip_unless_complete("control-plane")

    with pytest.raises(NotReadyError, match=r"kube-apiserver ended before (.|\n)*unknown flag: --no-such-flag"):
        start_with_a_bad_flag()

    (folder,) = journals_folder().iterdir()
    assert [path.name for path in folder.iterdir()] == ["logs"]
    assert {path.name for path in (folder / "logs").iterdir()} == {"etcd.log", "kube-apiserver.log"}


def start_with_a_bad_flag() -> None:
    with running_control_plane(["--no-such-flag"]):
        pytest.fail("the API server started")


@pytest.mark.usefixtures("own_cache")
def test_a_run_of_somebody_who_lives_is_not_swept(tmp_path: Path) -> None:
    run = begin("control-plane", tmp_path)
    sleeper = start(run, "sleep", ["sleep", "600"])

    assert sweep() == []

    assert is_running(sleeper)
    clean(run)
    assert leftovers(run) == []


@pytest.mark.usefixtures("own_cache")
def test_a_process_killed_before_its_pid_was_noted_is_known_by_its_mark(tmp_path: Path) -> None:
    run = begin("control-plane", tmp_path)
    sleeper = start(run, "sleep", ["sleep", "600"])
    forget_pids(run)

    assert leftovers(run)[0] == f"process {sleeper.pid}"
    clean(run)
    assert not is_running(sleeper)


@pytest.mark.usefixtures("own_cache")
def test_a_pid_that_is_not_ours_is_never_ended(tmp_path: Path) -> None:
    stranger = subprocess.Popen(["sleep", "600"])
    run = begin("control-plane", tmp_path)
    note(run, process="etcd", pid=stranger.pid, started=1)

    clean(run)

    assert stranger.poll() is None
    stranger.kill()
    stranger.wait()


def test_a_second_control_plane_runs_beside_the_first_and_leaves_nothing(control_plane: Cluster) -> None:
    with running_control_plane() as second:
        assert second.server != control_plane.server
        assert second.kubectl("get", "--raw", "/readyz") == "ok"

    assert leftovers(second.run) == []
    assert control_plane.kubectl("get", "--raw", "/readyz") == "ok"


def forget_pids(run: Run) -> None:
    lines = run.journal.read_text().splitlines(keepends=True)
    run.journal.write_text("".join(line for line in lines if '"pid": ' not in line or '"owner"' in line))
