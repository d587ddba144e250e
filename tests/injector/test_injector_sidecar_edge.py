"""sidecar.sh in a pod of the webhook: what it does on a new certificate, on another configuration, and at the end."""

import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from contract.names import DRAINING_FILE, ENV_EDGE
from injector import generation
from tests.injector.authority import Authority
from tests.injector.edge_proxies import small_app
from tests.injector.est_server import EstServer
from tests.injector.peers import client_context, connect
from tests.injector.processes import eventually, free_port, process
from tests.injector.sidecars import SIDECAR, Sidecar, call
from tests.injector.unprivileged import own

pytestmark = pytest.mark.integration

REQUEST = b"POST /mutate/mtls/port HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"


@pytest.fixture
def sidecar(prepared: dict[str, str], authority: Authority, workshop: Path, tmp_path: Path) -> Iterator[Sidecar]:
    """A webhook's pod after its init container, with the edge proxy listening."""
    run, log, port = Path(prepared["PODTLS_RUN"]), workshop / "log", free_port()
    app_socket = workshop / "app.sock"
    environ = {**prepared, ENV_EDGE: "webhook", "PODTLS_EDGE_PORT": str(port), "PODTLS_SOCKET": str(app_socket)}
    with small_app(app_socket):
        assert call(["podtls-injector", "init"], environ) == 0, (workshop / "termination").read_text()
        (run / DRAINING_FILE).touch()
        with process(["sh", SIDECAR], environ=environ, log=log) as shell:
            running = Sidecar(shell, port, run, log, environ, client_context(authority.bundle, None, tmp_path))
            eventually(running.ready, log)
            yield running


def test_a_new_certificate_is_served_without_a_reload(sidecar: Sidecar, est: EstServer) -> None:
    before = workers(sidecar)
    with connect(sidecar.port, sidecar.context) as kept:
        assert "Connection: keep-alive" in answer(kept)
        est.dns.append("checkout-2.shop.svc")

        sidecar.logged("podtls sidecar: serves gen-000002")

        assert "HTTP/1.1 200 OK" in answer(kept)
    with connect(sidecar.port, sidecar.context, name="checkout-2.shop.svc") as fresh:
        assert "HTTP/1.1 200 OK" in answer(fresh)
    assert workers(sidecar) == before


def test_another_configuration_is_loaded(sidecar: Sidecar) -> None:
    before = workers(sidecar)
    current = generation.read(sidecar.run)
    other = current.nginx.replace(b"keepalive_timeout 300s;", b"keepalive_timeout 299s;")
    assert other != current.nginx
    generation.write(sidecar.run, replace(current, nginx=other), accept=own)

    sidecar.logged("podtls sidecar: serves gen-000002")

    eventually(lambda: set(workers(sidecar)).isdisjoint(before), sidecar.log)
    with connect(sidecar.port, sidecar.context) as fresh:
        assert "HTTP/1.1 200 OK" in answer(fresh)


def test_drain_ends_each_connection_with_its_answer_until_the_next_start(sidecar: Sidecar) -> None:
    with connect(sidecar.port, sidecar.context) as kept:
        assert "Connection: keep-alive" in answer(kept)

        assert call(["sh", SIDECAR, "drain"], sidecar.environ) == 0

        assert "Connection: close" in answer(kept)
        assert kept.recv(1) == b""


def answer(connection: socket.socket) -> str:
    """The edge proxy's answer to a request, in one piece since it is small."""
    connection.sendall(REQUEST)
    return connection.recv(65536).decode()


def workers(sidecar: Sidecar) -> list[str]:
    """The process ids of Nginx's workers."""
    master = sidecar.master()
    return Path(f"/proc/{master}/task/{master}/children").read_text().split()
