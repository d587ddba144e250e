"""Fixtures of the CA's tests: a real authority, a cluster that behaves, a real evidence log, the app before them."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from flask.testing import FlaskClient

from audit.log import EvidenceLog
from ca.api import kube
from ca.api.app import create_app
from ca.authority import creation
from ca.authority.authority import Authority, load_authority
from ca.settings import Settings
from contract.names import AUDIENCE, HEADER_SOURCE
from lab.sandbox.apiserver.standalone import StandaloneServer, serve_alone
from tests.ca.world import (
    ADDRESS,
    NOW,
    TRUST_DOMAIN,
    body_of,
    create_token,
    fill_cluster,
    pod_object,
    request_der,
    service_object,
    user_of,
)
from tests.fakes import FakeCluster


@pytest.fixture(scope="session")
def authority_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `podtls-ca create` makes, for the tests' time."""
    directory = tmp_path_factory.mktemp("authority") / "made"
    creation.save_authority(creation.create_authority(TRUST_DOMAIN, "cluster.local", NOW), directory)
    return directory


@pytest.fixture(scope="session")
def authority(authority_directory: Path) -> Authority:
    """The issuing CA of most tests."""
    return load_authority(authority_directory / "issuing")


@pytest.fixture
def key() -> ec.EllipticCurvePrivateKey:
    """A pod's key."""
    return ec.generate_private_key(ec.SECP256R1())


@pytest.fixture
def cluster() -> FakeCluster:
    """One injected pod, and one Service that selects it."""
    pod = pod_object()
    return FakeCluster(
        pods={("shop", "payments-1"): pod}, service_objects=[service_object("payments", {"app": "payments"})]
    )


@pytest.fixture
def server(tmp_path: Path) -> Iterator[StandaloneServer]:
    """The stand-in API server with the same pod and Service, over HTTPS."""
    with serve_alone(tmp_path) as running:
        fill_cluster(running.api)
        yield running


@pytest.fixture
def pod_token(server: StandaloneServer) -> str:
    """The token of its pod."""
    return create_token(server.api)


@pytest.fixture
def api(server: StandaloneServer) -> Iterator[kube.KubernetesAPI]:
    """The CA API's own connection to it."""
    connected = kube.connect({"KUBECONFIG": str(server.write_kubeconfig())})
    yield connected
    connected.close()


@pytest.fixture
def token(cluster: FakeCluster) -> str:
    """The token of that pod."""
    return cluster.issue_token(user_of(cluster.pods["shop", "payments-1"]), AUDIENCE)


@pytest.fixture
def log(tmp_path: Path) -> EvidenceLog:
    """An evidence log of its own."""
    return EvidenceLog(tmp_path / "evidence.jsonl")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """The defaults, with the run directory elsewhere."""
    return Settings.from_env({"PODTLS_REPLICA": "podtls-ca-0", "PODTLS_RUN": str(tmp_path / "run")})


@pytest.fixture
def client(settings: Settings, authority: Authority, cluster: FakeCluster, log: EvidenceLog) -> FlaskClient:
    """The CA API, at the tests' time."""
    return create_app(settings, lambda: authority, cluster, log, clock=lambda: NOW).test_client()


@pytest.fixture
def headers(token: str) -> dict[str, str]:
    """What our own client sends, and what the edge proxy adds."""
    return {
        "Authorization": f"Bearer {token}",
        "Content-Type": "application/pkcs10",
        HEADER_SOURCE: ADDRESS,
    }


@pytest.fixture
def body(key: ec.EllipticCurvePrivateKey) -> bytes:
    """A request of the pod's key."""
    return body_of(request_der(key))


@pytest.fixture
def client_with_log(
    settings: Settings, authority: Authority, cluster: FakeCluster
) -> Callable[[EvidenceLog], FlaskClient]:
    """The CA API with another evidence log."""
    return lambda log: create_app(settings, lambda: authority, cluster, log, clock=lambda: NOW).test_client()
