"""What the controllers make of workloads, and what the API server writes into pods before a webhook sees them."""

import copy
import re
from typing import Any

import kubernetes_validate
import pytest

from contract.names import API_TOKEN_DIRECTORY
from lab.sandbox.apiserver.controllers import ADMIN, expand
from lab.sandbox.apiserver.defaults import admit_in_tree, set_defaults
from lab.sandbox.errors import ManifestError

ACCOUNT: dict[str, Any] = {"metadata": {"name": "payments", "namespace": "shop", "uid": "account-uid"}}


def _workload(kind: str, **spec: Any) -> dict[str, Any]:
    container = {"name": "app", "image": "registry.example/app:1.2", "ports": [{"containerPort": 8080}]}
    template = {"metadata": {"labels": {"app": "payments"}}, "spec": {"containers": [container]}}
    return {
        "kind": kind,
        "metadata": {"name": "payments", "namespace": "shop", "uid": "workload-uid"},
        "spec": {"template": template, **spec},
    }


def test_deployment_becomes_pods_of_a_replica_set_asked_for_by_its_controller() -> None:
    first, second = expand(_workload("Deployment", replicas=2))

    metadata = first.pod["metadata"]
    template_hash = metadata["labels"]["pod-template-hash"]
    assert re.fullmatch("[b-z2-9]{10}", template_hash)
    assert metadata["generateName"] == f"payments-{template_hash}-"
    assert "name" not in metadata
    assert metadata["labels"]["app"] == "payments"
    assert "annotations" not in metadata
    (owner,) = metadata["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["controller"]) == ("ReplicaSet", f"payments-{template_hash}", True)
    assert first.user_info["username"] == "system:serviceaccount:kube-system:replicaset-controller"
    assert "system:serviceaccounts:kube-system" in first.user_info["groups"]
    assert first.user_info["extra"]["authentication.kubernetes.io/credential-id"][0].startswith("JTI=")
    assert second.pod == first.pod
    assert second.pod is not first.pod


def test_deployment_keeps_the_annotations_of_its_template() -> None:
    deployment = _workload("Deployment")
    deployment["spec"]["template"]["metadata"]["annotations"] = {"podtls.io/mode": "tls"}

    (request,) = expand(deployment)

    assert request.pod["metadata"]["annotations"] == {"podtls.io/mode": "tls"}


def test_stateful_set_becomes_named_pods_with_host_names_and_claims() -> None:
    claims = [{"metadata": {"name": "data"}}]
    stateful_set = _workload("StatefulSet", replicas=2, serviceName="db", volumeClaimTemplates=claims)

    first, second = expand(stateful_set)

    assert first.pod["metadata"]["name"] == "payments-0"
    assert second.pod["metadata"]["labels"]["apps.kubernetes.io/pod-index"] == "1"
    assert second.pod["spec"]["hostname"] == "payments-1"
    assert second.pod["spec"]["subdomain"] == "db"
    assert second.pod["spec"]["volumes"] == [
        {"name": "data", "persistentVolumeClaim": {"claimName": "data-payments-1"}}
    ]
    assert first.pod["metadata"]["ownerReferences"][0]["uid"] == "workload-uid"
    assert first.user_info["username"] == "system:serviceaccount:kube-system:statefulset-controller"


def test_stateful_set_without_a_service_has_no_subdomain() -> None:
    (request,) = expand(_workload("StatefulSet"))

    assert "subdomain" not in request.pod["spec"]
    assert request.pod["spec"]["volumes"] == []


def test_bare_pod_is_asked_for_by_the_admin() -> None:
    pod = {"kind": "Pod", "metadata": {"name": "one", "namespace": "shop"}, "spec": {}}

    (request,) = expand(pod)

    assert request.pod is pod
    assert request.user_info == ADMIN


def test_workload_that_no_controller_of_the_demo_knows_is_refused() -> None:
    with pytest.raises(ManifestError, match="kind CronJob: the demo runs Pod, Deployment and StatefulSet"):
        expand(_workload("CronJob"))


def _admitted(**spec: Any) -> dict[str, Any]:
    (request,) = expand(_workload("Deployment"))
    pod = request.pod
    pod["spec"] |= spec
    set_defaults(pod)
    admit_in_tree(pod, ACCOUNT)
    return pod


def test_pod_gets_the_api_servers_defaults_and_is_valid() -> None:
    pod = _admitted()

    spec, container = pod["spec"], pod["spec"]["containers"][0]
    assert spec["restartPolicy"] == "Always"
    assert spec["dnsPolicy"] == "ClusterFirst"
    assert spec["serviceAccount"] == spec["serviceAccountName"] == "payments"
    assert [each["key"] for each in spec["tolerations"]] == [
        "node.kubernetes.io/not-ready",
        "node.kubernetes.io/unreachable",
    ]
    assert container["ports"] == [{"containerPort": 8080, "protocol": "TCP"}]
    assert container["terminationMessagePath"] == "/dev/termination-log"
    assert container["imagePullPolicy"] == "IfNotPresent"
    kubernetes_validate.validate(pod, "1.37", strict=True)


def test_defaults_change_nothing_the_second_time() -> None:
    once = _admitted()
    again = copy.deepcopy(once)

    set_defaults(again)
    admit_in_tree(again, ACCOUNT)

    assert again == once


def test_api_token_is_mounted_where_the_path_is_free() -> None:
    taken = {"name": "app", "image": "a:1", "volumeMounts": [{"name": "own", "mountPath": API_TOKEN_DIRECTORY}]}
    pod = _admitted(initContainers=[taken])

    (volume,) = pod["spec"]["volumes"]
    assert volume["name"].startswith("kube-api-access-")
    assert [mount["name"] for mount in pod["spec"]["containers"][0]["volumeMounts"]] == [volume["name"]]
    assert [mount["name"] for mount in pod["spec"]["initContainers"][0]["volumeMounts"]] == ["own"]


def test_api_token_is_left_out_when_the_pod_says_so() -> None:
    pod = _admitted(automountServiceAccountToken=False)

    assert "volumes" not in pod["spec"]
    assert "volumeMounts" not in pod["spec"]["containers"][0]


@pytest.mark.parametrize(
    ("image", "policy"),
    [
        pytest.param("app", "Always", id="no tag"),
        pytest.param("app:latest", "Always", id="latest"),
        pytest.param("registry.example:5000/app", "Always", id="a port is no tag"),
        pytest.param("registry.example:5000/app:1", "IfNotPresent", id="a tag behind a port"),
        pytest.param("app@sha256:00", "IfNotPresent", id="a digest"),
    ],
)
def test_pull_policy_follows_the_tag(image: str, policy: str) -> None:
    pod = _admitted(containers=[{"name": "app", "image": image}])

    assert pod["spec"]["containers"][0]["imagePullPolicy"] == policy


def test_probes_volumes_env_and_resources_are_defaulted() -> None:
    container = {
        "name": "app",
        "image": "a:1",
        "env": [{"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}, {"name": "X", "value": ""}],
        "resources": {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "100m"}},
        "readinessProbe": {"httpGet": {"port": 80}},
        "livenessProbe": {"exec": {"command": ["true"]}, "periodSeconds": 3},
    }
    token = {"serviceAccountToken": {"path": "token"}}
    names = {"downwardAPI": {"items": [{"path": "name", "fieldRef": {"fieldPath": "metadata.name"}}]}}
    volumes = [{"name": "a"}, {"name": "b", "secret": {}}, {"name": "c", "projected": {"sources": [token, names]}}]

    pod = _admitted(containers=[container], volumes=volumes, automountServiceAccountToken=False)

    made = pod["spec"]["containers"][0]
    assert made["env"][0]["valueFrom"]["fieldRef"]["apiVersion"] == "v1"
    assert made["resources"]["requests"] == {"cpu": "100m", "memory": "1Gi"}
    assert made["readinessProbe"]["httpGet"] == {"port": 80, "path": "/", "scheme": "HTTP"}
    assert made["livenessProbe"]["periodSeconds"] == 3
    assert made["livenessProbe"]["failureThreshold"] == 3
    first, second, third = pod["spec"]["volumes"]
    assert first["emptyDir"] == {}
    assert second["secret"]["defaultMode"] == 420
    assert third["projected"]["sources"][0]["serviceAccountToken"]["expirationSeconds"] == 3600
    assert third["projected"]["sources"][1]["downwardAPI"]["items"][0]["fieldRef"]["apiVersion"] == "v1"
