"""Who plays in the proofs: found in what was applied, whatever a user's file looks like."""

from typing import Any

import kubernetes_validate
import pytest

from contract.names import INJECTED, UPSTREAMS
from lab.demo.peers import (
    LATER,
    Client,
    Server,
    find_client,
    find_server,
    impostor,
    later_service,
)
from lab.sandbox.errors import ManifestError

SERVER = Server("shop", "payments", 443, "payments-1", 8443, {"app": "payments"})


def _pod(name: str = "payments-1", *, injected: bool = True, namespace: str = "shop") -> dict[str, Any]:
    ports = [{"name": "podtls", "containerPort": 8443}, {"name": "podtls-2", "containerPort": 8444}]
    labels = {"app": "payments"} | ({INJECTED: "true"} if injected else {})
    return {
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": {
            "initContainers": [{"name": "podtls-nginx", "ports": ports if injected else []}],
            "containers": [{"name": "app", "ports": [{"name": "http", "containerPort": 8080}]}],
        },
    }


def _client(upstreams: str, name: str = "checkout-1", namespace: str = "shop") -> dict[str, Any]:
    pod = _pod(name, namespace=namespace)
    pod["metadata"]["annotations"] = {UPSTREAMS: upstreams}
    return pod


def _service(target: Any, selector: dict[str, str] | None = None, namespace: str = "shop") -> dict[str, Any]:
    ports = [{"port": 443, "targetPort": target}]
    selector = {"app": "payments"} if selector is None else selector
    return {"metadata": {"name": "payments", "namespace": namespace}, "spec": {"selector": selector, "ports": ports}}


@pytest.mark.parametrize(
    ("target", "tls_port"),
    [
        pytest.param("podtls", 8443, id="by name"),
        pytest.param("podtls-2", 8444, id="by the second name"),
        pytest.param(8444, 8444, id="by number"),
    ],
)
def test_service_that_leads_to_a_tls_port_is_the_server(target: Any, tls_port: int) -> None:
    server = find_server([_service("http"), _service(target)], [_pod()])

    assert (server.pod, server.tls_port, server.service_port) == ("payments-1", tls_port, 443)
    assert server.name == "payments.shop.svc"


@pytest.mark.parametrize(
    ("service", "pod"),
    [
        pytest.param(_service("http"), _pod(), id="it leads to the plaintext port"),
        pytest.param(_service("podtls"), _pod(injected=False), id="the pod is not injected"),
        pytest.param(_service("podtls", {"app": "other"}), _pod(), id="it chooses other pods"),
        pytest.param(_service("podtls", {}), _pod(), id="it chooses none"),
        pytest.param(_service("podtls", namespace="other"), _pod(), id="it is of another namespace"),
    ],
)
def test_no_service_for_a_tls_port_is_refused_with_what_to_write(service: dict[str, Any], pod: dict[str, Any]) -> None:
    with pytest.raises(ManifestError, match="has to say `targetPort: podtls`"):
        find_server([service], [pod])


@pytest.mark.parametrize(
    ("upstreams", "host", "port"),
    [
        pytest.param("payments.shop:80=443", "payments.shop", 80, id="short"),
        pytest.param("other.shop:80,payments.shop.svc:8080", "payments.shop.svc", 8080, id="the second of two"),
        pytest.param("payments:81", "payments", 81, id="of the own namespace"),
        pytest.param("payments.shop.svc.cluster.local:80", "payments.shop.svc.cluster.local", 80, id="in full"),
    ],
)
def test_pod_with_the_service_as_upstream_is_the_client(upstreams: str, host: str, port: int) -> None:
    client = find_client(SERVER, [_pod(), _client(upstreams)])

    assert client == Client("shop", "checkout-1", "app", host, port)


def test_pod_with_other_upstreams_is_no_client() -> None:
    assert find_client(SERVER, [_client("payments.other:80"), _client("payments:80", namespace="other")]) is None


def test_services_of_the_demo_are_what_they_claim_to_be() -> None:
    false, later = impostor(SERVER), later_service(SERVER)

    for service in (false, later):
        kubernetes_validate.validate(service, "1.37", strict=True)
    assert "selector" not in false["spec"]
    assert later["metadata"]["name"] == LATER
    assert later["spec"] == {"selector": {"app": "payments"}, "ports": [{"port": 443, "targetPort": 8443}]}
