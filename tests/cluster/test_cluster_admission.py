"""One pod through kube-apiserver and our real webhook: what is stored, what the audit log says, what else applies."""

import json
from pathlib import Path
from typing import Any

import pytest

from contract.names import INIT_CONTAINER, SIDECAR_CONTAINER, STATUS
from lab.cluster.podtls_local import Podtls
from lab.cluster.processes import wait_until
from tests.cluster.adding_webhook import ADDED, adding_webhook
from tests.cluster.api import Object, audited, create, message, pod, refusal, stderr_of
from tests.cluster.conftest import Namespaces
from tests.webhook.goldens import load
from tests.webhook.world import apply
from webhook.jsonpatch import Operation

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

OURS = [INIT_CONTAINER, SIDECAR_CONTAINER]


def init_names(raw: Object) -> list[str]:
    return [container["name"] for container in raw["spec"].get("initContainers", [])]


def status_of(raw: Object) -> Any:
    return json.loads(raw["metadata"]["annotations"][STATUS])


def record(podtls: Podtls, record_id: str) -> Any:
    (found,) = [each for each in podtls.records("webhook") if each["id"] == record_id]
    return found


def annotation(event: Object, prefix: str) -> dict[str, Any]:
    """The audit annotations of mutating webhooks, by round and then by webhook."""
    found = {}
    for key, value in event["annotations"].items():
        if key.startswith(prefix):
            told = json.loads(value)
            found[f"{key.removeprefix(prefix).split('_index_')[0]} {told['webhook']}"] = told
    return found


def test_audit_log_of_the_api_server_holds_patch_and_annotations(podtls: Podtls, enrolled: Namespaces) -> None:
    stored = create(podtls.cluster, enrolled(), pod())

    event = audited(podtls.cluster, stored["metadata"]["uid"])

    patch = annotation(event, "patch.webhook.admission.k8s.io/")["round_0 mtls-port.podtls.io"]
    evidence = record(podtls, status_of(stored)["record"])
    assert (patch["patchType"], patch["patch"]) == ("JSONPatch", evidence["operations"])
    assert event["annotations"]["mtls-port.podtls.io/decision"] == "inject"
    assert (
        event["annotations"]["mtls-port.podtls.io/reason"] == evidence["reason"] == "enrolled: mode mtls, capture port"
    )
    assert event["annotations"]["mtls-port.podtls.io/record"] == evidence["id"]


def test_record_names_the_review_the_asker_and_the_pod(podtls: Podtls, enrolled: Namespaces) -> None:
    namespace = enrolled()

    stored = create(podtls.cluster, namespace, pod())

    evidence = record(podtls, status_of(stored)["record"])
    assert (evidence["namespace"], evidence["name"], evidence["dryRun"]) == (namespace, "web", False)
    assert evidence["requestedBy"]["username"] == "admin"
    assert (evidence["source"], evidence["caller"]) == ("127.0.0.1", "unverified")
    patched = apply(pod(), [Operation(**step) for step in evidence["operations"] if "/volumes" not in step["path"]])
    assert init_names(patched) == init_names(stored) == OURS


def test_pods_of_a_deployment_are_recorded_with_their_owner_and_their_controller(
    podtls: Podtls, enrolled: Namespaces
) -> None:
    namespace = enrolled()
    labels = {"app": "web"}
    spec = {"selector": {"matchLabels": labels}, "template": pod(metadata={"labels": labels}), "replicas": 2}
    deployment = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": namespace}}

    podtls.cluster.apply({**deployment, "spec": spec | {"template": without_kind(spec["template"])}})

    wait_until("both pods are there", lambda: len(podtls.cluster.get("pods", "-n", namespace)["items"]) == 2)
    for stored in podtls.cluster.get("pods", "-n", namespace)["items"]:
        evidence = record(podtls, status_of(stored)["record"])
        assert evidence["owners"] == stored["metadata"]["ownerReferences"]
        assert evidence["generateName"] == stored["metadata"]["generateName"]
        assert evidence["requestedBy"]["username"] == "system:serviceaccount:kube-system:replicaset-controller"


def without_kind(raw: Any) -> Object:
    return {"metadata": {"labels": raw["metadata"]["labels"]}, "spec": raw["spec"]}


def test_dry_run_is_injected_and_recorded_as_one_and_nothing_is_stored(podtls: Podtls, enrolled: Namespaces) -> None:
    namespace = enrolled()

    answer = create(podtls.cluster, namespace, pod(), dry_run=True)

    assert init_names(answer) == OURS
    assert record(podtls, status_of(answer)["record"])["dryRun"] is True
    assert podtls.cluster.get("pods", "-n", namespace)["items"] == []


def test_container_that_a_later_webhook_adds_is_covered_by_the_second_round(
    podtls: Podtls, enrolled: Namespaces, tmp_path: Path
) -> None:
    namespace = enrolled()

    with adding_webhook(podtls.cluster, namespace, tmp_path):
        # Until the API server has heard of the other webhook, there is no second round.
        wait_until(
            "the other webhook is called", lambda: is_added(create(podtls.cluster, namespace, pod(), dry_run=True))
        )
        stored = create(podtls.cluster, namespace, pod())

    status = status_of(stored)
    event = audited(podtls.cluster, stored["metadata"]["uid"])
    rounds = annotation(event, "patch.webhook.admission.k8s.io/")
    first, second = (rounds[f"round_{number} mtls-port.podtls.io"]["patch"] for number in (0, 1))
    assert is_added(stored)
    assert status["ports"] == "8443=8080,8444=9901"
    assert [port["containerPort"] for port in stored["spec"]["initContainers"][1]["ports"]] == [8443, 8444]
    evidence = record(podtls, status["record"])
    (before,) = [each for each in podtls.records("webhook") if each["operations"] == first]
    assert evidence["operations"] == second
    assert evidence["reason"].endswith(f"; replaces what record {before['id']} injected")
    assert init_names(stored) == OURS


