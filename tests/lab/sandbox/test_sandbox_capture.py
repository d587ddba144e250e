import socket
import struct

import pytest

from lab.sandbox.linux.capture import Report, Wire

CLIENT, SERVER = ("10.244.0.2", 40000), ("10.244.0.3", 8443)
SYN, ACK = 0x02, 0x10
FIRST = 2**32 - 3  # So that the numbers wrap in each test.


def frame(payload: bytes, at: int = 0, *, flags: int = ACK, back: bool = False, kind: int = 0x0800) -> bytes:
    """A frame of the stream whose first byte has offset 0."""
    source, destination = (SERVER, CLIENT) if back else (CLIENT, SERVER)
    sequence = (FIRST + (0 if flags & SYN else 1) + at) % 2**32
    segment = struct.pack("!HHIIBBHHH", source[1], destination[1], sequence, 0, 5 << 4, flags, 0, 0, 0) + payload
    packet = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(segment), 0, 0, 64, socket.IPPROTO_TCP, 0)
    packet += socket.inet_aton(source[0]) + socket.inet_aton(destination[0]) + segment
    return bytes(12) + kind.to_bytes(2) + packet


def record(kind: int, size: int) -> bytes:
    return struct.pack("!BHH", kind, 0x0303, size) + b"x" * size


def seen(*frames: bytes) -> Report:
    wire = Wire()
    for each in frames:
        wire.feed(each)
    return wire.report()


TLS = record(22, 300) + record(20, 1) + record(23, 50) + record(21, 2)


def test_tls_records_are_counted_by_type() -> None:
    report = seen(frame(b"", flags=SYN), frame(TLS))

    assert report.records == {"handshake": 1, "change_cipher_spec": 1, "application_data": 1, "alert": 1}
    assert report.is_tls_only


def test_records_may_be_cut_anywhere_come_in_any_order_and_twice() -> None:
    parts = [frame(TLS[at : at + 7], at) for at in range(0, len(TLS), 7)]
    overlapping = frame(TLS[3:40], 3)

    report = seen(frame(b"", flags=SYN), *reversed(parts), overlapping, *parts)

    assert report.is_tls_only
    assert sum(report.records.values()) == 4


def test_plaintext_is_found_and_shown() -> None:
    report = seen(frame(b"", flags=SYN), frame(b"GET / HTTP/1.1\r\n"), frame(b"Host: payments\r\n\r\n", 16))

    (stream,) = report.plaintext
    assert stream.plaintext == b"GET / HTTP/1.1\r\nHost: payments\r\n\r\n"
    assert (stream.source, stream.destination) == (CLIENT, SERVER)
    assert not report.is_tls_only


@pytest.mark.parametrize(
    "plaintext",
    [
        pytest.param(b"hi", id="shorter than a record's header"),
        pytest.param(b"\x17\x02\x00\x00\x05hello", id="another version"),
        pytest.param(b"\x17\x03\x03\xff\xffhello", id="longer than a record may be"),
        pytest.param(b"\x18\x03\x03\x00\x05hello", id="no type of TLS"),
    ],
)
def test_what_only_resembles_tls_is_plaintext(plaintext: bytes) -> None:
    report = seen(frame(b"", flags=SYN), frame(record(23, 5) + plaintext))

    assert [stream.plaintext for stream in report.plaintext] == [plaintext]


def test_plaintext_is_found_in_either_direction() -> None:
    report = seen(
        frame(b"", flags=SYN), frame(b"", flags=SYN | ACK, back=True), frame(TLS), frame(b"220 hello\r\n", back=True)
    )

    assert [stream.source for stream in report.plaintext] == [SERVER]


def test_a_connection_on_the_same_ports_later_is_a_stream_of_its_own() -> None:
    report = seen(frame(b"", flags=SYN), frame(b"plain"), frame(b"", flags=SYN), frame(TLS))

    assert len(report.streams) == 2
    assert len(report.plaintext) == 1


@pytest.mark.parametrize(
    ("frames", "why"),
    [
        pytest.param([frame(TLS)], "the beginning was not seen", id="unknown"),
        pytest.param([frame(b"", flags=SYN), frame(TLS), frame(TLS, len(TLS) + 1)], "a byte is missing", id="gap"),
        pytest.param([frame(b"", flags=SYN), frame(TLS + record(23, 9)[:-1])], "half a record", id="half"),
        pytest.param([frame(b"", flags=SYN), frame(record(22, 9))], "no application data", id="handshake only"),
        pytest.param([], "nothing was seen", id="nothing"),
    ],
)
def test_what_was_not_seen_whole_proves_nothing(frames: list[bytes], why: str) -> None:
    assert not seen(*frames).is_tls_only, why


def test_frames_that_the_kernel_dropped_prove_nothing() -> None:
    wire = Wire()
    for each in (frame(b"", flags=SYN), frame(TLS)):
        wire.feed(each)

    assert not wire.report(lost=1).is_tls_only


def test_a_packet_longer_than_its_field_can_say_is_read_whole() -> None:
    whole = frame(TLS)
    big = whole[:16] + b"\0\0" + whole[18:]

    assert seen(frame(b"", flags=SYN), big).is_tls_only
