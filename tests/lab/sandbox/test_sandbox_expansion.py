"""What the controllers make of workloads, and what the API server writes into pods before a webhook sees them."""

import copy
import re
from typing import Any

import kubernetes_validate

from lab.sandbox.apiserver.controllers import expand
from lab.sandbox.apiserver.defaults import admit_in_tree, set_defaults

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
