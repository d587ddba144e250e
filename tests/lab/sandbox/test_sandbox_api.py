"""The stand-in API server over HTTPS: bearer tokens, the roles of our manifests, metav1.Status, and its faults."""

import http.client
import json
import ssl
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lab.sandbox.apiserver.standalone import ADMIN_TOKEN, StandaloneServer, serve_alone
from lab.sandbox.apiserver.tokens import ISSUER
from lab.sandbox.manifests import FOLDER, load

REVIEWS = "/apis/authentication.k8s.io/v1/tokenreviews"


@dataclass(frozen=True, slots=True)
class Api:
    """The server, and a client of it."""

    server: StandaloneServer

    def ask(self, method: str, path: str, token: str | None, body: Any = None) -> tuple[int, dict[str, Any]]:
        context = ssl.create_default_context(cafile=str(self.server.bundle))
        with closing(
            http.client.HTTPSConnection(*self.server.listener.address, timeout=10, context=context)
        ) as connection:
            headers = {} if token is None else {"Authorization": f"Bearer {token}"}
            content = body if isinstance(body, str) else json.dumps(body)
            connection.request(method, path, content, headers)
            response = connection.getresponse()
            return response.status, json.loads(response.read())

    def token(self, pod: str, audience: str = "") -> str:
        return self.server.api.create_token(self.server.api.store.get("Pod", "podtls-system", pod), audience, 600)


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    with serve_alone(tmp_path) as server:
        _apply(server)
        yield Api(server)


def _apply(server: StandaloneServer) -> None:
    for manifest in [*load(FOLDER / "base" / "namespace.yaml"), *load(FOLDER / "base" / "ca.yaml")]:
        server.api.apply(manifest)
    spec = {"containers": [{"name": "app", "image": "app:1"}]}
    server.api.apply({"kind": "Pod", "metadata": {"name": "nobody", "namespace": "podtls-system"}, "spec": spec})


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
    assert "token audiences are invalid" in review["status"]["error"]


def test_pod_is_read_as_raw_json(api: Api) -> None:
    status, pod = api.ask("GET", "/api/v1/namespaces/podtls-system/pods/podtls-ca-1", api.token("podtls-ca-0"))

    assert status == 200
    assert pod["spec"]["hostname"] == "podtls-ca-1"
    assert pod == api.server.api.store.get("Pod", "podtls-system", "podtls-ca-1")


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
    assert "token audiences are invalid" in answered["message"]


def test_caller_whom_no_role_allows_is_forbidden(api: Api) -> None:
    status, answered = api.ask("GET", "/api/v1/namespaces/podtls-system/services", api.token("nobody"))

    assert (status, answered["reason"]) == (403, "Forbidden")
    assert 'User "system:serviceaccount:podtls-system:default" cannot list resource "services"' in answered["message"]


def test_pod_that_is_created_gets_a_token_as_a_kubelet_asks_for_it(api: Api) -> None:
    namespace = "/api/v1/namespaces/podtls-system"
    pod = {"metadata": {"name": "new"}, "spec": {"containers": [{"name": "app", "image": "app:1"}]}}
    created, stored = api.ask("POST", f"{namespace}/pods", ADMIN_TOKEN, pod)
    api.ask("PUT", f"{namespace}/pods/new/status", ADMIN_TOKEN, {"status": {"podIP": "10.1.2.3"}})
    bound = {"kind": "Pod", "name": "new", "uid": stored["metadata"]["uid"]}

    status, request = api.ask(
        "POST",
        f"{namespace}/serviceaccounts/default/token",
        ADMIN_TOKEN,
        {"spec": {"audiences": ["podtls-ca"], "boundObjectRef": bound}},
    )

    assert (created, status) == (201, 201)
    spec = {"token": request["status"]["token"], "audiences": ["podtls-ca"]}
    assert api.ask("POST", REVIEWS, ADMIN_TOKEN, {"spec": spec})[1]["status"]["authenticated"] is True
    assert api.ask("GET", f"{namespace}/pods/new", ADMIN_TOKEN)[1]["status"] == {"podIP": "10.1.2.3"}


def test_object_of_a_name_that_is_taken_is_a_conflict(api: Api) -> None:
    event = {"metadata": {"name": "one"}}

    answers = [api.ask("POST", "/api/v1/namespaces/podtls-system/events", ADMIN_TOKEN, event) for _ in range(2)]

    assert [status for status, _ in answers] == [201, 409]
    assert answers[1][1]["reason"] == "AlreadyExists"


def test_selector_that_the_api_server_would_not_have_stored_is_invalid(api: Api) -> None:
    (configuration,) = load(FOLDER / "base" / "webhook-configuration.yaml")
    for entry in configuration["webhooks"]:
        entry["clientConfig"]["caBundle"] = "eA=="
        entry["namespaceSelector"] = {"matchExpressions": [{"key": "a", "operator": "Near"}]}
    api.server.api.apply(configuration)
    pod = {"metadata": {"name": "new"}, "spec": {"containers": [{"name": "app", "image": "app:1"}]}}

    status, answered = api.ask("POST", "/api/v1/namespaces/podtls-system/pods", ADMIN_TOKEN, pod)

    assert (status, answered["reason"]) == (422, "Invalid")
    assert "operator 'Near' is none of" in answered["message"]


def test_faults_can_be_switched_on_and_off(api: Api) -> None:
    path = "/api/v1/namespaces/podtls-system/services"
    faults = api.server.listener.faults
    faults.status = 500
    failing = api.ask("GET", path, ADMIN_TOKEN)[0]
    faults.status, faults.cuts = None, 1
    with pytest.raises(http.client.RemoteDisconnected):
        api.ask("GET", path, ADMIN_TOKEN)
    faults.chunked = faults.closes = True

    assert (failing, api.ask("GET", path, ADMIN_TOKEN)[0]) == (500, 200)
