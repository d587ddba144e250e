import os
import re
import signal
import stat
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from pathlib import Path

import pytest

from tests.serving.gunicorn_process import DEADLINE_SECONDS
from tests.webhook.gunicorn_process import Webhook, running

pytestmark = pytest.mark.integration


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    # The path of a unix socket has at most 107 bytes; pytest's own folders may be longer.
    with tempfile.TemporaryDirectory(prefix="podtls-") as directory, running(Path(directory)) as webhook:
        yield webhook


def admissions(webhook: Webhook, count: int) -> list[str]:
    with webhook.connection() as connection:
        return [connection.admit() for _ in range(count)]


def test_gunicorn_serves_only_on_a_unix_socket_that_the_edge_proxy_may_open(webhook: Webhook) -> None:
    record = admissions(webhook, 1)[0]

    assert [entry["id"] for entry in webhook.records()] == [record]
    assert stat.S_IMODE(webhook.socket.stat().st_mode) == 0o777
    assert stat.S_IMODE(webhook.log.stat().st_mode) == 0o640
    directory = webhook.socket.parent
    assert {path.name for path in directory.iterdir()} == {"gunicorn.sock", "evidence.jsonl", "ca.crt", "output"}
    assert "Listening at: unix:" in webhook.output.read_text("utf-8")


def test_concurrent_requests_each_get_their_answer_and_record(webhook: Webhook) -> None:
    with ThreadPoolExecutor(12) as pool:
        batches = list(pool.map(lambda _: admissions(webhook, 20), range(12)))

    answered = [record for batch in batches for record in batch]
    assert len(set(answered)) == 240
    assert {entry["id"] for entry in webhook.records()} == set(answered)


def test_response_is_sent_in_one_write_so_that_a_killed_worker_does_not_cut_it(webhook: Webhook) -> None:
    asked = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"

    with webhook.connection() as connection:
        connection.connect()
        firsts = []
        for _ in range(200):
            connection.sock.sendall(asked)
            firsts.append(connection.sock.recv(65536))

    # One write is read at once; the first of two writes would be read alone sooner or later.
    assert [answer for answer in firsts if not answer.endswith(b"\r\n\r\nok\n")] == []


def test_metrics_are_those_of_all_workers(webhook: Webhook) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: admissions(webhook, 10), range(4)))

    with webhook.connection() as connection:
        text = connection.ask("GET", "/metrics")[1].decode()

    assert re.search(r'^podtls_admissions_total\{decision="inject",mode="mtls"\} 40\.0$', text, re.MULTILINE)


def test_killed_worker_is_replaced_and_the_log_stays_readable(webhook: Webhook) -> None:
    admissions(webhook, 1)
    before = webhook.workers()

    os.kill(min(before), signal.SIGKILL)

    deadline = time.monotonic() + DEADLINE_SECONDS
    while len(webhook.workers() - {min(before)}) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    webhook.wait_until_ready()
    assert len(admissions(webhook, 5)) == 5
    assert len(webhook.records()) == 6


def test_sigterm_under_load_loses_no_accepted_answer(webhook: Webhook) -> None:
    answered: list[str] = []
    busy = threading.Event()

    def hammer(_: int) -> None:
        try:
            with webhook.connection() as connection:
                while True:
                    answered.append(connection.admit())
                    if len(answered) > 50:
                        busy.set()
        except (OSError, HTTPException):
            return  # A connection that was closed before its request was accepted.

    with ThreadPoolExecutor(6) as pool:
        clients = pool.map(hammer, range(6))
        assert busy.wait(DEADLINE_SECONDS)
        code = webhook.terminate()
        list(clients)

    assert code == 0
    # Each accepted request has a record and a response, and each response has a record.
    assert sorted(entry["id"] for entry in webhook.records()) == sorted(answered)


def test_wrong_setting_ends_the_start_with_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PODTLS_RUN_AS_USER", "0")
    webhook = Webhook(tmp_path)

    code = webhook.process.wait(DEADLINE_SECONDS)

    assert code != 0
    assert "PODTLS_RUN_AS_USER: got 0, expected" in webhook.output.read_text("utf-8")
