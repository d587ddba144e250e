"""The webhook as it runs: real gunicorn on a unix socket, and a client that speaks HTTP to it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.serving.gunicorn_process import DEADLINE_SECONDS, UnixConnection, is_ok
from tests.webhook.bundles import bundle_pem as any_bundle
from tests.webhook.world import SETTINGS, body, pod


class WebhookConnection(UnixConnection):
    """An HTTP connection to the webhook's socket."""

    def admit(self) -> str:
        """Sends a review and returns the id of its record."""
        response, answer = self.ask("POST", "/mutate/mtls/port", body(pod()), {"Content-Type": "application/json"})
        assert response.status == 200, answer
        record = json.loads(answer)["response"]["auditAnnotations"]["record"]
        assert isinstance(record, str)
        return record


class Webhook:
    """A running gunicorn, its socket and its evidence log."""

    def __init__(self, directory: Path, *, bundle_pem: bytes | None = None, **environ: str) -> None:
        self.socket = directory / "gunicorn.sock"
        self.log = directory / "evidence.jsonl"
        bundle = directory / "ca.crt"
        bundle.write_bytes(bundle_pem or any_bundle())
        environment = {
            **os.environ,
            "HOME": str(directory),
            "PODTLS_INIT_IMAGE": SETTINGS.pods.image,
            "PODTLS_TRUST_BUNDLE_FILE": str(bundle),
            "PODTLS_LOG": str(self.log),
            "PODTLS_SOCKET": str(self.socket),
            "PODTLS_REPLICA": "podtls-webhook-0",
            "PODTLS_WORKERS": "2",
            **environ,
        }
        command = [sys.executable, "-m", "gunicorn", "-c", "python:webhook.gunicorn_conf", "webhook.app:from_env()"]
        self.output = directory / "output"
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                command, cwd=directory, env=environment, stdout=output, stderr=subprocess.STDOUT
            )

    def connection(self) -> WebhookConnection:
        """A new connection."""
        return WebhookConnection(self.socket)

    def workers(self) -> set[int]:
        """The process ids of the workers."""
        pid = self.process.pid
        return {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()}

    def wait_until_ready(self) -> None:
        """Polls /readyz until the webhook says yes."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not is_ok(self.socket, "/readyz"):
            assert self.process.poll() is None, self.output.read_text("utf-8")
            assert time.monotonic() < deadline, self.output.read_text("utf-8")
            time.sleep(0.05)

    def records(self) -> list[dict[str, Any]]:
        """The records in the evidence log."""
        return [json.loads(line) for line in self.log.read_bytes().splitlines()] if self.log.exists() else []

    def terminate(self) -> int:
        """SIGTERM; returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(DEADLINE_SECONDS)


@contextmanager
def running(directory: Path, *, bundle_pem: bytes | None = None, **environ: str) -> Iterator[Webhook]:
    """A webhook that is ready, and gone afterwards; `environ` is what its administrator has set besides."""
    webhook = Webhook(directory, bundle_pem=bundle_pem, **environ)
    try:
        webhook.wait_until_ready()
        yield webhook
    finally:
        if webhook.process.poll() is None:
            webhook.terminate()
