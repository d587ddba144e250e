"""RBAC as written is all that our ServiceAccounts have, and none of it can be left out: each verb's loss is felt."""

import copy
import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from ca import kube
from ca.control_plane import KubernetesControlPlane, election
from ca.controller import ISSUING_SECRET, ROOT_SECRET, Outcome, reconcile
from ca.errors import UnavailableError as ControllerError
from ca.events import REASON
from ca.identity import TrustDomain
from injector import certificate, est
from injector.errors import RefusedError, UnavailableError
from tests.cluster.api import Object, create, pod
from tests.cluster.cluster import Cluster
from tests.cluster.conftest import Namespaces, skip_unless_complete
from tests.cluster.door import give_address, pod_token
from tests.cluster.errors import KubectlError
from tests.cluster.installation import NAMESPACE, account_kubeconfig, find, render
from tests.cluster.launch import running_control_plane
from tests.cluster.podtls_local import Podtls, prepared
from tests.cluster.processes import wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

CONTROLLER = f"system:serviceaccount:{NAMESPACE}:podtls-controller"
CA = f"system:serviceaccount:{NAMESPACE}:podtls-ca"


def grants(account: str) -> list[tuple[str, str, str]]:
    """(kind of role, resource, verb): everything that the manifests give an account."""
    kinds = ("Role", "ClusterRole")
    roles = [each for each in render() if each["kind"] in kinds and each["metadata"]["name"] == account]
    return sorted(
        {
            (role["kind"], resource, verb)
            for role in roles
            for rule in role["rules"]
            for resource in rule["resources"]
            for verb in rule["verbs"]
        }
    )


def test_our_accounts_may_do_what_the_manifests_say_and_no_more(podtls: Podtls) -> None:
    nobody = listed(podtls.cluster, f"system:serviceaccount:{NAMESPACE}:default")

    assert listed(podtls.cluster, f"system:serviceaccount:{NAMESPACE}:podtls-webhook") == nobody
    assert listed(podtls.cluster, CA) - nobody == {
        "tokenreviews.authentication.k8s.io [] [] [create]",
        "pods [] [] [get]",
        "services [] [] [list]",
        "events [] [] [create]",
    }
    assert listed(podtls.cluster, CONTROLLER) - nobody == {
        "configmaps [] [] [create]",
        "secrets [] [] [create]",
        "secrets [] [podtls-root] [get update]",
        "secrets [] [podtls-issuing] [get update]",
        "configmaps [] [podtls-bundle] [get patch]",
        "leases.coordination.k8s.io [] [] [create]",
        "leases.coordination.k8s.io [] [podtls-controller] [get update]",
        "mutatingwebhookconfigurations.admissionregistration.k8s.io [] [podtls] [get patch]",
        "validatingwebhookconfigurations.admissionregistration.k8s.io [] [podtls] [get patch]",
    }


def listed(cluster: Cluster, user: str) -> set[str]:
    table = cluster.kubectl("auth", "can-i", "--list", f"--as={user}", "-n", NAMESPACE)
    return {re.sub(r"\s+", " ", line).strip() for line in table.splitlines()[1:]}


# --- the CA, in the cluster where it works ---------------------------------------------------------------------------

CA_FEELS = {
    ("ClusterRole", "tokenreviews", "create"): "the API server answers 403 when asked for a TokenReview",
    ("ClusterRole", "pods", "get"): "the API server answers 403 when asked for a Pod",
    ("ClusterRole", "services", "list"): "the API server answers 403 when asked for Services",
}


@pytest.mark.parametrize("grant", CA_FEELS, ids=" ".join)
def test_ca_signs_nothing_without(podtls: Podtls, enrolled: Namespaces, grant: tuple[str, str, str]) -> None:
    namespace = enrolled()
    create(podtls.cluster, namespace, pod())
    give_address(podtls.cluster, namespace, "web")
    token = pod_token(podtls.cluster, namespace, "web")

    with without(podtls.cluster, grant, "podtls-ca", CA), pytest.raises(UnavailableError) as felt:
        enroll(podtls, token)

    assert str(felt.value) == f"the CA answered 503: podtls: {CA_FEELS[grant]}"
    assert enroll(podtls, token)


TELLS = ("ClusterRole", "events", "create")


