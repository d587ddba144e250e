"""kube.py against a real HTTPS server: what is asked, what is believed, what happens when it fails."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import trustme
import yaml

from ca.api import kube
from ca.api.attest import Claim, Rules, SourceAddress, attest_pod
from ca.api.https import ConnectionPool
from ca.errors import ConfigurationError, UnavailableError
from ca.kubeconfig import load_configuration
from contract.names import AUDIENCE
from lab.sandbox.apiserver.standalone import ADMIN_TOKEN, StandaloneServer, serve_alone
from tests.ca.world import ADDRESS, IDENTITY, NOW, TRUST_DOMAIN, service_object


def test_pod_is_attested_over_one_connection_that_is_kept(
    api: kube.KubernetesAPI, server: StandaloneServer, pod_token: str
) -> None:
    claim = Claim(f"Bearer {pod_token}", ADDRESS)

    for _ in range(3):
        assert attest_pod(claim, api, Rules(TRUST_DOMAIN, SourceAddress.REQUIRE), NOW).facts.identity == IDENTITY
        assert [service.metadata.name for service in api.services("shop")] == ["payments"]

    assert server.listener.connections == 1
    assert server.listener.asked()[:3] == [
        ("POST", "/apis/authentication.k8s.io/v1/tokenreviews"),
        ("GET", "/api/v1/namespaces/shop/pods/payments-1"),
        ("GET", "/api/v1/namespaces/shop/services"),
    ]


def test_pod_that_is_gone_is_none(api: kube.KubernetesAPI) -> None:
    assert api.pod("shop", "payments-2") is None


def test_namespace_without_services_has_none(api: kube.KubernetesAPI, server: StandaloneServer) -> None:
    server.listener.faults.garbage = b'{"kind":"ServiceList","items":null}'

    assert api.services("shop") == []


def test_names_in_a_path_are_quoted(api: kube.KubernetesAPI, server: StandaloneServer) -> None:
    assert api.pod("shop", "../../../etc") is None

    assert server.listener.asked() == [("GET", "/api/v1/namespaces/shop/pods/..%2F..%2F..%2Fetc")]


def test_fields_that_nobody_here_knows_do_no_harm(api: kube.KubernetesAPI, server: StandaloneServer) -> None:
    server.api.store.create({"kind": "Service", **service_object("new", {"app": "x"}, fromTheFuture={"a": [1]})})

    assert [service.metadata.name for service in api.services("shop")] == ["payments", "new"]


@pytest.mark.parametrize("status", [401, 403, 429, 500, 503])
def test_answer_that_is_no_success_vouches_for_nobody(
    status: int, api: kube.KubernetesAPI, server: StandaloneServer
) -> None:
    server.listener.faults.status = status

    with pytest.raises(UnavailableError, match=f"the API server answers {status} when asked for a TokenReview"):
        api.review("token", AUDIENCE)

    # A status is not retried here: the pod is told to come back.
    assert len(server.listener.requests) == 1


@pytest.mark.parametrize(
    "garbage",
    [
        pytest.param(b"<html>", id="no JSON"),
        pytest.param(b'{"status": {"authenticated": "yes"}}', id="a string for a bool"),
        pytest.param(b"{}", id="no status"),
        pytest.param(b'{"status": {"user": {"username": "\xff"}}}', id="no UTF-8"),
    ],
)
def test_answer_that_is_no_token_review_vouches_for_nobody(
    garbage: bytes, api: kube.KubernetesAPI, server: StandaloneServer
) -> None:
    server.listener.faults.garbage = garbage

    with pytest.raises(UnavailableError, match="the API server's answer is not a TokenReview"):
        api.review("token", AUDIENCE)


def test_connection_that_was_closed_meanwhile_is_made_anew(
    api: kube.KubernetesAPI, server: StandaloneServer, pod_token: str
) -> None:
    api.services("shop")
    server.listener.faults.cuts = 1

    assert api.review(pod_token, AUDIENCE).status.authenticated
    assert server.listener.connections == 2


def test_server_that_always_closes_is_down(api: kube.KubernetesAPI, server: StandaloneServer) -> None:
    api.services("shop")
    server.listener.faults.cuts = 9

    with pytest.raises(UnavailableError, match="the API server does not answer: RemoteDisconnected"):
        api.review("token", AUDIENCE)

    # Once over the kept connection, once over a new one.
    assert server.listener.faults.cuts == 7


def test_slow_server_is_not_asked_twice(server: StandaloneServer) -> None:
    found = load_configuration(str(server.write_kubeconfig()))
    pool = ConnectionPool(kube.locate_server(found))
    lines = ["GET /api/v1/namespaces/shop/services HTTP/1.1", "Host: x", f"Authorization: Bearer {ADMIN_TOKEN}", "", ""]
    request = "\r\n".join(lines).encode()
    assert pool.exchange(request).status == 200
    server.listener.faults.released.clear()

    with pytest.raises(TimeoutError):
        pool.exchange(request, seconds=0.05)

    server.listener.faults.released.set()
    assert server.listener.connections == 1
    assert pool.exchange(request, seconds=30).status == 200
    assert server.listener.connections == 2
    pool.close()


def test_answer_in_chunks_is_read_whole(api: kube.KubernetesAPI, server: StandaloneServer) -> None:
    server.listener.faults.chunked = True

    assert [[service.metadata.name for service in api.services("shop")] for _ in range(2)] == [["payments"]] * 2
    assert server.listener.connections == 1


def test_server_that_keeps_no_connection_gets_new_ones(api: kube.KubernetesAPI, server: StandaloneServer) -> None:
    server.listener.faults.closes = True

    assert [api.pod("shop", "payments-2") for _ in range(2)] == [None, None]
    assert server.listener.connections == 2


def test_threads_do_not_share_a_connection(api: kube.KubernetesAPI, server: StandaloneServer, pod_token: str) -> None:
    def review(_: int) -> bool:
        return api.review(pod_token, AUDIENCE).status.authenticated

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(review, range(64)))

    assert answers == [True] * 64
    assert server.listener.connections <= 8


def test_nobody_listening_is_down(server: StandaloneServer) -> None:
    nowhere = kube.connect({"KUBECONFIG": str(server.write_kubeconfig("https://127.0.0.1:1"))})

    with pytest.raises(UnavailableError, match="the API server does not answer: ConnectionRefusedError"):
        nowhere.pod("shop", "payments-1")


def test_server_of_a_foreign_ca_is_not_talked_to(server: StandaloneServer, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    with serve_alone(other) as foreign:
        api = kube.connect({"KUBECONFIG": str(server.write_kubeconfig(foreign.listener.url))})

        with pytest.raises(UnavailableError, match="does not answer"):
            api.pod("shop", "payments-1")

    assert foreign.listener.requests == []


def test_rotated_token_is_read_again(server: StandaloneServer, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(ADMIN_TOKEN)
    kubeconfig = str(server.write_kubeconfig(tokenFile=str(file)))
    api = kube.KubernetesAPI(lambda: load_configuration(kubeconfig), token_seconds=0)
    assert api.pod("shop", "payments-1") is not None

    file.write_text("second")
    server.api.static_tokens["second"] = server.api.static_tokens.pop(ADMIN_TOKEN)

    assert api.pod("shop", "payments-1") is not None
    api.close()


def test_token_is_kept_for_a_while(server: StandaloneServer, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(ADMIN_TOKEN)
    api = kube.connect({"KUBECONFIG": str(server.write_kubeconfig(tokenFile=str(file)))})

    file.write_text("second")

    assert api.pod("shop", "payments-1") is not None
    api.close()


def test_credentials_that_vanish_are_said(server: StandaloneServer) -> None:
    kubeconfig = server.write_kubeconfig()
    api = kube.KubernetesAPI(lambda: load_configuration(str(kubeconfig)), token_seconds=0)
    kubeconfig.unlink()

    with pytest.raises(UnavailableError, match="our own credentials are gone"):
        api.pod("shop", "payments-1")


def test_server_without_credentials_is_asked_without(server: StandaloneServer) -> None:
    api = kube.connect({"KUBECONFIG": str(server.write_kubeconfig(username=""))})

    with pytest.raises(UnavailableError, match="answers 401"):
        api.pod("shop", "payments-1")
    api.close()


def test_api_under_a_path_is_found(server: StandaloneServer) -> None:
    url = f"{server.listener.url}/k8s/clusters/c-1/"
    api = kube.connect({"KUBECONFIG": str(server.write_kubeconfig(url))})

    assert api.pod("shop", "payments-1") is not None

    assert server.listener.asked() == [("GET", "/k8s/clusters/c-1/api/v1/namespaces/shop/pods/payments-1")]
    api.close()


@pytest.mark.parametrize("content", [pytest.param(None, id="missing"), pytest.param("a: [", id="no YAML")])
def test_kubeconfig_that_cannot_be_used_is_named(content: str | None, tmp_path: Path) -> None:
    path = tmp_path / "kubeconfig"
    if content is not None:
        path.write_text(content)

    with pytest.raises(ConfigurationError, match=f"^kubeconfig {path}: "):
        kube.connect({"KUBECONFIG": str(path)})


@pytest.mark.parametrize(
    "cluster_entry",
    [
        pytest.param({"server": "http://127.0.0.1:1"}, id="plain HTTP"),
        pytest.param({"server": "https://127.0.0.1:1", "insecure-skip-tls-verify": True}, id="no verification"),
    ],
)
def test_api_server_that_nobody_verifies_is_not_configured(cluster_entry: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "kubeconfig"
    contexts = [{"name": "x", "context": {"cluster": "c", "user": "u"}}]
    content = {
        "clusters": [{"name": "c", "cluster": cluster_entry}],
        "users": [{"name": "u", "user": {"token": "first"}}],
        "contexts": contexts,
        "current-context": "x",
    }
    path.write_text(yaml.safe_dump(content))

    with pytest.raises(ConfigurationError, match="only HTTPS with a verified certificate will do"):
        kube.connect({"KUBECONFIG": str(path)})


def test_client_certificate_is_loaded_and_a_bad_one_is_named(server: StandaloneServer, tmp_path: Path) -> None:
    client = trustme.CA().issue_cert("client")
    client.cert_chain_pems[0].write_to_path(tmp_path / "client.crt")
    client.private_key_pem.write_to_path(tmp_path / "client.key")
    pair = {"client-certificate": str(tmp_path / "client.crt"), "client-key": str(tmp_path / "client.key")}
    good = server.write_kubeconfig(**pair)
    kube.connect({"KUBECONFIG": str(good)})

    (tmp_path / "client.key").write_text("garbage")

    with pytest.raises(ConfigurationError, match=r"client\.crt"):
        kube.connect({"KUBECONFIG": str(good)})


def test_token_cannot_write_further_headers(server: StandaloneServer, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("first\r\nX-Remote-User: admin\r\n")
    server.api.static_tokens["first X-Remote-User: admin"] = server.api.static_tokens.pop(ADMIN_TOKEN)
    api = kube.connect({"KUBECONFIG": str(server.write_kubeconfig(tokenFile=str(file)))})

    assert api.pod("shop", "payments-2") is None
    api.close()


def test_outside_of_a_cluster_the_error_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)

    with pytest.raises(ConfigurationError, match=r"^no kubeconfig, and no service account of a pod: "):
        kube.connect({})
