"""The CA API with real tokens: kube-apiserver makes them, reviews them, and shows the pods they are bound to."""

import time
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography import x509

from contract.names import AUDIENCE
from injector.enroll import certificate, est
from injector.errors import RefusedError, TokenRefusedError, UnavailableError
from lab.cluster.endpoint import give_address, pod_token
from lab.cluster.podtls_local import Podtls
from tests.cluster.api import create, pod
from tests.cluster.conftest import Namespaces

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]


@pytest.fixture
def namespace(podtls: Podtls, enrolled: Namespaces) -> str:
    """An enrolled namespace with one injected pod `web`, whose address is where this test asks from."""
    name = enrolled()
    create(podtls.cluster, name, pod(metadata={"labels": {"app": "web"}}, terminationGracePeriodSeconds=0))
    give_address(podtls.cluster, name, "web")
    return name


def enroll(podtls: Podtls, token: str) -> certificate.Chain:
    request = certificate.make_request(certificate.make_key())
    return est.enroll(podtls.endpoint("ca"), request, token=token, deadline=time.monotonic() + 20)


def sans(leaf: x509.Certificate) -> tuple[list[str], list[str]]:
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return names.get_values_for_type(x509.DNSName), names.get_values_for_type(x509.UniformResourceIdentifier)


def last_record(podtls: Podtls) -> Any:
    return podtls.records("ca")[-1]


def test_injected_pod_gets_a_certificate_whose_record_names_its_patch(podtls: Podtls, namespace: str) -> None:
    chain = enroll(podtls, pod_token(podtls.cluster, namespace, "web"))

    metadata = podtls.cluster.get("pod", "web", "-n", namespace)["metadata"]
    (patch,) = [each for each in podtls.records("webhook") if each["namespace"] == namespace]
    evidence = last_record(podtls)
    assert sans(chain[0])[1] == [f"spiffe://cluster.local/ns/{namespace}/sa/default"]
    assert (evidence["decision"], evidence["serial"]) == ("issue", f"{chain[0].serial_number:x}")
    assert (evidence["podUid"], evidence["patchRecord"]) == (metadata["uid"], patch["id"])
    assert evidence["tokenId"].startswith("JTI=")


def test_names_follow_the_services_that_choose_the_pod(podtls: Podtls, namespace: str) -> None:
    token = pod_token(podtls.cluster, namespace, "web")
    before = sans(enroll(podtls, token)[0])[0]
    metadata = {"name": "shop", "namespace": namespace}
    spec: dict[str, Any] = {"selector": {"app": "web"}, "ports": [{"port": 443, "targetPort": "podtls"}]}

    podtls.cluster.apply({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec})
    added = sans(enroll(podtls, token)[0])[0]
    asked = est.fetch_names(podtls.endpoint("ca"), token=token, deadline=time.monotonic() + 20)
    podtls.cluster.kubectl("delete", "service", "shop", "-n", namespace)
    after = sans(enroll(podtls, token)[0])[0]

    assert set(added) - set(before) == {f"shop.{namespace}.svc", f"shop.{namespace}.svc.cluster.local"}
    assert asked.dns == set(added)
    assert after == before


def test_token_of_another_audience_is_unknown_here(podtls: Podtls, namespace: str) -> None:
    token = pod_token(podtls.cluster, namespace, "web", audience="somebody-else")

    with pytest.raises(TokenRefusedError, match=r"^the CA answered 401 \(the pod's token is not accepted\)$"):
        enroll(podtls, token)


def test_token_for_the_api_server_itself_is_unknown_here(podtls: Podtls, namespace: str) -> None:
    token = podtls.cluster.kubectl("create", "token", "default", "-n", namespace).strip()

    with pytest.raises(TokenRefusedError, match="the CA answered 401"):
        enroll(podtls, token)


def test_token_that_is_bound_to_no_pod_is_refused_and_recorded(podtls: Podtls, namespace: str) -> None:
    audience = f"--audience={AUDIENCE}"
    token = podtls.cluster.kubectl("create", "token", "default", "-n", namespace, audience).strip()

    with pytest.raises(RefusedError, match="403: podtls: the token is not bound to a pod: pod-name is missing"):
        enroll(podtls, token)

    evidence = last_record(podtls)
    assert (evidence["decision"], evidence["namespace"]) == ("refuse", namespace)
    assert evidence["reason"] == "the token is not bound to a pod: pod-name is missing"


# The API server remembers for ten seconds whose token it was; then the pod itself, asked for each time, tells the door.
GONE = r"^the CA answered (403: podtls: pod {}/web {}|401 \(the pod's token is not accepted\))$"


def test_token_of_a_deleted_pod_is_refused(podtls: Podtls, namespace: str) -> None:
    token = pod_token(podtls.cluster, namespace, "web")
    enroll(podtls, token)

    podtls.cluster.kubectl("delete", "pod", "web", "-n", namespace)

    with pytest.raises(RefusedError, match=GONE.format(namespace, "is gone")):
        enroll(podtls, token)


def test_token_of_a_deleted_pod_is_of_no_use_for_its_namesake(podtls: Podtls, namespace: str) -> None:
    token = pod_token(podtls.cluster, namespace, "web")
    enroll(podtls, token)

    podtls.cluster.kubectl("delete", "pod", "web", "-n", namespace)
    create(podtls.cluster, namespace, pod())
    give_address(podtls.cluster, namespace, "web")

    with pytest.raises(RefusedError, match=GONE.format(namespace, "is another one than the token's: the uid differs")):
        enroll(podtls, token)


def test_token_that_was_never_used_before_its_pod_was_deleted_is_unknown(podtls: Podtls, namespace: str) -> None:
    token = pod_token(podtls.cluster, namespace, "web")

    podtls.cluster.kubectl("delete", "pod", "web", "-n", namespace)

    with pytest.raises(TokenRefusedError, match="the CA answered 401"):
        enroll(podtls, token)


@pytest.fixture
def plain(podtls: Podtls) -> Iterator[str]:
    name = podtls.cluster.create_namespace("plain")
    yield name
    podtls.cluster.kubectl("delete", "namespace", name, "--wait=false")


def test_pod_that_is_not_injected_is_refused(podtls: Podtls, plain: str) -> None:
    create(podtls.cluster, plain, pod())
    give_address(podtls.cluster, plain, "web")

    with pytest.raises(RefusedError, match=r"is not injected: no label podtls\.io/injected"):
        enroll(podtls, pod_token(podtls.cluster, plain, "web"))


def test_request_from_an_address_that_is_not_the_pods_waits_for_the_api_server(podtls: Podtls, namespace: str) -> None:
    give_address(podtls.cluster, namespace, "web", "10.1.2.3")

    with pytest.raises(UnavailableError, match=r"202: .*source address 127\.0\.0\.1 is not the pod's, .*10\.1\.2\.3"):
        enroll(podtls, pod_token(podtls.cluster, namespace, "web"))


def test_certificate_of_the_webhook_came_from_this_ca(podtls: Podtls) -> None:
    (evidence,) = [each for each in podtls.records("ca") if each["pod"] == "podtls-webhook-0"]

    assert evidence["spiffeId"] == "spiffe://cluster.local/ns/podtls-system/sa/podtls-webhook"
    assert "podtls-webhook.podtls-system.svc" in evidence["dns"]
