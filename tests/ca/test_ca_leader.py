"""The election against an API server that goes silent; what it does with one that answers: tests/cluster."""

import socket
from typing import Any

import pytest
from kubernetes.client import Configuration

from ca.controller.kubernetes import TimedClient
from ca.controller.leader import lead
from ca.errors import UnavailableError
from ca.kubeconfig import load_configuration
from contract.names import CONTROLLER_NAME
from lab.sandbox.apiserver.standalone import StandaloneServer

HELD_BY_NOBODY: dict[str, Any] = {
    "apiVersion": "coordination.k8s.io/v1",
    "kind": "Lease",
    "metadata": {"name": CONTROLLER_NAME, "namespace": "podtls-system"},
    "spec": {},
}


def test_candidate_gives_up_on_a_server_that_accepts_and_says_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        configuration = Configuration(host=f"https://127.0.0.1:{silent.getsockname()[1]}")

        with pytest.raises(
            UnavailableError, match=f"^Lease {CONTROLLER_NAME}: the API server does not answer: MaxRetryError$"
        ):
            lead(TimedClient(configuration, timeout=(0.2, 0.2)), "podtls-system", "a", never)


@pytest.mark.parametrize(
    ("method", "lease", "error"),
    [
        pytest.param("GET", None, "MaxRetryError", id="read"),
        pytest.param("POST", None, "ReadTimeoutError", id="create"),
        pytest.param("PUT", HELD_BY_NOBODY, "MaxRetryError", id="replace"),
    ],
)
def test_every_request_for_the_lease_ends_without_an_answer(
    method: str, lease: dict[str, Any] | None, error: str, server: StandaloneServer
) -> None:
    configuration = load_configuration(str(server.write_kubeconfig()))
    if lease is not None:
        server.api.store.create(lease)
    server.listener.faults.held_method = method
    server.listener.faults.released.clear()

    with pytest.raises(UnavailableError, match=f"^Lease {CONTROLLER_NAME}: the API server does not answer: {error}$"):
        lead(TimedClient(configuration, timeout=(5, 0.5)), "podtls-system", "a", never)

    assert server.listener.requests[-1].method == method


def never() -> None:
    """The work of a leader, which nobody here becomes."""
    pytest.fail("it leads")
