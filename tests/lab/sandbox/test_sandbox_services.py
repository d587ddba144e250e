import asyncio
import socket
import socketserver
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

import pytest

from lab.sandbox.services.endpoints import backends
from lab.sandbox.services.proxy import ServiceProxy
from lab.sandbox.state import Manifest
from tests.fakes import FakeClusterState

SERVICE_ADDRESS = "127.0.0.9"
Answer = TypeVar("Answer")


class Echo(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        self.wfile.write(b"echo " + self.rfile.read())


@pytest.fixture(name="echo", scope="module")
def fixture_echo() -> Iterator[int]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Echo) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield int(server.server_address[1])
        server.shutdown()
        thread.join()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((SERVICE_ADDRESS, 0))
        return int(probe.getsockname()[1])


def a_service(name: str, port: int, *, target: int | str | None = None, **spec: object) -> Manifest:
    entry = {"port": port, **({} if target is None else {"targetPort": target})}
    return {
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"clusterIP": SERVICE_ADDRESS, "ports": [entry], **spec},
    }


def a_pod(name: str, *, address: str = "127.0.0.1", **status: object) -> Manifest:
    sidecar = {"name": "s", "restartPolicy": "Always", "ports": [{"name": "podtls", "containerPort": 8443}]}
    return {
        "metadata": {"name": name, "namespace": "shop", "labels": {"app": "web"}},
        "spec": {
            "initContainers": [{"name": "i", "ports": [{"name": "gone", "containerPort": 1}]}, sidecar],
            "containers": [{"name": "c", "ports": [{"name": "http", "containerPort": 8080}, {"containerPort": 1}]}],
        },
        "status": {"podIP": address, "conditions": [{"type": "Ready", "status": "True"}], **status},
    }


@pytest.mark.parametrize(
    ("target", "found"),
    [
        pytest.param("http", [("10.244.0.2", 8080)], id="a named port of an app"),
        pytest.param("podtls", [("10.244.0.2", 8443)], id="a named port of a native sidecar"),
        pytest.param("gone", [], id="a named port of an init container that ends"),
        pytest.param("nope", [], id="no such name"),
        pytest.param(9000, [("10.244.0.2", 9000)], id="a number"),
        pytest.param("9000", [("10.244.0.2", 9000)], id="a number as text"),
        pytest.param(None, [("10.244.0.2", 443)], id="the port itself"),
    ],
)
def test_a_target_port_is_looked_up_in_each_pod(target: int | str | None, found: list[tuple[str, int]]) -> None:
    service = a_service("web", 443, target=target, selector={"app": "web"})

    assert backends(service, service["spec"]["ports"][0], [a_pod("a", address="10.244.0.2")]) == found


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"metadata": {"labels": {"app": "other"}}}, id="other labels"),
        pytest.param({"metadata": {"labels": None}}, id="no labels"),
        pytest.param({"metadata": {"namespace": "other"}}, id="other namespace"),
        pytest.param({"metadata": {"deletionTimestamp": "now"}}, id="being deleted"),
        pytest.param({"status": {"podIP": ""}}, id="no address"),
        pytest.param({"status": {"conditions": [{"type": "Ready", "status": "False"}]}}, id="not ready"),
        pytest.param({"status": {"conditions": None}}, id="no conditions"),
    ],
)
def test_a_service_sends_nothing_to_such_a_pod(change: dict[str, dict[str, object]]) -> None:
    pod = a_pod("a")
    for part, fields in change.items():
        pod[part].update(fields)
    service = a_service("web", 443, selector={"app": "web"})

    assert backends(service, service["spec"]["ports"][0], [pod]) == []


def ask(port: int) -> bytes:
    """What a connection brings; b"cut" when there is nobody."""
    with socket.create_connection((SERVICE_ADDRESS, port), timeout=5) as connection:
        try:
            connection.sendall(b"hello")
            connection.shutdown(socket.SHUT_WR)
            return connection.makefile("rb").read() or b"cut"
        except OSError:
            return b"cut"


def with_proxy(proxy: ServiceProxy, work: Callable[[], Awaitable[Answer]]) -> Answer:
    async def scenario() -> Answer:
        following = asyncio.create_task(proxy.follow())
        await proxy.sync()
        try:
            return await work()
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
            await proxy.close()

    return asyncio.run(scenario())


def test_a_connection_is_carried_both_ways_past_a_backend_that_is_dead(echo: int) -> None:
    state = FakeClusterState(service_objects=[a_service("web", port := free_port())])
    proxy = ServiceProxy(state, {("shop", "web"): [("127.0.0.1", 1), ("127.0.0.1", echo)]})

    async def twice() -> list[bytes]:
        return [await asyncio.to_thread(ask, port) for _ in range(2)]

    assert with_proxy(proxy, twice) == [b"echo hello"] * 2


def test_a_service_with_nobody_ready_cuts_the_connection() -> None:
    state = FakeClusterState(service_objects=[a_service("web", port := free_port(), selector={"app": "web"})])

    assert with_proxy(ServiceProxy(state, {}), lambda: asyncio.to_thread(ask, port)) == b"cut"


def test_services_that_come_and_go_are_followed(echo: int) -> None:
    first, second = free_port(), free_port()
    state = FakeClusterState(
        service_objects=[
            a_service("web", first),
            a_service("headless", 1) | {"spec": {"clusterIP": "None", "ports": [{"port": 1}]}},
            a_service("udp", 2) | {"spec": {"clusterIP": SERVICE_ADDRESS, "ports": [{"port": 2, "protocol": "UDP"}]}},
            {"metadata": {"name": "external", "namespace": "shop"}, "spec": {"type": "ExternalName"}},
        ]
    )
    proxy = ServiceProxy(state, {("shop", "web"): [("127.0.0.1", echo)]})

    async def move() -> bytes:
        assert await asyncio.to_thread(ask, first) == b"echo hello"
        state.service_objects[0] = a_service("web", second)
        await proxy.sync()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.to_thread(ask, first)
        return await asyncio.to_thread(ask, second)

    assert with_proxy(proxy, move) == b"echo hello"
