"""RBAC as written is all that our ServiceAccounts have, and none of it can be left out: each verb's loss is felt."""

import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import NamedTuple

import pytest

from ca.api.events import REASON
from ca.controller.kubernetes import KubernetesControlPlane, TimedClient
from ca.controller.leader import create_candidate
from ca.controller.reconcile import Outcome, reconcile_authority
from ca.errors import UnavailableError as ControllerError
from ca.kubeconfig import load_configuration
from contract.identity import TrustDomain
from contract.names import (
    BUNDLE_CONFIG_MAP,
    CONTROLLER_NAME,
    ISSUING_SECRET,
    ROOT_SECRET,
    WEBHOOK_CONFIGURATION,
)
from injector.enroll import certificate, est
from injector.errors import RefusedError, UnavailableError
from lab.cluster.cluster import Cluster
from lab.cluster.endpoint import give_address, pod_token
from lab.cluster.errors import KubectlError
from lab.cluster.installation import NAMESPACE, account_kubeconfig, find, render
from lab.cluster.launch import running_control_plane
from lab.cluster.podtls_local import Podtls, prepared
from lab.cluster.processes import wait_until
from tests.cluster.api import Object, create, pod
from tests.cluster.conftest import Namespaces, skip_unless_complete

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

CONTROLLER = f"system:serviceaccount:{NAMESPACE}:podtls-controller"
CA = f"system:serviceaccount:{NAMESPACE}:podtls-ca"


class Grant(NamedTuple):
    """One thing that a role allows: a verb on a resource; `name` is the only object that it is for, empty: all."""

    role: str
    resource: str
    verb: str
    name: str = ""

    def __str__(self) -> str:
        return " ".join(filter(None, self))


