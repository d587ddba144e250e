"""A DNS server for the pods: names of Services and pods, as CoreDNS answers them; nothing beyond the cluster's zone.

Source: Kubernetes DNS-Based Service Discovery. A records only; the wire format is dnslib's.
"""

import asyncio
import ipaddress
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, cast

from dnslib import QTYPE, RCODE, RR, A, DNSError, DNSRecord

from lab.sandbox.services.endpoints import is_headless, ready_pods
from lab.sandbox.state import ClusterState, Manifest

_TTL_SECONDS: Final = 5  # CoreDNS's kubernetes plugin
_UDP_BYTES: Final = 512

Lookup = Callable[[str], Sequence[str] | None]


@dataclass(frozen=True, slots=True)
class Names:
    """The cluster's names, read from the API server at each question."""

    state: ClusterState
    zone: str

    def addresses(self, name: str) -> Sequence[str] | None:
        """The IPv4 addresses of a name (lower case, no final dot); None when the name does not exist."""
        below = name.removesuffix(f".{self.zone}")
        if below == name:
            return None
        match below.split("."):
            case [service, namespace, "svc"]:
                return self._of_service(service, namespace)
            case [hostname, service, namespace, "svc"]:
                return self._of_host(hostname, service, namespace)
            case [address, _, "pod"]:
                return _of_address_name(address)
        return None

    def _of_service(self, name: str, namespace: str) -> Sequence[str] | None:
        service = self._service(name, namespace)
        if service is None:
            return None
        if not is_headless(service):
            return [service["spec"]["clusterIP"]]
        return [pod["status"]["podIP"] for pod in ready_pods(service, self.state.pods())]

    def _of_host(self, hostname: str, name: str, namespace: str) -> Sequence[str] | None:
        service = self._service(name, namespace)
        if service is None or not is_headless(service):
            return None
        pods = ready_pods(service, self.state.pods())
        found = [
            pod["status"]["podIP"]
            for pod in pods
            if (pod["spec"].get("hostname"), pod["spec"].get("subdomain")) == (hostname, name)
        ]
        return found or None

    def _service(self, name: str, namespace: str) -> Manifest | None:
        for service in self.state.services():
            metadata = service["metadata"]
            known = service["spec"].get("clusterIP") and service["spec"].get("type") != "ExternalName"
            if known and (metadata["name"], metadata["namespace"]) == (name, namespace):
                return service
        return None


def respond(query: bytes, lookup: Lookup, *, limit: int) -> bytes | None:
    """The response to a query, at most `limit` bytes (else truncated); None for what is not a query."""
    try:
        request = DNSRecord.parse(query)
    except DNSError:
        return None
    if request.header.qr or len(request.questions) != 1:
        return None
    response = request.reply(ra=0)
    name = str(request.q.qname)
    addresses = lookup(name.lower().removesuffix("."))
    if addresses is None:
        response.header.rcode = RCODE.NXDOMAIN
    elif request.q.qtype == QTYPE.A:
        response.add_answer(*(RR(name, QTYPE.A, rdata=A(address), ttl=_TTL_SECONDS) for address in addresses))
    # A name that exists but has no record of the type gets no error and no data (RFC 2308 section 2.2).
    whole: bytes = response.pack()
    if len(whole) <= limit:
        return whole
    truncated: bytes = response.truncate().pack()
    return truncated


async def serve(lookup: Lookup, address: str, port: int = 53) -> Callable[[], None]:
    """Answer on UDP and TCP; returns a function that ends it."""
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(lookup), local_addr=(address, port))
    server = await asyncio.start_server(lambda reader, writer: _stream(lookup, reader, writer), address, port)

    def close() -> None:
        transport.close()
        server.close()

    return close


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if self._transport is not None and (response := respond(data, self._lookup, limit=_UDP_BYTES)):
            self._transport.sendto(response, addr)


async def _stream(lookup: Lookup, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One query over TCP, after a length of two bytes (RFC 1035 section 4.2.2)."""
    try:
        async with asyncio.timeout(5):
            size = int.from_bytes(await reader.readexactly(2))
            response = respond(await reader.readexactly(size), lookup, limit=65535)
            if response is not None:
                writer.write(len(response).to_bytes(2) + response)
                await writer.drain()
    except (asyncio.IncompleteReadError, TimeoutError, ConnectionError):
        pass  # The client went away; it will ask again.
    finally:
        writer.close()


def _of_address_name(label: str) -> Sequence[str] | None:
    try:
        return [str(ipaddress.IPv4Address(label.replace("-", ".")))]
    except ValueError:
        return None
