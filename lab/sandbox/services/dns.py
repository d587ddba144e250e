"""A DNS server for the pods: names of Services and pods, as CoreDNS answers them; nothing beyond the cluster's zone.

Source: RFC 1035 (wire format), RFC 2308 (negative answers), Kubernetes DNS-Based Service Discovery. A records only.
"""

import asyncio
import ipaddress
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, cast

from lab.sandbox.services.endpoints import is_headless, ready_pods
from lab.sandbox.state import ClusterState, Manifest

NO_ERROR, FORMAT_ERROR, NO_SUCH_NAME, NOT_IMPLEMENTED = 0, 1, 3, 4
_TYPE_A: Final = 1
_CLASS_IN: Final = 1
_TTL_SECONDS: Final = 5  # CoreDNS's kubernetes plugin
_HEADER: Final = struct.Struct("!6H")
_QUESTION: Final = struct.Struct("!2H")
_RECORD: Final = struct.Struct("!3HIH")
_QUESTION_AT: Final = 0xC000 | _HEADER.size  # a compression pointer to the name that was asked
_UDP_BYTES: Final = 512
_RESPONSE: Final = 0x8000
_AUTHORITATIVE: Final = 0x0400
_TRUNCATED: Final = 0x0200
_RECURSION: Final = 0x0180
_OPCODE: Final = 0x7800

Lookup = Callable[[str], Sequence[str] | None]


@dataclass(frozen=True, slots=True)
class Names:
    """The cluster's names, read from the API server at each question."""

    state: ClusterState
    zone: str

    def addresses(self, name: str) -> Sequence[str] | None:
        """The IPv4 addresses of a name (lower case, no final dot); None when there is no such name."""
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


def answer(query: bytes, lookup: Lookup, *, limit: int) -> bytes | None:
    """The response to a query, at most `limit` bytes (else truncated); None for what is no query at all."""
    if len(query) < _HEADER.size:
        return None
    number, flags, questions, *_ = _HEADER.unpack_from(query)
    if flags & _RESPONSE:
        return None
    if flags & _OPCODE:
        return _response(number, flags, NOT_IMPLEMENTED)
    question = _parse_question(query) if questions == 1 else None
    if question is None:
        return _response(number, flags, FORMAT_ERROR)
    name, kind, raw = question
    addresses = lookup(name)
    if addresses is None:
        return _response(number, flags, NO_SUCH_NAME, raw)
    # Of a name that exists, what we do not have is an answer too: no error, no data (RFC 2308 section 2.2).
    records = [_record(address) for address in addresses] if kind == (_TYPE_A, _CLASS_IN) else []
    whole = _response(number, flags, NO_ERROR, raw, records)
    return whole if len(whole) <= limit else _response(number, flags | _TRUNCATED, NO_ERROR, raw)


async def serve(lookup: Lookup, address: str, port: int = 53) -> Callable[[], None]:
    """Answer on UDP and TCP; returns what ends it."""
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
        if self._transport is not None and (response := answer(data, self._lookup, limit=_UDP_BYTES)):
            self._transport.sendto(response, addr)


async def _stream(lookup: Lookup, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One query over TCP, after a length of two bytes (RFC 1035 section 4.2.2)."""
    try:
        async with asyncio.timeout(5):
            size = int.from_bytes(await reader.readexactly(2))
            response = answer(await reader.readexactly(size), lookup, limit=65535)
            if response is not None:
                writer.write(len(response).to_bytes(2) + response)
                await writer.drain()
    except (asyncio.IncompleteReadError, TimeoutError, ConnectionError):
        pass  # The client went away; it will ask again.
    finally:
        writer.close()


def _parse_question(query: bytes) -> tuple[str, tuple[int, int], bytes] | None:
    """Name, (type, class) and the bytes of the only question; None when it is cut short or compressed."""
    labels: list[str] = []
    at = _HEADER.size
    while at < len(query) and (size := query[at]):
        if size > 63:
            return None
        labels.append(query[at + 1 : at + 1 + size].decode("ascii", errors="replace").lower())
        at += 1 + size
    end = at + 1 + _QUESTION.size
    if end > len(query):
        return None
    kind, family = _QUESTION.unpack_from(query, at + 1)
    return ".".join(labels), (kind, family), query[_HEADER.size : end]


def _response(number: int, flags: int, code: int, question: bytes = b"", records: Sequence[bytes] = ()) -> bytes:
    flags = _RESPONSE | _AUTHORITATIVE | (flags & (_OPCODE | _TRUNCATED | _RECURSION)) | code
    header = _HEADER.pack(number, flags, 1 if question else 0, len(records), 0, 0)
    return header + question + b"".join(records)


def _record(address: str) -> bytes:
    packed = ipaddress.IPv4Address(address).packed
    return _RECORD.pack(_QUESTION_AT, _TYPE_A, _CLASS_IN, _TTL_SECONDS, len(packed)) + packed


def _of_address_name(label: str) -> Sequence[str] | None:
    try:
        return [str(ipaddress.IPv4Address(label.replace("-", ".")))]
    except ValueError:
        return None
