"""What is really on a pod's wire: joins the frames of its veth to streams, and tells TLS records from plaintext.

Sources: RFC 8446 section 5.1 (TLS records), RFC 9293 (TCP), packet(7). Only TCP over IPv4; the pods have nothing else.
"""

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

RECORD_TYPES: Final = {20: "change_cipher_spec", 21: "alert", 22: "handshake", 23: "application_data"}
_RECORD_HEADER: Final = 5
_RECORD_LIMIT: Final = 2**14 + 2048  # TLS 1.2; 1.3 allows less
_SHOWN_BYTES: Final = 200
_FRAME_BYTES: Final = 262144
_WAIT_SECONDS: Final = 0.1
_BUFFER_BYTES: Final = 8 * 2**20
_ETH_P_ALL: Final = 3
_SOL_PACKET: Final = 263
_PACKET_STATISTICS: Final = 6
_SO_RCVBUFFORCE: Final = 33
_SYN: Final = 0x02

End = tuple[str, int]


@dataclass(slots=True)
class Stream:
    """One direction of one connection. `plaintext` holds the first bytes that are not a TLS record."""

    source: End
    destination: End
    records: dict[int, int] = field(default_factory=dict)
    plaintext: bytes = b""
    _pending: bytes = b""
    _expected: int = 0
    _early: dict[int, bytes] = field(default_factory=dict)

    @property
    def is_whole(self) -> bool:
        """Whether nothing is missing in the middle and no record is half there."""
        return not self._early and not self._pending

    def begin(self, sequence: int) -> None:
        """Its SYN was seen."""
        self._expected = (sequence + 1) % 2**32

    def add(self, sequence: int, payload: bytes) -> None:
        """Take a segment, in whatever order it comes, however often."""
        self._early[sequence] = max(self._early.get(sequence, b""), payload, key=len)
        while (part := self._next_part()) is not None:
            self._expected = (self._expected + len(part)) % 2**32
            self._classify(part)

    def _next_part(self) -> bytes | None:
        for sequence, payload in list(self._early.items()):
            already = (self._expected - sequence) % 2**32
            if already < 2**31:  # It begins at or before what we wait for.
                del self._early[sequence]
                if already < len(payload):
                    return payload[already:]
        return None

    def _classify(self, data: bytes) -> None:
        if self.plaintext:
            self.plaintext = (self.plaintext + data)[:_SHOWN_BYTES]
            return
        self._pending += data
        while len(self._pending) >= _RECORD_HEADER:
            kind, major, _, size = struct.unpack_from("!BBBH", self._pending)
            if kind not in RECORD_TYPES or major != 3 or size > _RECORD_LIMIT:
                self.plaintext, self._pending = self._pending[:_SHOWN_BYTES], b""
                return
            if len(self._pending) < _RECORD_HEADER + size:
                return
            self.records[kind] = self.records.get(kind, 0) + 1
            self._pending = self._pending[_RECORD_HEADER + size :]
        if self._pending and self._pending[0] not in RECORD_TYPES:
            self.plaintext, self._pending = self._pending, b""


@dataclass(frozen=True, slots=True)
class Report:
    """What was seen. `unknown`: segments of connections that were there before; `lost`: frames the kernel dropped."""

    streams: tuple[Stream, ...]
    unknown: int
    lost: int

    @property
    def records(self) -> dict[str, int]:
        """How many TLS records of each type."""
        counts = dict.fromkeys(RECORD_TYPES.values(), 0)
        for stream in self.streams:
            for kind, count in stream.records.items():
                counts[RECORD_TYPES[kind]] += count
        return counts

    @property
    def plaintext(self) -> tuple[Stream, ...]:
        """The streams that carried anything but TLS."""
        return tuple(stream for stream in self.streams if stream.plaintext)

    @property
    def is_tls_only(self) -> bool:
        """Whether application data was seen, all of it was TLS, and nothing escaped us."""
        complete = not self.unknown and not self.lost and all(stream.is_whole for stream in self.streams)
        return complete and not self.plaintext and self.records["application_data"] > 0


class Wire:
    """Puts frames together. A segment of a connection whose beginning was not seen is counted, not judged."""

    def __init__(self) -> None:
        self._streams: dict[tuple[End, End], Stream] = {}
        self._ended: list[Stream] = []
        self._unknown = 0

    def feed(self, frame: bytes) -> None:
        """Take one Ethernet frame; anything but TCP over IPv4 is ignored."""
        for source, destination, sequence, flags, payload in _parse(frame):
            ends = (source, destination)
            if flags & _SYN:
                if known := self._streams.get(ends):
                    self._ended.append(known)
                self._streams[ends] = Stream(source, destination)
                self._streams[ends].begin(sequence)
                sequence = (sequence + 1) % 2**32  # noqa: PLW2901 - a SYN takes a number of its own
            if not payload:
                continue
            if ends in self._streams:
                self._streams[ends].add(sequence, payload)
            else:
                self._unknown += 1

    def report(self, lost: int = 0) -> Report:
        """What was seen until now."""
        streams = tuple(stream for stream in (*self._ended, *self._streams.values()))
        return Report(streams, self._unknown, lost)


class Capture:
    """A capture on an interface of the sandbox (the bridge's end of a pod's veth: the bridge itself misses frames).

    Raises OSError when the interface is not there.
    """

    def __init__(self, interface: str) -> None:
        self._wire = Wire()
        self._ending = threading.Event()
        with contextlib.ExitStack() as unless_bound:
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
            unless_bound.callback(self._socket.close)
            with contextlib.suppress(PermissionError):  # The system's own limit applies then, and losses are counted.
                self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES)
            self._socket.settimeout(_WAIT_SECONDS)
            self._socket.bind((interface, _ETH_P_ALL))
            unless_bound.pop_all()
        self._thread = threading.Thread(target=self._read, name=f"capture-{interface}", daemon=True)
        self._thread.start()

    def stop(self) -> Report:
        """Read the frames that have arrived, then end."""
        self._ending.set()
        self._thread.join()
        statistics = self._socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8)
        self._socket.close()
        _, lost = struct.unpack("II", statistics)
        return self._wire.report(lost)

    def _read(self) -> None:
        while True:
            try:
                frame = self._socket.recv(_FRAME_BYTES)
            except TimeoutError:
                if self._ending.is_set():
                    return
            except OSError:  # The pod is gone, and its wire with it: what was seen stays.
                return
            else:
                self._wire.feed(frame)


def _parse(frame: bytes) -> Iterator[tuple[End, End, int, int, bytes]]:
    """Source, destination, sequence number, flags and payload of a frame; nothing when it is not TCP over IPv4."""
    if len(frame) < 54 or frame[12:14] != b"\x08\x00" or frame[23] != socket.IPPROTO_TCP:
        return
    header = (frame[14] & 0x0F) * 4
    total = int.from_bytes(frame[16:18])
    packet = frame[14 : 14 + total] if total else frame[14:]  # 0: longer than the field can say (BIG TCP)
    segment = packet[header:]
    source_port, destination_port, sequence = struct.unpack_from("!HHI", segment)
    payload = segment[(segment[12] >> 4) * 4 :]
    source = (socket.inet_ntoa(packet[12:16]), source_port)
    destination = (socket.inet_ntoa(packet[16:20]), destination_port)
    yield source, destination, sequence, segment[13], payload
