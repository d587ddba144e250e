"""`podtls check` and `podtls status` as typed: over real HTTP, with a kubeconfig, their output and exit codes."""

import json
import socket
from collections.abc import Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

import pytest
import yaml

from contract.names import INJECT
from lab.sandbox.apiserver.listener import APIRequest, APIResponse, Listener, listen
from lab.sandbox.apiserver.standalone import kubeconfig as make_kubeconfig
from podtls.errors import ForbiddenError, InputError, UnreachableError
from podtls.kubernetes.client import connect
from podtls.kubernetes.reader import Access, ApiResponse, iterate_items, list_items, parse_object
from tests.fakes import FakeApiServer
from tests.podtls.cluster_world import (
    SINCE,
    bare,
    enrolled_namespace,
    event,
    injected,
    installed,
    new_authority,
    pod,
    service,
)
from tests.podtls.conftest import Run

ACCESS_REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


def respond(server: FakeApiServer, request: APIRequest) -> APIResponse:
    """What the fake says, over HTTP."""
    if request.method == "GET":
        found = server.get(request.target)
        return APIResponse(found.status, found.body)
    review = json.loads(request.body)
    assert (request.target, review["kind"]) == (ACCESS_REVIEWS, "SelfSubjectAccessReview")
    attributes = review["spec"]["resourceAttributes"]
    resource = "/".join(filter(None, (attributes["resource"], attributes.get("subresource"))))
    scope = (attributes.get(key, "") for key in ("group", "namespace", "name"))
    allowed = server.may(Access(attributes["verb"], resource, *scope))
    return APIResponse(201, json.dumps({**review, "status": {"allowed": allowed}}).encode())


def serving(server: FakeApiServer) -> AbstractContextManager[Listener]:
    """The fake on a port of loopback, by plain HTTP, as long as the block lasts."""
    return listen(partial(respond, server), None)


def kubeconfig(path: Path, **servers: str) -> Path:
    """A kubeconfig with a context for each server; the first one is the current."""
    path.write_text(make_kubeconfig({name: {"server": url} for name, url in servers.items()}, {"token": "a-token"}))
    return path


@pytest.fixture(autouse=True)
def _nobodys_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)


@pytest.fixture
def server() -> FakeApiServer:
    """A cluster with podtls, and an enrolled namespace with an enrolled pod."""
    found = installed()
    found.add(enrolled_namespace(), injected(pod()), service())
    return found


@pytest.fixture
def served(server: FakeApiServer) -> Iterator[Listener]:
    """The same, over HTTP."""
    with serving(server) as started:
        yield started


@pytest.fixture
def config(served: Listener, tmp_path: Path) -> Path:
    """A kubeconfig that leads there."""
    return kubeconfig(tmp_path / "kubeconfig", here=served.url)


def test_check_of_a_working_installation_ends_with_0(run: Run, config: Path, served: Listener) -> None:
    outcome = run("check", "--kubeconfig", config)

    assert (outcome.code, outcome.err) == (0, "")
    assert "ok       workloads     StatefulSet podtls-ca: 2 of 2 ready\n" in outcome.out
    assert outcome.out.endswith("\nno problems, no warnings\n")
    assert {request.headers["authorization"] for request in served.requests} == {"Bearer a-token"}


def test_check_that_finds_a_problem_ends_with_1_and_says_what_to_do(
    run: Run, config: Path, server: FakeApiServer
) -> None:
    server.remove("ConfigMap", "podtls-bundle")
    server.find("Namespace", "shop")["metadata"]["labels"]["podtls.io/mode"] = "strict"

    outcome = run("check", "--kubeconfig", config)

    assert outcome.code == 1
    assert (
        "problem  trust         ConfigMap podtls-bundle is missing: there is no authority yet, no pod can start\n"
        "                       -> kubectl -n podtls-system logs deployment/podtls-controller\n"
    ) in outcome.out
    assert outcome.out.endswith("\n1 problem, 1 warning\n")


def test_check_before_the_installation_says_so_and_ends_with_0(run: Run, tmp_path: Path) -> None:
    with serving(bare()) as started:
        outcome = run("check", "--kubeconfig", kubeconfig(tmp_path / "other", here=started.url), "-o", "json")

    found = json.loads(outcome.out)
    assert outcome.code == 0
    assert (found["installed"], found["problems"], found["warnings"]) == (False, 0, 1)
    assert {"level": "warning", "check": "installation", "what": "not installed"}.items() <= found["findings"][
        3
    ].items()


