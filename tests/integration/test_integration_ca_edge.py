"""The CA as a pod meets it: real TLS, real edge proxy, real gunicorn; bad input, and faults during a request."""

import http.client
import os
import signal
import socket
import ssl
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from audit.log import read
from audit.record import CertificateRecord
from contract.names import PATH_CACERTS, PATH_CSRATTRS, PATH_ENROLL, PATH_EST
from lab.nginx import Nginx
from tests.injector.authority import Authority
from tests.injector.processes import eventually
from tests.injector.unprivileged import need_python
from tests.integration.enrollment import Installation, installation
from tests.webhook.world import body, pod

pytestmark = pytest.mark.integration


@pytest.fixture
def parts(any_nginx: Nginx, authority: Authority, workshop: Path) -> Iterator[Installation]:
    need_python()
    with installation(any_nginx, authority, workshop) as found:
        yield found


@pytest.fixture(scope="module")
def lasting(any_nginx: Nginx, authority: Authority, lasting_workshop: Path) -> Iterator[Installation]:
    """An installation for tests that leave nothing behind."""
    with installation(any_nginx, authority, lasting_workshop) as found:
        yield found


@contextmanager
def connected(parts: Installation, source: str = "127.0.0.1") -> Iterator[ssl.SSLSocket]:
    """A TLS connection to the CA, trusted by the root that the pods trust."""
    context = ssl.create_default_context(cafile=parts.workshop / "ca" / "authority" / "issuing" / "ca.crt")
    address = ("127.0.0.1", parts.ca.port)
    with (
        socket.create_connection(address, timeout=20, source_address=(source, 0)) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as connection,
    ):
        yield connection


def ask(parts: Installation, headers: dict[str, str], sent: bytes = b"") -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPSConnection("127.0.0.1", parts.ca.port, timeout=20)
    with connected(parts) as connection.sock:
        connection.request("POST", PATH_ENROLL, sent, headers)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()


def get(parts: Installation, path: str) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPSConnection("127.0.0.1", parts.ca.port, timeout=20)
    with connected(parts) as connection.sock:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()


def test_est_client_meets_no_text_where_the_ca_says_that_there_is_nothing(lasting: Installation) -> None:
    assert [get(lasting, path)[::2] for path in (PATH_CSRATTRS, f"{PATH_EST}serverkeygen")] == [(204, b""), (404, b"")]
    assert b"\n" not in get(lasting, PATH_CACERTS)[2]


def decisions(parts: Installation) -> list[str]:
    found = [each for each in read(parts.logs[1]) if isinstance(each, CertificateRecord)]
    return [each.decision for each in found if each.pod == "web"]


@pytest.mark.parametrize(
    ("headers", "sent", "status"),
    [
        pytest.param({}, b"x", 401, id="no token"),
        pytest.param({"Authorization": "Bearer a.b.c"}, b"x", 401, id="a token that nobody knows"),
        pytest.param({"Authorization": "Basic YTpi"}, b"x", 401, id="Basic"),
        pytest.param({"Content-Length": "65537"}, b"", 413, id="a body over the limit"),
        pytest.param({"Authorization": "Bearer " + "a" * 9000}, b"x", 400, id="a token longer than a header may be"),
    ],
)
def test_who_is_nobody_is_told_nothing(
    lasting: Installation, headers: dict[str, str], sent: bytes, status: int
) -> None:
    code, answered, said = ask(lasting, headers, sent)

    assert (code, said) == (status, b"")
    assert ("WWW-Authenticate" in answered) == (status == 401)
    assert decisions(lasting) == []


def test_four_clients_that_send_half_a_request_do_not_delay_a_pod(parts: Installation) -> None:
    stored = parts.admit(body(pod(serviceAccountName="payments")), pod(serviceAccountName="payments"))
    head = f"POST {PATH_ENROLL} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nM"

    with ExitStack() as slow:
        sockets = [slow.enter_context(connected(parts, "127.0.0.2")) for _ in range(4)]
        for each in sockets:
            each.sendall(head.encode())
        result = parts.init(stored)
        rests = [each.recv(1024) for each in sockets]

    assert result.returncode == 0, result.stderr
    assert rests == [b""] * 4


def in_the_middle(parts: Installation, fault: Callable[[], object]) -> tuple[int, str]:
    """Enroll a pod, and do `fault` while the CA waits for the API server's word on its token."""
    raw = pod(serviceAccountName="payments")
    stored = parts.admit(body(raw), raw)
    parts.ca.server.listener.faults.released.clear()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(parts.init, stored)
        eventually(lambda: parts.ca.server.listener.requests)
        fault()
        parts.ca.server.listener.faults.released.set()
        result = running.result(60)
    return result.returncode, result.stderr


def test_pod_whose_worker_is_killed_comes_again_and_gets_one_certificate(parts: Installation) -> None:
    def kill() -> None:
        for worker in parts.ca.workers():
            os.kill(worker, signal.SIGKILL)

    code, said = in_the_middle(parts, kill)

    assert code == 0, said
    assert decisions(parts) == ["issue"]


def test_pod_that_is_being_answered_when_sigterm_comes_gets_its_certificate(parts: Installation) -> None:
    code, said = in_the_middle(parts, lambda: parts.ca.process.send_signal(signal.SIGTERM))

    assert code == 0, said
    assert decisions(parts) == ["issue"]
    assert parts.ca.process.wait(60) == 0


def test_api_server_that_fails_for_a_moment_is_waited_for(parts: Installation) -> None:
    raw = pod(serviceAccountName="payments")
    stored = parts.admit(body(raw), raw)
    parts.ca.server.listener.faults.cuts = 2

    result = parts.init(stored)

    assert result.returncode == 0, result.stderr
    assert decisions(parts) == ["issue"]