def is_added(raw: Object) -> bool:
    return ADDED["name"] in [container["name"] for container in raw["spec"]["containers"]]


@pytest.mark.parametrize("level", ["restricted", "baseline"])
@pytest.mark.parametrize("case", ["restricted", "sysctls"])
def test_injection_fulfils_pod_security(podtls: Podtls, enrolled: Namespaces, level: str, case: str) -> None:
    namespace = enrolled({f"pod-security.kubernetes.io/{way}": level for way in ("enforce", "warn")})
    raw = load("restricted")
    raw["metadata"] |= {"annotations": load(case)["metadata"].get("annotations", {})}
    raw["spec"]["securityContext"] |= load(case)["spec"].get("securityContext", {})

    answer = stderr_of(podtls.cluster, "create", "-n", namespace, "-f", "-", input=json.dumps(raw))

    assert answer == ""
    assert init_names(podtls.cluster.get("pod", "web", "-n", namespace)) == OURS


def test_pod_security_refuses_the_app_and_never_names_our_containers(podtls: Podtls, enrolled: Namespaces) -> None:
    namespace = enrolled({"pod-security.kubernetes.io/enforce": "restricted"})

    refused = refusal(podtls.cluster, namespace, pod())

    assert 'violates PodSecurity "restricted:latest"' in refused
    assert 'container "app" must set securityContext.allowPrivilegeEscalation=false' in refused
    assert not [name for name in OURS if name in refused]


def limit_range(**limits: Object) -> Object:
    spec = {"limits": [{"type": "Container", **limits}]}
    return {"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "limits"}, "spec": spec}


def resources_of(raw: Object) -> dict[str, Any]:
    containers = [*raw["spec"]["initContainers"], *raw["spec"]["containers"]]
    return {container["name"]: container["resources"] for container in containers}


def test_defaults_of_a_limit_range_go_to_the_app_and_leave_ours_as_they_are(
    podtls: Podtls, enrolled: Namespaces
) -> None:
    defaults = {"cpu": "300m", "memory": "300Mi"}
    namespace = enrolled()
    put(podtls, namespace, limit_range(default=defaults, defaultRequest=defaults))
    wait_until("the limits apply", lambda: "300Mi" in str(create(podtls.cluster, namespace, pod(), dry_run=True)))

    resources = resources_of(create(podtls.cluster, namespace, pod()))

    elsewhere = resources_of(create(podtls.cluster, enrolled(), pod()))
    assert resources["app"] == {"limits": defaults, "requests": defaults}
    assert {name: resources[name] for name in OURS} == {name: elsewhere[name] for name in OURS}
    assert all(elsewhere[name]["limits"] == elsewhere[name]["requests"] for name in OURS)


def test_limit_range_below_what_ours_need_is_told_by_the_api_server(podtls: Podtls, enrolled: Namespaces) -> None:
    namespace = enrolled()
    put(podtls, namespace, limit_range(max={"memory": "64Mi"}, default={"memory": "32Mi"}))

    wait_until("the limits apply", lambda: bool(refusal(podtls.cluster, namespace, pod())))

    refused = message(refusal(podtls.cluster, namespace, pod()))
    assert refused == 'pods "web" is forbidden: maximum memory usage per Container is 64Mi, but limit is 96Mi'


def quota(**hard: str) -> Object:
    named = {key.replace("_", "."): value for key, value in hard.items()}
    return {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "quota"}, "spec": {"hard": named}}


def test_quota_counts_what_ours_request(podtls: Podtls, enrolled: Namespaces) -> None:
    namespace = enrolled()
    put(podtls, namespace, quota(requests_memory="200Mi", pods="5"))
    raw = pod()
    raw["spec"]["containers"][0]["resources"] = {"requests": {"memory": "100Mi"}}
    wait_until("the quota is known", lambda: "used" in podtls.cluster.get("quota", "quota", "-n", namespace)["status"])

    create(podtls.cluster, namespace, raw)

    # The sidecar runs beside the app, podtls-init only before it.
    used = podtls.cluster.get("quota", "quota", "-n", namespace)["status"]["used"]
    assert used == {"requests.memory": "196Mi", "pods": "1"}
    raw["metadata"]["name"] = "second"
    assert "exceeded quota: quota, requested: requests.memory=196Mi, used: requests.memory=196Mi" in refusal(
        podtls.cluster, namespace, raw
    )


def test_quota_that_wants_limits_wants_them_of_the_app_only(podtls: Podtls, enrolled: Namespaces) -> None:
    namespace = enrolled()
    put(podtls, namespace, quota(limits_cpu="2"))
    wait_until("the quota is known", lambda: "used" in podtls.cluster.get("quota", "quota", "-n", namespace)["status"])

    refused = message(refusal(podtls.cluster, namespace, pod()))

    assert refused == 'pods "web" is forbidden: failed quota: quota: must specify limits.cpu for: app'


def put(podtls: Podtls, namespace: str, raw: Object) -> None:
    podtls.cluster.apply({**raw, "metadata": {**raw["metadata"], "namespace": namespace}})