def test_check_as_yaml_is_the_same_as_json(run: Run, config: Path) -> None:
    as_json = run("check", "--kubeconfig", config, "-o", "json")
    as_yaml = run("check", "--kubeconfig", config, "-o", "yaml")

    assert json.loads(as_json.out) == yaml.safe_load(as_yaml.out)


def test_check_tells_what_the_caller_may_not_read(run: Run, config: Path, server: FakeApiServer) -> None:
    server.denied = {Access("get", "services/proxy", namespace="podtls-system")}

    outcome = run("check", "--kubeconfig", config)

    assert outcome.code == 1
    assert "you may not get services/https:podtls-ca:https --subresource=proxy -n podtls-system" in outcome.out


@pytest.mark.parametrize("command", ["check", "status"])
def test_api_server_that_does_not_answer_is_69(command: str, run: Run, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]

    outcome = run(command, "--kubeconfig", kubeconfig(tmp_path / "dead", here=f"http://127.0.0.1:{port}"))

    assert (outcome.code, outcome.out) == (69, "")
    assert outcome.err.startswith(f"podtls: API server http://127.0.0.1:{port}: does not answer: ")
    assert outcome.err.count("\n") == 1


def test_proxy_that_fails_is_a_finding_and_not_the_end(run: Run, config: Path, server: FakeApiServer) -> None:
    path = "/api/v1/namespaces/podtls-system/services/https:podtls-ca:https/proxy/readyz"
    server.proxied[path] = ApiResponse(502, b"<html>bad gateway</html>")

    outcome = run("check", "--kubeconfig", config)

    assert outcome.code == 1
    assert "podtls-ca cannot be reached through the API server: 502 <html>bad gateway</html>" in outcome.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["--kubeconfig", "/nowhere/config"], "kubeconfig /nowhere/config: ", id="no file"),
        pytest.param(["--context", "elsewhere"], "elsewhere", id="no context"),
        pytest.param(["-o", "xml"], "'xml' is not one of", id="format"),
        pytest.param(["shop"], "unexpected extra argument", id="argument"),
    ],
)
def test_wrong_usage_is_64_and_one_line(
    arguments: list[str], message: str, run: Run, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(config))

    outcome = run("check", *arguments)

    assert (outcome.code, outcome.out, outcome.err.count("\n")) == (64, "", 1)
    assert message in outcome.err


WAYS = "give --kubeconfig FILE, set KUBECONFIG, or write ~/.kube/config"


def test_without_any_kubeconfig_the_command_says_the_ways_to_give_one(run: Run) -> None:
    outcome = run("check")

    assert (outcome.code, outcome.err) == (64, f"podtls: no kubeconfig: {WAYS}\n")


def test_context_chooses_the_cluster_of_a_kubeconfig(run: Run, served: Listener, tmp_path: Path) -> None:
    config = kubeconfig(tmp_path / "two", dead="http://127.0.0.1:1", here=served.url)

    outcome = run("status", "--kubeconfig", config, "--context", "here")

    assert outcome.code == 0


@pytest.mark.parametrize("place", ["KUBECONFIG", "HOME"])
def test_kubeconfig_is_found_where_kubectl_finds_it(
    place: str, run: Run, served: Listener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".kube").mkdir()
    path = kubeconfig(tmp_path / ".kube/config" if place == "HOME" else tmp_path / "named", here=served.url)
    if place == "KUBECONFIG":
        monkeypatch.setenv("KUBECONFIG", str(path))

    assert run("check").code == 0


def test_in_a_pod_there_is_no_context_and_no_pod_no_account() -> None:
    with pytest.raises(InputError, match=f"--context: no kubeconfig: {WAYS}"):
        connect(None, "here", {"KUBERNETES_SERVICE_HOST": "10.96.0.1", "HOME": "/nowhere"})
    with pytest.raises(InputError, match=rf"^no kubeconfig, and no service account of a pod: .*; {WAYS}$"):
        connect(None, None, {"KUBERNETES_SERVICE_HOST": "10.96.0.1", "HOME": "/nowhere"})


