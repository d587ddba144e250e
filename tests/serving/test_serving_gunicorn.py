"""Our gunicorn settings and worker, with a small app behind them: real processes, a real socket."""

import stat
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from pathlib import Path

import pytest

from tests.serving.gunicorn_process import DEADLINE_SECONDS, UnixConnection, run_gunicorn, start_gunicorn

pytestmark = pytest.mark.integration

SMALL = ("tests.serving.small_conf", "tests.serving.small_app:make_app()")


@pytest.fixture
def folder() -> Iterator[Path]:
    # The path of a unix socket ends at 107 bytes; pytest's own folders may be longer.
    with tempfile.TemporaryDirectory(prefix="podtls-") as made:
        yield Path(made)


@pytest.fixture
def socket(folder: Path) -> Iterator[Path]:
    """Where a gunicorn with two workers listens."""
    path = folder / "s"
    with run_gunicorn(*SMALL, {"PODTLS_SOCKET": str(path), "PODTLS_WORKERS": "2"}):
        yield path


def test_edge_proxy_of_another_uid_may_open_the_socket(socket: Path) -> None:
    assert stat.S_IMODE(socket.stat().st_mode) == 0o777


def test_metrics_are_those_of_all_workers(socket: Path) -> None:
    def count(_: int) -> bytes:
        with UnixConnection(socket) as connection:
            return connection.get("/count")[1]

    with ThreadPoolExecutor(4) as pool:
        bodies = list(pool.map(count, range(40)))

    with UnixConnection(socket) as connection:
        metrics = connection.get("/metrics")[1].decode()
    assert set(bodies) == {b"counted"}
    assert "\nsmall_requests_total 40.0\n" in metrics


def test_nothing_of_a_response_that_breaks_off_is_sent(socket: Path) -> None:
    with UnixConnection(socket) as connection, pytest.raises((OSError, HTTPException), match="without response"):
        connection.get("/broken")


def test_wrong_number_ends_the_start_with_its_name(folder: Path) -> None:
    process = start_gunicorn(*SMALL, {"PODTLS_SOCKET": str(folder / "s"), "PODTLS_WORKERS": "0"})

    output, _ = process.communicate(timeout=DEADLINE_SECONDS)

    assert process.returncode != 0
    assert "PODTLS_WORKERS: got '0', expected a number from 1 to 99" in output.decode()


def test_server_that_cannot_listen_leaves_no_counters_behind(folder: Path) -> None:
    counters = folder / "counters"
    counters.mkdir()
    environment = {"PODTLS_SOCKET": str(folder / "none/s"), "PROMETHEUS_MULTIPROC_DIR": str(counters)}

    output, _ = start_gunicorn(*SMALL, environment).communicate(timeout=DEADLINE_SECONDS)

    assert "Can't connect to" in output.decode()
    assert not counters.exists()