def grants(account: str) -> list[Grant]:
    """Everything that the manifests give an account."""
    kinds = ("Role", "ClusterRole")
    roles = [each for each in render() if each["kind"] in kinds and each["metadata"]["name"] == account]
    return sorted(
        {
            Grant(role["kind"], resource, verb, name)
            for role in roles
            for rule in role["rules"]
            for resource in rule["resources"]
            for verb in rule["verbs"]
            for name in rule.get("resourceNames", [""])
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
        "secrets [] [podtls-root] [get]",
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
    Grant("ClusterRole", "tokenreviews", "create"): "the API server answers 403 when asked for a TokenReview",
    Grant("ClusterRole", "pods", "get"): "the API server answers 403 when asked for a Pod",
    Grant("ClusterRole", "services", "list"): "the API server answers 403 when asked for Services",
}


@pytest.mark.parametrize("grant", CA_FEELS, ids=str)
def test_ca_signs_nothing_without(podtls: Podtls, enrolled: Namespaces, grant: Grant) -> None:
    namespace = enrolled()
    create(podtls.cluster, namespace, pod())
    give_address(podtls.cluster, namespace, "web")
    token = pod_token(podtls.cluster, namespace, "web")

    with without(podtls.cluster, grant, "podtls-ca", CA), pytest.raises(UnavailableError) as felt:
        enroll(podtls, token)

    assert str(felt.value) == f"the CA answered 503: podtls: {CA_FEELS[grant]}"
    assert enroll(podtls, token)


TELLS = Grant("ClusterRole", "events", "create")


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
    return est.enroll(podtls.endpoint("ca"), request, token=token, deadline=time.monotonic() + 20)


# --- the controller, in a cluster of its own where nothing runs -------------------------------------------------------


@pytest.fixture(scope="module")
def quiet(request: pytest.FixtureRequest) -> Iterator[Podtls]:
    skip_unless_complete("control-plane")
    with running_control_plane(keep_logs=lambda: request.session.testsfailed > 0) as cluster:
        yield prepared(cluster)


@pytest.fixture
def controller(quiet: Podtls) -> KubernetesControlPlane:
    """The controller's hands, with its own token."""
    return KubernetesControlPlane(client_of(quiet), NAMESPACE)


def client_of(quiet: Podtls) -> TimedClient:
    path = account_kubeconfig(quiet.cluster, "podtls-controller", quiet.folder / "podtls-controller.kubeconfig")
    return TimedClient(load_configuration(str(path)))


def forget(quiet: Podtls) -> None:
    """As it was before the first controller."""
    names = [f"secret/{ROOT_SECRET}", f"secret/{ISSUING_SECRET}", "configmap/podtls-bundle", "lease/podtls-controller"]
    quiet.cluster.kubectl("delete", *names, "-n", NAMESPACE, "--ignore-not-found")


def does_a_round(_: Podtls, hands: KubernetesControlPlane) -> Outcome:
    return reconcile_authority(hands, TrustDomain("cluster.local"), "cluster.local", datetime.now(UTC))


def renews_the_issuing_ca(quiet: Podtls, hands: KubernetesControlPlane) -> None:
    quiet.cluster.kubectl("create", "secret", "generic", ISSUING_SECRET, "--type=kubernetes.io/tls", "-n", NAMESPACE,
                          "--from-literal=tls.crt=", "--from-literal=tls.key=")  # fmt: skip
    found = quiet.cluster.get("secret", ISSUING_SECRET, "-n", NAMESPACE)
    hands.replace_secret(ISSUING_SECRET, {"tls.crt": b"", "tls.key": b""}, version=found["metadata"]["resourceVersion"])


def is_elected(quiet: Podtls, _: KubernetesControlPlane) -> None:
    candidate = create_candidate(client_of(quiet), NAMESPACE, "podtls-controller-a", lambda: None)
    for _round in range(2):
        if not candidate.try_acquire_or_renew():  # type: ignore[no-untyped-call]
            raise ControllerError("the Lease cannot be had")


FORBIDDEN = "the API server answers 403 Forbidden"
MUTATING, VALIDATING = "MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"
Part = Callable[[Podtls, KubernetesControlPlane], object]
CONTROLLER_FEELS: dict[Grant, tuple[Part, str]] = {
    Grant("Role", "secrets", "create"): (does_a_round, f"creating Secret {ROOT_SECRET}: {FORBIDDEN}"),
    Grant("Role", "secrets", "get", ROOT_SECRET): (does_a_round, f"Secret {ROOT_SECRET}: {FORBIDDEN}"),
    Grant("Role", "secrets", "get", ISSUING_SECRET): (does_a_round, f"Secret {ISSUING_SECRET}: {FORBIDDEN}"),
    Grant("Role", "secrets", "update", ISSUING_SECRET): (
        renews_the_issuing_ca,
        f"replacing Secret {ISSUING_SECRET}: {FORBIDDEN}",
    ),
    Grant("Role", "configmaps", "create"): (does_a_round, f"ConfigMap {BUNDLE_CONFIG_MAP}: {FORBIDDEN}"),
    **{
        Grant("Role", "configmaps", verb, BUNDLE_CONFIG_MAP): (
            does_a_round,
            f"ConfigMap {BUNDLE_CONFIG_MAP}: {FORBIDDEN}",
        )
        for verb in ("get", "patch")
    },
    Grant("Role", "leases", "create"): (is_elected, "the Lease cannot be had"),
    Grant("Role", "leases", "get", CONTROLLER_NAME): (is_elected, "the Lease cannot be had"),
    Grant("Role", "leases", "update", CONTROLLER_NAME): (is_elected, "the Lease cannot be had"),
    **{
        Grant("ClusterRole", f"{kind.lower()}s", verb, WEBHOOK_CONFIGURATION): (
            does_a_round,
            f"{kind} podtls: {FORBIDDEN}",
        )
        for kind in (MUTATING, VALIDATING)
        for verb in ("get", "patch")
    },
}


@pytest.mark.parametrize("grant", CONTROLLER_FEELS, ids=str)
def test_controller_cannot_do_without(quiet: Podtls, controller: KubernetesControlPlane, grant: Grant) -> None:
    part, said = CONTROLLER_FEELS[grant]
    forget(quiet)

    with without(quiet.cluster, grant, "podtls-controller", CONTROLLER), pytest.raises(ControllerError) as felt:
        part(quiet, controller)

    assert str(felt.value) == said
    forget(quiet)
    part(quiet, controller)


def test_round_that_finds_all_as_it_must_be_writes_nothing(quiet: Podtls, controller: KubernetesControlPlane) -> None:
    writes = [grant for grant in CONTROLLER_FEELS if grant.resource != "leases" and grant.verb != "get"]
    first = does_a_round(quiet, controller)

    for grant in writes:
        with without(quiet.cluster, grant, "podtls-controller", CONTROLLER):
            assert does_a_round(quiet, controller) == first


def test_every_grant_of_the_manifests_is_in_one_of_these_tables() -> None:
    assert grants("podtls-ca") == sorted([*CA_FEELS, TELLS])
    assert grants("podtls-controller") == sorted(CONTROLLER_FEELS)


@contextmanager
def without(cluster: Cluster, grant: Grant, role: str, user: str) -> Iterator[None]:
    """The role without one of its grants, for as long as the block lasts, as the authorizer sees it."""
    written = find(render(), grant.role, role)
    thing = f"{grant.resource}/{grant.name}".rstrip("/")
    question = ["auth", "can-i", grant.verb, thing, f"--as={user}", "-n", NAMESPACE, "--quiet"]
    replace(cluster, {**written, "rules": [each for rule in written["rules"] for each in reduced(rule, grant)]})
    wait_until(f"{user} may not {grant.verb} {thing}", lambda: not succeeds(cluster, question))
    try:
        yield
    finally:
        replace(cluster, written)
        wait_until(f"{user} may {grant.verb} {thing}", lambda: succeeds(cluster, question))


def reduced(rule: Object, grant: Grant) -> list[Object]:
    """All that a rule allows but for one grant: a rule for each verb, resource and name."""
    return [
        {
            "apiGroups": rule["apiGroups"],
            "resources": [resource],
            "verbs": [verb],
            "resourceNames": [name] if name else [],
        }
        for resource in rule["resources"]
        for verb in rule["verbs"]
        for name in rule.get("resourceNames", [""])
        if (resource, verb, name) != grant[1:]
    ]


def replace(cluster: Cluster, role: Object) -> None:
    cluster.kubectl("replace", "-f", "-", input=json.dumps(role))


def succeeds(cluster: Cluster, question: list[str]) -> bool:
    try:
        cluster.kubectl(*question)
    except KubectlError:
        return False
    return True