def test_status_shows_all_its_parts(run: Run, config: Path, server: FakeApiServer) -> None:
    server.add(
        injected(pod("lost", labels={"app": "lost"}), made=new_authority()),
        pod("plain", labels={INJECT: "disabled"}),
        service("metrics", ports=[{"port": 80, "targetPort": 8080}]),
        event(message="quota exceeded\x1b[2J"),
    )

    outcome = run("status", "-n", "shop", "--kubeconfig", config)

    cells = [line.split("  ") for line in outcome.out.splitlines()]
    rows = [[cell.strip() for cell in row if cell.strip()] for row in cells]
    first, record = f"24h, first {SINCE}", "0123456789ab"
    assert (outcome.code, outcome.err) == (0, "")
    assert ["shop", "lost", "Running", "mtls", "8443=8080", "to be recreated (lost root)", first, "-", record] in rows
    names = "metrics.shop.svc,web.shop.svc"
    assert ["shop", "web", "Running", "mtls", "8443=8080", "current", first, names, record] in rows
    assert ["shop", "plain", "label podtls.io/inject=disabled opts out"] in rows
    assert ["shop", "ReplicaSet/web-5d8f", "1", SINCE, r"quota exceeded\x1b[2J"] in rows
    assert ["shop", "metrics", "80", "8080", "set targetPort: podtls"] in rows


@pytest.mark.parametrize("output", ["json", "yaml"])
def test_status_for_programs_holds_every_name_and_no_control_character(
    output: str, run: Run, config: Path, server: FakeApiServer
) -> None:
    server.add(event(message="quota \x9b"))

    outcome = run("status", "--kubeconfig", config, "-o", output)

    found = yaml.safe_load(outcome.out)
    assert found["enrolled"][0]["dns"][0] == "10-1-2-3.shop.pod.cluster.local"
    assert "\x9b" not in outcome.out


def test_status_says_where_nothing_is_enrolled_or_no_pod_runs(run: Run, tmp_path: Path) -> None:
    empty, waiting = bare(), installed()
    waiting.add(enrolled_namespace())
    with serving(empty) as first, serving(waiting) as second:
        config = kubeconfig(tmp_path / "both", first=first.url, second=second.url)
        nothing, nobody = (run("status", "--kubeconfig", config, "--context", name) for name in ("first", "second"))

    assert "podtls: podtls is not installed in this cluster" in nothing.err
    assert "podtls: no namespace is enrolled; to enroll one: kubectl label namespace" in nothing.err
    assert (nobody.code, nobody.out, nobody.err) == (0, "", "podtls: no pods in shop\n")


def test_status_of_a_namespace_that_is_not_there_is_64(run: Run, config: Path) -> None:
    outcome = run("status", "-n", "shp", "--kubeconfig", config)

    assert (outcome.code, outcome.err) == (64, "podtls: --namespace: there is no namespace 'shp'\n")


def test_status_for_somebody_who_may_not_list_pods_is_77(run: Run, config: Path, server: FakeApiServer) -> None:
    server.denied = {Access("list", "pods")}

    outcome = run("status", "-n", "shop", "--kubeconfig", config)

    assert (outcome.code, outcome.err) == (77, "podtls: API server: you cannot list pods -n shop\n")


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        pytest.param(ApiResponse(200, b"<html>"), UnreachableError, "/x: answers 200 without JSON", id="no JSON"),
        pytest.param(ApiResponse(200, b"[]"), UnreachableError, "/x: answers 200", id="no object"),
        pytest.param(ApiResponse(403, b"{}"), ForbiddenError, "API server: /x", id="no message"),
    ],
)
def test_answer_that_no_api_server_gives_is_an_error(answer: ApiResponse, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        parse_object(answer, "/x")


def test_long_list_is_read_page_by_page_as_it_is_needed() -> None:
    server = FakeApiServer(page=2)
    server.add(*(pod(f"web-{number}") for number in range(5)))

    listed = iterate_items(server, "/api/v1/pods")
    names = [next(listed)["metadata"]["name"] for _ in range(2)]

    assert (names, len(server.asked)) == (["web-0", "web-1"], 1)
    assert ([each["metadata"]["name"] for each in listed], len(server.asked)) == (["web-2", "web-3", "web-4"], 3)


def test_list_that_is_not_there_is_empty() -> None:
    server = FakeApiServer()

    assert list_items(server, "/api/v1/namespaces") == []
