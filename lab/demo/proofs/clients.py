"""Clients for the proofs: each asks a pod's TLS port once, honestly or not, and returns the application bytes.

They judge nothing; refusals.py does. Every wait has an end.
"""

import http.client
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

SECONDS: Final = 5.0
_DAY: Final = timedelta(days=1)
# Record header of TLS (RFC 8446 section 5.1): type, version, length. An alert is type 21.
_HEADER: Final = 5
_ALERT: Final = 21
_CHUNK: Final = 65536

Address = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Identity:
    """Files of a client certificate (leaf first) and its key."""

    chain: Path
    key: Path


@dataclass(frozen=True, slots=True)
class Attempt:
    """What came of asking: the application's bytes, and how it ended."""

    received: bytes
    ended: str
    version: str = ""
    certificate: x509.Certificate | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """A TLS port of a pod, the name it is known by, and the bundle to check that name with."""

    address: Address
    server_name: str
    bundle: str

    @property
    def request(self) -> bytes:
        """The plainest HTTP request; the server closes when it has answered."""
        return f"GET / HTTP/1.0\r\nHost: {self.server_name}\r\n\r\n".encode()


def ask(target: Target, identity: Identity | None) -> Attempt:
    """Ask by TLS, with this client certificate or none. The server's certificate is always checked."""
    try:
        with _connected(target, identity) as connection:
            leaf = _peer_certificate(connection)
            version = connection.version() or ""
            received, ended = _exchange(connection, target.request)
            return Attempt(received, ended, version, leaf)
    except OSError as error:
        return Attempt(b"", _why(error))


def ask_in_plaintext(target: Target) -> Attempt:
    """Speak HTTP to the TLS port. A TLS alert is not application data and is left out."""
    try:
        with socket.create_connection(target.address, timeout=SECONDS) as connection:
            received, ended = _exchange(connection, target.request)
            return Attempt(_without_alerts(received), ended)
    except OSError as error:
        return Attempt(b"", _why(error))


@contextmanager
def held_connection(target: Target, identity: Identity) -> Iterator[http.client.HTTPConnection]:
    """One TLS connection that is asked again and again; nothing opens it anew when it was cut. Raises OSError."""
    connection = http.client.HTTPConnection(target.server_name)
    connection.auto_open = 0
    with _connected(target, identity) as tls:
        connection.sock = tls
        yield connection


def ask_again(connection: http.client.HTTPConnection) -> Attempt:
    """Ask on a held connection."""
    try:
        connection.request("GET", "/")
        response = connection.getresponse()
        return Attempt(response.read(), f"HTTP {response.status}")
    except (OSError, http.client.HTTPException) as error:
        return Attempt(b"", f"the connection was cut: {error!r}")


def foreign_identity(spiffe_id: str, folder: Path) -> Identity:
    """A client certificate that claims this SPIFFE ID, from a CA that nobody trusts; written into a new folder."""
    authority = trustme.CA()
    issuer = x509.load_pem_x509_certificate(authority.cert_pem.bytes())
    signer = load_pem_private_key(authority.private_key_pem.bytes(), None)
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    key = ec.generate_private_key(ec.SECP256R1())
    # By hand: trustme knows no URI names.
    leaf = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.now(UTC) - _DAY)
        .not_valid_after(datetime.now(UTC) + _DAY)
        .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(spiffe_id)]), critical=True)
        .sign(signer, hashes.SHA256())
    )
    identity = Identity(folder / "tls.crt", folder / "tls.key")
    folder.mkdir(mode=0o700)
    identity.chain.write_bytes(leaf.public_bytes(Encoding.PEM) + authority.cert_pem.bytes())
    identity.key.touch(mode=0o600)
    identity.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return identity


@contextmanager
def _connected(target: Target, identity: Identity | None) -> Iterator[ssl.SSLSocket]:
    context = ssl.create_default_context(cadata=target.bundle)
    if identity is not None:
        context.load_cert_chain(identity.chain, identity.key)
    with (
        socket.create_connection(target.address, timeout=SECONDS) as plain,
        context.wrap_socket(plain, server_hostname=target.server_name) as connection,
    ):
        yield connection


def _exchange(connection: socket.socket, request: bytes) -> tuple[bytes, str]:
    """Send, then read to the end. What was read before an error counts."""
    received = b""
    try:
        connection.sendall(request)
        while chunk := connection.recv(_CHUNK):
            received += chunk
    except OSError as error:
        return received, _why(error)
    return received, "the server closed the connection"


def _peer_certificate(connection: ssl.SSLSocket) -> x509.Certificate:
    der = connection.getpeercert(binary_form=True)
    assert der is not None  # A server always has one.
    return x509.load_der_x509_certificate(der)


def _without_alerts(received: bytes) -> bytes:
    while len(received) >= _HEADER and received[0] == _ALERT:
        received = received[_HEADER + int.from_bytes(received[3:5]) :]
    return received


def _why(error: OSError) -> str:
    """OpenSSL's own words where there are any."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    if isinstance(error, ssl.SSLError):
        return (error.reason or str(error).partition(" (_ssl.c")[0]).lower().replace("_", " ")
    if isinstance(error, TimeoutError):
        return f"no answer for {SECONDS:g} s"
    return (error.strerror or str(error)).lower()
