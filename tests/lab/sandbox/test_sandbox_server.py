"""The stand-in's HTTPS door: real TLS, bearer tokens, the roles of our manifests, and metav1.Status for every error."""

import http.client
import json
import ssl
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import pytest

from lab.sandbox.apiserver.admission import Webhook
from lab.sandbox.apiserver.cluster import Cluster
from lab.sandbox.apiserver.server import serve
from lab.sandbox.apiserver.tokens import ISSUER
from lab.sandbox.certificates import self_signed
from lab.sandbox.manifests import FOLDER, load

CERTIFICATE = self_signed("kube-apiserver", addresses=("127.0.0.1",))
REVIEWS = "/apis/authentication.k8s.io/v1/tokenreviews"


class NoWebhook:
    """A ReviewSender that nobody should ask."""

    def send(self, webhook: Webhook, body: bytes) -> bytes:
        raise AssertionError(f"{webhook.name} was asked about {len(body)} bytes")


@dataclass(frozen=True, slots=True)
class Api:
    """The server, and a client of it."""

    cluster: Cluster
    address: tuple[str, int]

    def ask(self, method: str, path: str, token: str | None, body: Any = None) -> tuple[int, dict[str, Any]]:
        context = ssl.create_default_context(cadata=CERTIFICATE.certificate)
        with closing(http.client.HTTPSConnection(*self.address, timeout=10, context=context)) as connection:
            headers = {} if token is None else {"Authorization": f"Bearer {token}"}
            content = body if isinstance(body, str) else json.dumps(body)
            connection.request(method, path, content, headers)
            response = connection.getresponse()
            return response.status, json.loads(response.read())

    def token(self, pod: str, audience: str = "") -> str:
        return self.cluster.create_token(self.cluster.store.get("Pod", "podtls-system", pod), audience, 600)


@pytest.fixture
def api() -> Iterator[Api]:
    cluster = Cluster(NoWebhook(), CERTIFICATE.certificate)
    for manifest in [*load(FOLDER / "base" / "namespace.yaml"), *load(FOLDER / "base" / "ca.yaml")]:
        cluster.apply(manifest)
    spec = {"containers": [{"name": "app", "image": "app:1"}]}
    cluster.apply({"kind": "Pod", "metadata": {"name": "nobody", "namespace": "podtls-system"}, "spec": spec})
    with serve(cluster, ("127.0.0.1", 0), CERTIFICATE) as address:
        yield Api(cluster, address)


def test_token_is_reviewed_with_its_extras(api: Api) -> None:
    spec = {"token": api.token("nobody", "podtls-ca"), "audiences": ["podtls-ca"]}

    status, review = api.ask("POST", REVIEWS, api.token("podtls-ca-0"), {"kind": "TokenReview", "spec": spec})

    assert status == 201
    assert review["kind"] == "TokenReview"
    assert review["status"]["authenticated"] is True
    assert review["status"]["audiences"] == ["podtls-ca"]
    assert review["status"]["user"]["username"] == "system:serviceaccount:podtls-system:default"
    assert review["status"]["user"]["extra"]["authentication.kubernetes.io/pod-name"] == ["nobody"]


def test_review_without_audiences_is_for_the_api_server(api: Api) -> None:
    caller = api.token("podtls-ca-0")

    _, review = api.ask("POST", REVIEWS, caller, {"spec": {"token": caller}})

    assert review["status"]["audiences"] == [ISSUER]


def test_bad_token_is_an_answer_and_not_an_error(api: Api) -> None:
    spec = {"token": api.token("nobody", "vault"), "audiences": ["podtls-ca"]}

    status, review = api.ask("POST", REVIEWS, api.token("podtls-ca-0"), {"spec": spec})

    assert status == 201
    assert "authenticated" not in review["status"]
    assert review["status"]["user"] == {}
    assert "token audiences ['vault'] is invalid" in review["status"]["error"]


def test_pod_is_read_as_raw_json(api: Api) -> None:
    status, pod = api.ask("GET", "/api/v1/namespaces/podtls-system/pods/podtls-ca-1", api.token("podtls-ca-0"))

    assert status == 200
    assert pod["spec"]["hostname"] == "podtls-ca-1"
    assert pod == api.cluster.store.get("Pod", "podtls-system", "podtls-ca-1")


def test_services_of_a_namespace_are_listed(api: Api) -> None:
    status, services = api.ask("GET", "/api/v1/namespaces/podtls-system/services?limit=500", api.token("podtls-ca-0"))

    assert (status, services["kind"]) == (200, "ServiceList")
    assert [item["metadata"]["name"] for item in services["items"]] == ["podtls-ca"]
    assert "kind" not in services["items"][0]


@pytest.mark.parametrize(
    ("method", "path", "body", "code", "message"),
    [
        pytest.param(
            "GET", "/api/v1/namespaces/shop/pods/x", None, 404, 'Pod "x" not found in namespace shop', id="no such pod"
        ),
        pytest.param("GET", "/api/v1/nodes", None, 404, "could not find the requested resource", id="no such path"),
        pytest.param("GET", REVIEWS, None, 404, "could not find the requested resource", id="no such method"),
        pytest.param("POST", REVIEWS, "{", 400, "the request body cannot be read", id="not JSON"),
        pytest.param("POST", REVIEWS, [], 400, "the request body cannot be read", id="not an object"),
        pytest.param("POST", REVIEWS, {"spec": {}}, 400, "the request body cannot be read", id="no token in it"),
    ],
)
def test_error_is_a_status_object(api: Api, method: str, path: str, body: Any, code: int, message: str) -> None:
    status, answered = api.ask(method, path, api.token("podtls-ca-0"), body)

    assert status == answered["code"] == code
    assert (answered["kind"], answered["status"]) == ("Status", "Failure")
    assert message in answered["message"]


@pytest.mark.parametrize("token", [pytest.param(None, id="none"), pytest.param("garbage", id="garbage")])
def test_caller_without_a_good_token_is_unauthorized(api: Api, token: str | None) -> None:
    status, answered = api.ask("GET", "/api/v1/namespaces/podtls-system/services", token)

    assert (status, answered["reason"]) == (401, "Unauthorized")


def test_token_for_the_ca_does_not_open_the_api_server(api: Api) -> None:
    status, answered = api.ask("GET", "/api/v1/namespaces/x/services", api.token("podtls-ca-0", "podtls-ca"))

    assert status == 401
    assert "token audiences ['podtls-ca'] is invalid" in answered["message"]


def test_caller_whom_no_role_allows_is_forbidden(api: Api) -> None:
    status, answered = api.ask("GET", "/api/v1/namespaces/podtls-system/services", api.token("nobody"))

    assert (status, answered["reason"]) == (403, "Forbidden")
    assert 'User "system:serviceaccount:podtls-system:default" cannot list resource "services"' in answered["message"]
