import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from lab.sandbox.errors import ContainerError
from lab.sandbox.kubelet.probes import ask, parse_probe
from lab.sandbox.state import Manifest

CONTAINER: Manifest = {"name": "app"}


class App(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        known = self.path == "/healthz" and self.headers["X-Probe"] == "yes"
        self.send_response(200 if known else 503)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(name="port", scope="module")
def fixture_port() -> Iterator[int]:
    with HTTPServer(("127.0.0.1", 0), App) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def answers(code: int) -> subprocess.CompletedProcess[str]:
    return subprocess.CompletedProcess([], code, "out", " err")


def probe(raw: Manifest, container: Manifest = CONTAINER) -> str:
    parsed = parse_probe({"timeoutSeconds": 5, **raw})
    assert parsed is not None
    return ask(parsed, container, "127.0.0.1", lambda command, _: answers(0 if command == ["ready"] else 3))


def test_defaults_are_those_of_kubernetes() -> None:
    parsed = parse_probe({"exec": {"command": ["ready"]}})

    assert parsed is not None
    assert (parsed.initial_delay, parsed.period, parsed.timeout) == (0, 10, 1)
    assert (parsed.failures, parsed.successes) == (3, 1)


def test_no_probe_is_none() -> None:
    assert parse_probe(None) is None


def test_a_probe_that_the_demo_cannot_make_is_refused() -> None:
    with pytest.raises(ContainerError, match="none of exec, httpGet, tcpSocket"):
        parse_probe({"grpc": {"port": 1}})


def test_exec_succeeds_with_exit_code_0_only() -> None:
    assert probe({"exec": {"command": ["ready"]}}) == ""
    assert probe({"exec": {"command": ["broken"]}}) == "exit code 3: out err"


def test_exec_that_hangs_or_cannot_start_fails() -> None:
    def hang(command: list[str], seconds: float) -> subprocess.CompletedProcess[str]:
        raise subprocess.TimeoutExpired(command, seconds)

    def refuse(command: list[str], _: float) -> subprocess.CompletedProcess[str]:
        raise ContainerError(f"{command[0]}: not found")

    parsed = parse_probe({"exec": {"command": ["ready"]}})
    assert parsed is not None

    assert ask(parsed, CONTAINER, "127.0.0.1", hang) == "no answer for 1 s"
    assert ask(parsed, CONTAINER, "127.0.0.1", refuse) == "ready: not found"


def test_http_succeeds_with_a_status_from_200_to_399(port: int) -> None:
    headers = [{"name": "X-Probe", "value": "yes"}]

    assert probe({"httpGet": {"port": port, "path": "/healthz", "httpHeaders": headers}}) == ""
    assert probe({"httpGet": {"port": port}}) == "HTTP status 503"


def test_http_of_a_named_port_is_looked_up(port: int) -> None:
    container = {
        "name": "app",
        "ports": [{"name": "other", "containerPort": 1}, {"name": "web", "containerPort": port}],
    }

    assert probe({"httpGet": {"port": "web"}}, container) == "HTTP status 503"
    assert probe({"httpGet": {"port": str(port)}}, container) == "HTTP status 503"
    assert "asks port 'nope', which it does not declare" in probe({"httpGet": {"port": "nope"}}, container)


def test_https_where_nobody_speaks_tls_fails(port: int) -> None:
    assert "SSLError" in probe({"httpGet": {"port": port, "scheme": "HTTPS"}})


def test_tcp_succeeds_when_somebody_listens(port: int) -> None:
    assert probe({"tcpSocket": {"port": port}}) == ""
    assert probe({"tcpSocket": {"port": port, "host": "localhost"}}) == ""
    assert "ConnectionRefusedError" in probe({"tcpSocket": {"port": 1}})
