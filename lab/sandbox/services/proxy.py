"""A stand-in for kube-proxy: listens on each Service's cluster IP and carries TCP to a ready pod.

Source: Kubernetes "Virtual IPs and Service Proxies". The pod sees the address of the client. endpoints.py chooses the
pods; UDP is not carried.
"""

import asyncio
import contextlib
import ipaddress
import itertools
import socket
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from lab.sandbox.errors import ManifestError
from lab.sandbox.linux.network import GATEWAY, POD_NETWORK, return_address
from lab.sandbox.services.endpoints import backends, is_headless
from lab.sandbox.state import ClusterState, Manifest

Backend = tuple[str, int]
ServiceName = tuple[str, str]
Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]

_POLL_SECONDS: Final = 0.1
_CONNECT_SECONDS: Final = 5.0
_CHUNK: Final = 65536
# linux/in.h: bind to a foreign address; choose the port as late as the connection is made.
_IP_TRANSPARENT: Final = 19
_IP_BIND_ADDRESS_NO_PORT: Final = 24


class ServiceProxy:
    """Keeps one listener per port of each Service; `fixed` names the backends of Services that have no selector."""

    def __init__(self, state: ClusterState, fixed: Mapping[ServiceName, Sequence[Backend]]) -> None:
        self._state = state
        self._fixed = fixed
        self._listeners: dict[Backend, asyncio.Server] = {}
        self._turns = itertools.count()
        self._carrying: set[asyncio.Task[None]] = set()
        self._syncing = asyncio.Lock()

    async def follow(self) -> None:
        """Follow the API server's Services until cancelled."""
        while True:
            # A caller that adds such a Service calls sync too, and gets the error there.
            with contextlib.suppress(ManifestError):
                await self.sync()
            await asyncio.sleep(_POLL_SECONDS)

    async def sync(self) -> None:
        """Listen where Services are, and nowhere else. Raises ManifestError for a cluster IP outside of our network."""
        async with self._syncing:
            wanted = _addresses(self._state.services())
            for gone in self._listeners.keys() - wanted.keys():
                self._listeners.pop(gone).close()
            for address, port in wanted.keys() - self._listeners.keys():
                try:
                    self._listeners[address, port] = await asyncio.start_server(self._accept, address, port)
                except OSError as error:
                    name = wanted[address, port]
                    raise ManifestError(
                        f"Service {name}: cannot listen on {address}:{port}: {error.strerror}"
                    ) from error

    async def close(self) -> None:
        """Stop listening, and cut the connections that are being carried."""
        for listener in self._listeners.values():
            listener.close()
        for task in self._carrying:
            task.cancel()
        await asyncio.gather(*self._carrying, return_exceptions=True)

    def backends(self, address: str, port: int) -> list[Backend]:
        """Where a connection to this address goes now, the one whose turn it is first."""
        for service in self._state.services():
            metadata = service["metadata"]
            for entry in service["spec"].get("ports") or []:
                if (service["spec"].get("clusterIP"), int(entry["port"])) == (address, port):
                    fixed = self._fixed.get((metadata["namespace"], metadata["name"]))
                    return self._in_turn(fixed or backends(service, entry, self._state.pods()))
        return []

    def _in_turn(self, found: Sequence[Backend]) -> list[Backend]:
        start = next(self._turns) % len(found) if found else 0
        return [*found[start:], *found[:start]]

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._carry(reader, writer))
        self._carrying.add(task)
        task.add_done_callback(self._carrying.discard)
        # Even of a task that is cancelled before it began.
        task.add_done_callback(lambda _: writer.close())

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client, _ = writer.get_extra_info("peername")
        upstream = await self._connect_to_backend(client, writer.get_extra_info("sockname"))
        if upstream is None:
            writer.transport.abort()  # No pod is ready: refused, as kube-proxy does.
            return
        upstream_reader, upstream_writer = upstream
        try:
            await asyncio.gather(_pump(reader, upstream_writer), _pump(upstream_reader, writer))
        finally:
            upstream_writer.close()

    async def _connect_to_backend(self, client: str, service: Backend) -> Connection | None:
        """A connection to the first backend that accepts it, None when none does."""
        for backend in self.backends(*service):
            with contextlib.suppress(OSError, TimeoutError):
                return await _connect(client, backend)
        return None


def _addresses(services: Iterable[Manifest]) -> dict[Backend, str]:
    """Where to listen, and for which Service."""
    return {
        (service["spec"]["clusterIP"], int(port["port"])): service["metadata"]["name"]
        for service in services
        if service["spec"].get("clusterIP") and not is_headless(service)
        for port in service["spec"].get("ports") or []
        if port.get("protocol", "TCP") == "TCP"
    }


async def _connect(client: str, backend: Backend) -> Connection:
    """Connect on the client's behalf. A pod sees the client pod's address, not ours: the CA API checks it."""
    address, port = backend
    with contextlib.ExitStack() as unless_connected:
        connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        unless_connected.callback(connection.close)
        connection.setblocking(False)
        if _is_pod(client) and _is_pod(address) and client != address:
            connection.setsockopt(socket.SOL_IP, _IP_TRANSPARENT, 1)
            connection.setsockopt(socket.SOL_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
            connection.bind((client, 0))
            address = return_address(address)
        async with asyncio.timeout(_CONNECT_SECONDS):
            await asyncio.get_running_loop().sock_connect(connection, (address, port))
        unless_connected.pop_all()
    return await asyncio.open_connection(sock=connection)


def _is_pod(address: str) -> bool:
    return address != GATEWAY and ipaddress.ip_address(address) in POD_NETWORK


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Carry one direction to its end; a cut of either side cuts the other."""
    try:
        while data := await reader.read(_CHUNK):
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
    except OSError:
        writer.transport.abort()
