"""The webhook as it is deployed: real gunicorn behind a real edge proxy, and a client like kube-apiserver."""

import contextlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPSConnection
from pathlib import Path
from typing import Any

from lab.nginx import Nginx
from tests.injector.authority import Authority
from tests.injector.edge_proxies import EdgeProxy, Reply, before
from tests.injector.unprivileged import own
from tests.webhook.gunicorn_process import Webhook
from tests.webhook.gunicorn_process import running as running_webhook
from tests.webhook.world import body, pod

JSON = {"Content-Type": "application/json"}
MUTATE = "/mutate/mtls/port"
RETRYABLE = {502, 503, 504}


@dataclass
class WebhookEndpoint:
    """A running webhook and the edge proxy before it."""

    edge: EdgeProxy
    webhook: Webhook

    def review(
        self, raw: bytes | None = None, *, source: str = "127.0.0.1", headers: Mapping[str, str] | None = None
    ) -> Reply:
        """One review on a connection of its own."""
        sent = {**JSON, **(headers or {})}
        return self.edge.ask("POST", MUTATE, body=raw or body(pod()), headers=sent, source=source)

    def records(self) -> list[dict[str, Any]]:
        """What stands in the evidence log."""
        return self.webhook.records()


@contextmanager
def webhook_endpoint(
    nginx: Nginx,
    authority: Authority,
    workshop: Path,
    *,
    webhook_environ: Mapping[str, str] | None = None,
    bundle: bytes | None = None,
    edge_proxy_environ: Mapping[str, str] | None = None,
) -> Iterator[WebhookEndpoint]:
    """The webhook and its edge proxy; `bundle` is what the injected pods trust."""
    directory = workshop / "app"
    directory.mkdir()
    with running_webhook(directory, bundle_pem=bundle, **(webhook_environ or {})) as webhook:
        own(workshop)
        with before(webhook.socket, nginx, authority, workshop, **(edge_proxy_environ or {})) as edge:
            yield WebhookEndpoint(edge, webhook)


def assert_is_status(reply: Reply, code: int, message: str) -> None:
    """An error that kube-apiserver shows to whoever asked; what may be tried again says so."""
    assert reply.status == code
    assert reply.headers["Content-Type"] == "application/json"
    status = reply.json
    assert (status["kind"], status["apiVersion"], status["status"]) == ("Status", "v1", "Failure")
    assert status["code"] == code
    assert message in str(status["message"])
    assert ("Retry-After" in reply.headers) == (code in RETRYABLE | {429})


@dataclass
class Caller:
    """A client that keeps its connection, as kube-apiserver does, and remembers all that it was told."""

    edge: EdgeProxy
    replies: list[Reply]

    def admit(self, count: int) -> None:
        """Sends reviews one after the other, on a new connection when an answer has ended the one before."""
        connection = HTTPSConnection("127.0.0.1", self.edge.port, timeout=30)
        with contextlib.ExitStack() as opened:
            for _ in range(count):
                if connection.sock is None:
                    connection.sock = opened.enter_context(self.edge.connect())
                connection.request("POST", MUTATE, body(pod()), JSON)
                response = connection.getresponse()
                self.replies.append(Reply(response.status, dict(response.getheaders()), response.read()))

    def admitted(self) -> list[str]:
        """The record ids of the answers that admitted a pod."""
        answers = [json.loads(reply.body) for reply in self.replies if reply.status == 200]
        return [str(answer["response"]["auditAnnotations"]["record"]) for answer in answers]
