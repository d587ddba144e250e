"""`podtls check` and `podtls status` against a real kube-apiserver, and beside the real webhook, CA and controller."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from contract.names import INJECT, MODE, PATH_NAMES, STATUS
from injector.enroll.https import HTTPRequest
from lab.cluster.cluster import Cluster, kubectl_environment
from lab.cluster.endpoint import give_address, pod_token
from lab.cluster.installation import account_kubeconfig, render
from lab.cluster.launch import running_control_plane
from lab.cluster.podtls_local import Podtls
from lab.cluster.processes import wait_until
from podtls.inject.offline import OfflineWebhook, apply_patches
from tests.cluster.api import Object, create, pod
from tests.cluster.conftest import Namespaces, skip_unless_complete
from tests.podtls.cluster_world import ENFORCE, bundle_of, manifests, new_authority
from webhook.decision import Defaults
from webhook.settings import InjectionSettings, PodSettings

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

LABELS = {"app": "web"}


@pytest.fixture
def fresh() -> Iterator[Cluster]:
    """A cluster of our own, to which nobody has done anything."""
    skip_unless_complete("control-plane")
    with running_control_plane() as cluster:
        yield cluster


def run(cluster: Cluster, *arguments: str, kubeconfig: Path | None = None) -> subprocess.CompletedProcess[str]:
    """The command as an administrator types it."""
    environment = {**os.environ, **kubectl_environment(cluster)}
    if kubeconfig:
        environment["KUBECONFIG"] = str(kubeconfig)
    return subprocess.run(
        [sys.executable, "-m", "podtls", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def findings(cluster: Cluster, *, kubeconfig: Path | None = None) -> tuple[int, dict[str, str]]:
    """The exit code of `podtls check`, and the level of each thing it says."""
    done = run(cluster, "check", "-o", "json", kubeconfig=kubeconfig)
    return done.returncode, {each["what"]: each["level"] for each in json.loads(done.stdout)["findings"]}


def status(cluster: Cluster, *arguments: str) -> Any:
    """What `podtls status` tells."""
    done = run(cluster, "status", "-o", "json", *arguments)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def service(namespace: str, name: str, target: int | str) -> Object:
    spec = {"selector": LABELS, "ports": [{"port": 443, "targetPort": target}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": namespace}, "spec": spec}


def by_hand(injected: Object) -> Object:
    """What somebody writes who wants to look enrolled: a pod that the webhook skips, with all that it would add."""
    metadata = {**{key: injected["metadata"][key] for key in ("labels", "annotations")}, "name": "hand"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {**injected["spec"], "hostNetwork": True}}


def test_check_before_and_right_after_kubectl_apply_and_when_somebody_altered_the_webhook(fresh: Cluster) -> None:
    before, absent = findings(fresh)
    fresh.apply(*render())
    after, applied = findings(fresh)
    entry = [{"op": "replace", "path": "/webhooks/0/failurePolicy", "value": "Ignore"}]
    fresh.kubectl("patch", "mutatingwebhookconfiguration", "podtls", "--type=json", "--patch", json.dumps(entry))
    fresh.kubectl("label", "namespace", "kube-system", "podtls.io/inject=enabled")
    altered, found = findings(fresh)

    assert (before, absent.get("not installed")) == (0, "warning")
    assert set(absent.values()) == {"ok", "warning"}
    assert after == altered == 1
    # What the API server defaults and reorders is not taken for a change.
    assert applied["MutatingWebhookConfiguration podtls has its 6 entries, as shipped"] == "ok"
    assert applied["ConfigMap podtls-bundle is missing: there is no authority yet, no pod can start"] == "problem"
    assert applied["ValidatingWebhookConfiguration podtls has its 6 entries, as shipped"] == "ok"
    assert applied["StatefulSet podtls-ca: 0 of 2 ready: no enrolled pod can start, and no certificate is renewed"]
    assert [what for what in applied if what.startswith("podtls-ca cannot be reached through the API server: 503")]
    assert [level for what, level in applied.items() if what.endswith("roles and bindings are as shipped")] == ["ok"]
    assert found["entry mtls-port.podtls.io: failurePolicy is Ignore, shipped is Fail"] == "problem"
    assert (
        found["kube-system: is labelled, but never enrolled: the system's namespaces and podtls's own are excluded"]
        == "warning"
    )


def test_check_after_somebody_damaged_roles_and_warnings_and_took_the_policy_away(fresh: Cluster) -> None:
    fresh.apply(*render())
    labels = {INJECT: "enabled", "podtls.io/enforce": "true"}
    enforced, plain = (
        fresh.create_namespace("bank", labels),
        fresh.create_namespace("plain", {"podtls.io/enforce": "true"}),
    )
    _, absent = findings(fresh)
    fresh.apply(*manifests(ENFORCE))
    _, enforcing = findings(fresh)
    fresh.kubectl("patch", "clusterrole", "podtls-ca", "--type=merge", "--patch", json.dumps({"rules": []}))
    entry = [{"op": "replace", "path": "/webhooks/0/failurePolicy", "value": "Fail"}]
    fresh.kubectl("patch", "validatingwebhookconfiguration", "podtls", "--type=json", "--patch", json.dumps(entry))
    _, damaged = findings(fresh)

    names = ", ".join(sorted((enforced, plain)))
    missing = "ValidatingAdmissionPolicy and ValidatingAdmissionPolicyBinding podtls-enforce is missing"
    assert absent[f"{names}: has podtls.io/enforce=true, but {missing}: nothing is enforced"] == "problem"
    assert [
        level for what, level in enforcing.items() if what.startswith(f"{plain}: has podtls.io/enforce=true, but is")
    ]
    assert enforcing[f"enforced: {names}"] == "ok"
    lost = "create events, create tokenreviews.authentication.k8s.io, get pods, list services"
    assert damaged[f"ClusterRole podtls-ca does not grant what is shipped: {lost}"] == "problem"
    refusing = "failurePolicy is Fail, shipped is Ignore: workloads may be refused"
    assert damaged[f"entry mtls-port.warn.podtls.io: {refusing}"] == "problem"


def test_check_sees_what_the_controller_has_published_and_that_the_api_server_trusts_it(podtls: Podtls) -> None:
    _, found = findings(podtls.cluster)

    assert found["the trust bundle has 1 root(s)"] == "ok"
    assert found["caBundle of every entry is the trust bundle"] == "ok"
    assert found["this machine's clock and the API server's agree"] == "ok"
    assert [level for what, level in found.items() if what.startswith('root "podtls root ')] == ["ok"]


def test_check_by_somebody_without_rights_says_what_was_not_checked(podtls: Podtls, tmp_path: Path) -> None:
    nobody = account_kubeconfig(podtls.cluster, "podtls-webhook", tmp_path / "nobody")

    code, found = findings(podtls.cluster, kubeconfig=nobody)

    assert code == 1
    denied = {what for what, level in found.items() if level == "problem"}
    assert all(what.startswith("you may not ") and what.endswith(": not checked") for what in denied)
    assert "you may not list namespaces: not checked" in denied
    assert "you may not get services/https:podtls-ca:https --subresource=proxy -n podtls-system: not checked" in denied


def test_status_of_an_enrolled_pod_has_the_names_that_the_real_ca_decides(podtls: Podtls, enrolled: Namespaces) -> None:
    cluster, namespace = podtls.cluster, enrolled()
    cluster.apply(service(namespace, "web", "podtls"), service(namespace, "plain", 8080))
    stored = create(cluster, namespace, pod(metadata={"labels": LABELS}))
    give_address(cluster, namespace, "web")
    token = pod_token(cluster, namespace, "web")

    names = json.loads(podtls.endpoint("ca")(HTTPRequest("GET", PATH_NAMES, token=token)).body)
    found = status(cluster, "-n", namespace)

    (told,) = found["enrolled"]
    assert f"web.{namespace}.svc" in names["dns"]
    assert (told["dns"], told["identity"]) == (names["dns"], names["uri"])
    assert told["record"] == json.loads(stored["metadata"]["annotations"][STATUS])["record"]
    assert (told["mode"], told["ports"], told["trust"]) == ("mtls", "8443=8080", "current")
    (bypassing,) = found["plaintext"]
    assert (bypassing["service"], bypassing["do"]) == ("plain", "set targetPort: podtls")


def test_status_says_why_pods_are_not_enrolled(podtls: Podtls) -> None:
    cluster = podtls.cluster
    namespace = cluster.create_namespace("late")
    create(cluster, namespace, pod("old"))
    unlabelled = status(cluster, "-n", namespace)["plain"]
    cluster.kubectl("label", "namespace", namespace, f"{INJECT}=enabled")
    stored = create(cluster, namespace, pod("new", automountServiceAccountToken=False))
    create(cluster, namespace, pod("out", metadata={"labels": {INJECT: "disabled"}}))
    create(cluster, namespace, pod("host", ports=(), hostNetwork=True))
    create(cluster, namespace, by_hand(stored))

    found = status(cluster)

    cluster.kubectl("delete", "namespace", namespace, "--wait=false")
    reasons = {each["name"]: each["reason"] for each in found["plain"] if each["namespace"] == namespace}
    assert [each["reason"] for each in unlabelled] == ["its namespace is not enrolled"]
    assert reasons == {
        "old": "older than the namespace's label",
        "out": "label podtls.io/inject=disabled opts out",
        "host": "hostNetwork pods share the node's ports and addresses",
        "hand": "hostNetwork pods share the node's ports and addresses; "
        "its containers named podtls-... are not the webhook's",
    }
    assert [each["name"] for each in found["enrolled"] if each["namespace"] == namespace] == ["new"]


def test_status_tells_what_a_replicaset_was_refused_with(podtls: Podtls, enrolled: Namespaces) -> None:
    cluster, namespace = podtls.cluster, enrolled()
    template = {"metadata": {"labels": LABELS, "annotations": {MODE: "plaintext"}}, "spec": pod()["spec"]}
    spec = {"selector": {"matchLabels": LABELS}, "template": template}
    metadata = {"name": "web", "namespace": namespace}
    cluster.apply({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec})

    wait_until("the ReplicaSet has tried", lambda: bool(status(cluster, "-n", namespace)["failed"]), seconds=30)

    (told,) = status(cluster, "-n", namespace)["failed"]
    assert told["owner"].startswith("ReplicaSet/web-")
    assert "annotation podtls.io/mode: 'plaintext' is not allowed" in told["message"]


def test_status_lists_pods_of_a_lost_root_even_where_the_label_is_gone(podtls: Podtls) -> None:
    cluster = podtls.cluster
    namespace = cluster.create_namespace("lost")
    settings = InjectionSettings(PodSettings(image=podtls.init_image), bundle_of(new_authority()))
    raw = pod("survivor", metadata={"namespace": namespace})
    create(
        cluster,
        namespace,
        apply_patches(raw, OfflineWebhook(Defaults("mtls", "port"), settings, namespace).admit(raw, "test")),
    )

    found = status(cluster)
    shown = run(cluster, "status").stdout

    cluster.kubectl("delete", "namespace", namespace, "--wait=false")
    assert [(each["trust"], each["do"]) for each in found["enrolled"] if each["namespace"] == namespace] == [
        ("lost root", "to be recreated (lost root)")
    ]
    (line,) = [line for line in shown.splitlines() if line.startswith(namespace)]
    assert "survivor" in line
    assert "to be recreated (lost root)" in line