def test_refusal_is_told_as_an_event_and_stands_without_that_verb_too(podtls: Podtls) -> None:
    told, untold = (refused_pod(podtls) for _ in range(2))

    with pytest.raises(RefusedError) as first:
        enroll(podtls, pod_token(podtls.cluster, told, "web"))
    with without(podtls.cluster, TELLS, "podtls-ca", CA), pytest.raises(RefusedError) as second:
        enroll(podtls, pod_token(podtls.cluster, untold, "web"))

    # It is posted after the answer.
    wait_until("the Event is there", lambda: bool(events(podtls.cluster, told)))
    (event,) = events(podtls.cluster, told)
    assert (event["involvedObject"]["name"], event["type"]) == ("web", "Warning")
    assert str(first.value) == f"the CA answered 403: podtls: {event['message']}"
    assert str(second.value) == str(first.value).replace(told, untold)
    assert events(podtls.cluster, untold) == []


def refused_pod(podtls: Podtls) -> str:
    """A namespace with a pod that nobody injected."""
    namespace = podtls.cluster.create_namespace("plain")
    create(podtls.cluster, namespace, pod())
    give_address(podtls.cluster, namespace, "web")
    return namespace


def events(cluster: Cluster, namespace: str) -> list[Object]:
    found = cluster.get("events", "-n", namespace)["items"]
    return [event for event in found if event["reason"] == REASON]


def enroll(podtls: Podtls, token: str) -> certificate.Chain:
    request = certificate.make_request(certificate.make_key())
    return est.enroll(podtls.door("ca"), request, token=token, deadline=time.monotonic() + 20)


# --- the controller, in a cluster of its own where nothing runs -------------------------------------------------------


@pytest.fixture(scope="module")
def quiet(request: pytest.FixtureRequest) -> Iterator[Podtls]:
    skip_unless_complete("control-plane")
    with running_control_plane(keep_logs=lambda: request.session.testsfailed > 0) as cluster:
        yield prepared(cluster)


@pytest.fixture
def controller(quiet: Podtls) -> KubernetesControlPlane:
    """The controller's hands, with its own token."""
    return KubernetesControlPlane(configuration(quiet), NAMESPACE)


def configuration(quiet: Podtls) -> Any:
    path = account_kubeconfig(quiet.cluster, "podtls-controller", quiet.folder / "podtls-controller.kubeconfig")
    return kube.configuration({"KUBECONFIG": str(path)})


def forget(quiet: Podtls) -> None:
    """As it was before the first controller."""
    names = [f"secret/{ROOT_SECRET}", f"secret/{ISSUING_SECRET}", "configmap/podtls-bundle", "lease/podtls-controller"]
    quiet.cluster.kubectl("delete", *names, "-n", NAMESPACE, "--ignore-not-found")


def does_a_round(_: Podtls, hands: KubernetesControlPlane) -> Outcome:
    return reconcile(hands, TrustDomain("cluster.local"), "cluster.local", datetime.now(UTC))


def renews_the_issuing_ca(quiet: Podtls, hands: KubernetesControlPlane) -> None:
    quiet.cluster.kubectl("create", "secret", "generic", ISSUING_SECRET, "--type=kubernetes.io/tls", "-n", NAMESPACE,
                          "--from-literal=tls.crt=", "--from-literal=tls.key=")  # fmt: skip
    found = quiet.cluster.get("secret", ISSUING_SECRET, "-n", NAMESPACE)
    hands.replace_secret(ISSUING_SECRET, {"tls.crt": b"", "tls.key": b""}, version=found["metadata"]["resourceVersion"])


def is_elected(quiet: Podtls, _: KubernetesControlPlane) -> None:
    candidate = election(configuration(quiet), NAMESPACE, "podtls-controller-a", lambda: None)
    for _round in range(2):
        if not candidate.try_acquire_or_renew():  # type: ignore[no-untyped-call]
            raise ControllerError("the Lease cannot be had")


