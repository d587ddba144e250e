"""sidecar.sh as a real process: start, readiness, renewal, graceful stop, and what happens when Nginx dies."""

import contextlib
import os
import signal
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from contract.names import ENV_PORTS
from injector import generation
from tests.injector.authority import Authority
from tests.injector.est_server import EstServer, answer
from tests.injector.peers import GREETING, client_context, connect, plain_app, talk
from tests.injector.processes import eventually, free_port, process
from tests.injector.sidecars import SIDECAR, Sidecar, call
from tests.injector.unprivileged import own

pytestmark = pytest.mark.integration


@pytest.fixture
def sidecar(prepared: dict[str, str], authority: Authority, workshop: Path, tmp_path: Path) -> Iterator[Sidecar]:
    """A pod after its init container: certificate there, sidecar started, Nginx listening."""
    run, log, port = Path(prepared["PODTLS_RUN"]), workshop / "log", free_port()
    with plain_app() as app:
        environ = {**prepared, ENV_PORTS: f"{port}={app.port}"}
        assert call(["podtls-injector", "init"], environ) == 0, (workshop / "termination").read_text()
        (run / "nginx.pid").write_text("999999999\n")
        with process(["sh", SIDECAR], environ=environ, log=log) as shell:
            trusted = client_context(authority.bundle, authority.leaf(), tmp_path)
            running = Sidecar(shell, port, run, log, environ, trusted)
            eventually(running.ready, log)
            yield running


def test_the_sidecar_serves_what_init_wrote(sidecar: Sidecar) -> None:
    assert talk(sidecar.port, sidecar.context) == GREETING + b"hello\n"


def test_term_lets_open_connections_end_and_exits_with_zero(sidecar: Sidecar) -> None:
    with connect(sidecar.port, sidecar.context) as old:
        old.sendall(b"before\n")
        assert old.recv(1024) == GREETING + b"before\n"
        sidecar.shell.send_signal(signal.SIGTERM)
        eventually(lambda: _is_closed(sidecar.port), sidecar.log)
        old.sendall(b"after\n")

        assert old.recv(1024) == GREETING + b"after\n"
        assert sidecar.shell.poll() is None

    assert sidecar.ends() == 0
    assert not sidecar.ready()


def test_a_second_term_cuts_them(sidecar: Sidecar) -> None:
    with connect(sidecar.port, sidecar.context) as old:
        old.sendall(b"before\n")
        assert old.recv(1024) == GREETING + b"before\n"
        sidecar.shell.send_signal(signal.SIGTERM)
        eventually(lambda: _is_closed(sidecar.port), sidecar.log)
        sidecar.shell.send_signal(signal.SIGTERM)

        assert sidecar.ends() == 0


def test_an_nginx_that_dies_ends_the_sidecar_with_a_failure(sidecar: Sidecar) -> None:
    os.kill(sidecar.master(), signal.SIGKILL)

    assert sidecar.ends() == 128 + signal.SIGKILL
    sidecar.logged("podtls sidecar: nginx ended by itself with status 137")
    assert not sidecar.ready()


def test_an_nginx_that_somebody_else_stops_is_a_failure_too(sidecar: Sidecar) -> None:
    os.kill(sidecar.master(), signal.SIGQUIT)

    assert sidecar.ends() == 1
    sidecar.logged("nginx ended by itself with status 0")


def test_names_that_change_renew_and_reload_without_cutting_a_connection(sidecar: Sidecar, est: EstServer) -> None:
    with connect(sidecar.port, sidecar.context) as old:
        old.sendall(b"before\n")
        assert old.recv(1024) == GREETING + b"before\n"
        est.dns.append("checkout-2.shop.svc")

        sidecar.logged("podtls sidecar: serves gen-000002")
        eventually(lambda: _answers_as(sidecar, "checkout-2.shop.svc"), sidecar.log)
        old.sendall(b"after\n")

        assert old.recv(1024) == GREETING + b"after\n"


def test_a_ca_that_is_down_is_a_warning_and_the_sidecar_serves_on(sidecar: Sidecar, est: EstServer) -> None:
    est.dns.append("checkout-2.shop.svc")
    est.behaviours = [answer(403, b"not today")]

    sidecar.logged("renew: the CA answered 403: not today; the certificate before stays, next try in")

    assert talk(sidecar.port, sidecar.context) == GREETING + b"hello\n"
    assert sidecar.shell.poll() is None


def test_a_generation_that_nginx_refuses_is_not_loaded_and_the_next_one_is(sidecar: Sidecar) -> None:
    good = generation.read(sidecar.run)
    generation.write(sidecar.run, replace(good, nginx=b"nonsense;"))
    own(sidecar.run)

    sidecar.logged("nginx refuses gen-000002, goes on with gen-000001")

    assert talk(sidecar.port, sidecar.context) == GREETING + b"hello\n"


def test_a_generation_that_somebody_else_wrote_is_loaded(sidecar: Sidecar) -> None:
    generation.write(sidecar.run, generation.read(sidecar.run))
    own(sidecar.run)

    sidecar.logged("podtls sidecar: serves gen-000002")

    assert talk(sidecar.port, sidecar.context) == GREETING + b"hello\n"


def test_without_a_generation_the_sidecar_says_what_is_missing(prepared: dict[str, str], workshop: Path) -> None:
    with process(["sh", SIDECAR, "run"], environ=prepared, log=workshop / "log") as shell:
        code = shell.wait(timeout=20)

    assert code == 69
    assert "podtls-init has not run" in (workshop / "log").read_text()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can try to run it as root")
def test_the_sidecar_never_runs_as_root(prepared: dict[str, str]) -> None:
    result = subprocess.run(["sh", SIDECAR], env=prepared, capture_output=True, check=False, timeout=20)

    assert result.returncode == 64
    assert b"refuses to run as root" in result.stderr


def test_another_word_is_a_usage_error(prepared: dict[str, str]) -> None:
    assert call(["sh", SIDECAR, "start"], prepared) == 64


def test_an_empty_pid_file_is_not_ready(prepared: dict[str, str]) -> None:
    (Path(prepared["PODTLS_RUN"]) / "nginx.pid").touch()  # as `nginx -t` leaves it

    assert call(["sh", SIDECAR, "ready"], prepared) == 1


def _is_closed(port: int) -> bool:
    with contextlib.suppress(ConnectionError), connect(port, None):
        return False
    return True


def _answers_as(sidecar: Sidecar, name: str) -> bool:
    with contextlib.suppress(ssl.SSLCertVerificationError), connect(sidecar.port, sidecar.context, name=name):
        return True
    return False