FORBIDDEN = "the API server answers 403 Forbidden"
MUTATING, VALIDATING = "MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"
Part = Callable[[Podtls, KubernetesControlPlane], object]
CONTROLLER_FEELS: dict[tuple[str, str, str], tuple[Part, str]] = {
    ("Role", "secrets", "create"): (does_a_round, f"creating Secret {ROOT_SECRET}: {FORBIDDEN}"),
    ("Role", "secrets", "get"): (does_a_round, f"Secret {ROOT_SECRET}: {FORBIDDEN}"),
    ("Role", "secrets", "update"): (renews_the_issuing_ca, f"replacing Secret {ISSUING_SECRET}: {FORBIDDEN}"),
    ("Role", "configmaps", "create"): (does_a_round, f"ConfigMap podtls-bundle: {FORBIDDEN}"),
    ("Role", "configmaps", "get"): (does_a_round, f"ConfigMap podtls-bundle: {FORBIDDEN}"),
    ("Role", "configmaps", "patch"): (does_a_round, f"ConfigMap podtls-bundle: {FORBIDDEN}"),
    ("Role", "leases", "create"): (is_elected, "the Lease cannot be had"),
    ("Role", "leases", "get"): (is_elected, "the Lease cannot be had"),
    ("Role", "leases", "update"): (is_elected, "the Lease cannot be had"),
    **{
        ("ClusterRole", f"{kind.lower()}s", verb): (does_a_round, f"{kind} podtls: {FORBIDDEN}")
        for kind in (MUTATING, VALIDATING)
        for verb in ("get", "patch")
    },
}


@pytest.mark.parametrize("grant", CONTROLLER_FEELS, ids=" ".join)
def test_controller_cannot_do_without(
    quiet: Podtls, controller: KubernetesControlPlane, grant: tuple[str, str, str]
) -> None:
    part, said = CONTROLLER_FEELS[grant]
    forget(quiet)

    with without(quiet.cluster, grant, "podtls-controller", CONTROLLER), pytest.raises(ControllerError) as felt:
        part(quiet, controller)

    assert str(felt.value) == said
    forget(quiet)
    part(quiet, controller)


def test_round_that_finds_all_as_it_must_be_writes_nothing(quiet: Podtls, controller: KubernetesControlPlane) -> None:
    writes = [grant for grant in CONTROLLER_FEELS if grant[1] != "leases" and grant[2] != "get"]
    first = does_a_round(quiet, controller)

    for grant in writes:
        with without(quiet.cluster, grant, "podtls-controller", CONTROLLER):
            assert does_a_round(quiet, controller) == first


def test_every_grant_of_the_manifests_is_in_one_of_these_tables() -> None:
    assert grants("podtls-ca") == sorted([*CA_FEELS, TELLS])
    assert grants("podtls-controller") == sorted(CONTROLLER_FEELS)


@contextmanager
def without(cluster: Cluster, grant: tuple[str, str, str], role: str, user: str) -> Iterator[None]:
    """The role without one verb on one resource, for as long as the block lasts, as the authorizer sees it."""
    kind, resource, verb = grant
    written = find(render(), kind, role)
    # What the authorizer is asked: a verb may be bound to names, then it is about one of them.
    rules = [rule for rule in written["rules"] if resource in rule["resources"] and verb in rule["verbs"]]
    name = rules[0].get("resourceNames", [""])[0]
    question = ["auth", "can-i", verb, f"{resource}/{name}".rstrip("/"), f"--as={user}", "-n", NAMESPACE, "--quiet"]
    replace(cluster, changed(written, resource, verb))
    wait_until(f"{user} may not {verb} {resource}", lambda: not succeeds(cluster, question))
    try:
        yield
    finally:
        replace(cluster, written)
        wait_until(f"{user} may {verb} {resource}", lambda: succeeds(cluster, question))


def changed(role: Object, resource: str, verb: str) -> Object:
    copied = copy.deepcopy(role)
    rules = []
    for rule in copied["rules"]:
        others = [each for each in rule["resources"] if each != resource]
        verbs = [each for each in rule["verbs"] if each != verb]
        rules += [{**rule, "resources": others}] if others else []
        rules += [{**rule, "resources": [resource], "verbs": verbs}] if others != rule["resources"] and verbs else []
    return {**copied, "rules": rules}


def replace(cluster: Cluster, role: Object) -> None:
    cluster.kubectl("replace", "-f", "-", input=json.dumps(role))


def succeeds(cluster: Cluster, question: list[str]) -> bool:
    try:
        cluster.kubectl(*question)
    except KubectlError:
        return False
    return True
