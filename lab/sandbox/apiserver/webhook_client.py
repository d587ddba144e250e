"""How kube-apiserver speaks to a webhook: HTTP/1.1 over TLS, kept alive, to the Service's address under its name.

Source: apiserver/pkg/util/webhook (ClientManager); client-go's rest.Request, which retries what says Retry-After.
"""

import contextlib
import http.client
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from lab.sandbox.apiserver.admission import WebhookEntry
from lab.sandbox.errors import WebhookCallError

Address = tuple[str, int]
# (namespace, service, port) -> where to dial. Raises WebhookCallError when nobody is there.
Resolve = Callable[[str, str, int], Address]

# Address, server name, bundle: what a connection may be used again for.
_Key = tuple[Address, str, str]

MAX_RETRIES: Final = 10
_HEADERS: Final = {
    "Accept": "application/json, */*",
    "Content-Type": "application/json",
    "User-Agent": "kube-apiserver-admission",
}


@dataclass(frozen=True, slots=True)
class WebhookResponse:
    """What a webhook answered; `retry_after` as it was written."""

    status: int
    retry_after: str | None
    body: bytes


class WebhookClient:
    """A ReviewSender with one kept-alive connection for each address and bundle."""

    def __init__(self, resolve: Resolve) -> None:
        self._resolve = resolve
        self._connections: dict[_Key, http.client.HTTPConnection] = {}
        self._lock = threading.Lock()

    def send(self, webhook: WebhookEntry, body: bytes) -> bytes:
        """The body of the 200 response, within the webhook's timeout. Raises WebhookCallError."""
        deadline = time.monotonic() + webhook.timeout_seconds
        for _ in range(MAX_RETRIES):
            response = self._exchange(webhook, body, deadline)
            if response.status == http.client.OK:
                return response.body
            if not _is_retryable(response):
                break
            wait = int(response.retry_after or 0)
            if time.monotonic() + wait >= deadline:
                raise WebhookCallError(f"failed to call webhook: context deadline exceeded after {_reason(response)}")
            time.sleep(wait)
        raise WebhookCallError(f"failed to call webhook: {_reason(response)}")

    def close(self) -> None:
        """Close what is kept alive."""
        with self._lock:
            for connection in self._connections.values():
                connection.close()
            self._connections.clear()

    def _exchange(self, webhook: WebhookEntry, body: bytes, deadline: float) -> WebhookResponse:
        key = (self._resolve(webhook.namespace, webhook.service, webhook.port), webhook.server_name, webhook.ca_bundle)
        with self._lock:
            try:
                return self._ask(key, webhook, body, deadline)
            except (OSError, http.client.HTTPException) as error:
                self._drop(key)
                raise WebhookCallError(f"failed to call webhook: Post {_url(webhook)!r}: {error}") from error

    def _ask(self, key: _Key, webhook: WebhookEntry, body: bytes, deadline: float) -> WebhookResponse:
        if key in self._connections:
            # A server may close an idle connection at any time; Go asks again on a new one, and so do we.
            with contextlib.suppress(http.client.RemoteDisconnected, ConnectionError):
                return _post(self._connections[key], webhook, body, deadline)
            self._drop(key)
        self._connections[key] = _connect(key[0], webhook, deadline)
        return _post(self._connections[key], webhook, body, deadline)

    def _drop(self, key: _Key) -> None:
        if key in self._connections:
            self._connections.pop(key).close()


def _connect(address: Address, webhook: WebhookEntry, deadline: float) -> http.client.HTTPConnection:
    context = ssl.create_default_context(cadata=webhook.ca_bundle)
    context.set_alpn_protocols(["http/1.1"])
    # HTTPConnection keeps ":443" in Host, as Go does; TLS is put under it here, since we dial an address, not the name.
    connection = http.client.HTTPConnection(webhook.server_name, webhook.port)
    connection.auto_open = 0
    plain = socket.create_connection(address, timeout=_remaining(deadline))
    try:
        connection.sock = context.wrap_socket(plain, server_hostname=webhook.server_name)
    except OSError:
        plain.close()
        raise
    return connection


def _post(
    connection: http.client.HTTPConnection, webhook: WebhookEntry, body: bytes, deadline: float
) -> WebhookResponse:
    if connection.sock is None:
        # The last response said "Connection: close".
        raise http.client.RemoteDisconnected("the server closed the connection")
    connection.sock.settimeout(_remaining(deadline))
    connection.request("POST", f"{webhook.path}?timeout={webhook.timeout_seconds}s", body, _HEADERS)
    response = connection.getresponse()
    return WebhookResponse(response.status, response.headers.get("Retry-After"), response.read())


def _remaining(deadline: float) -> float:
    remaining = deadline - time.monotonic()
    if remaining <= 0:
        raise TimeoutError("context deadline exceeded")
    return remaining


def _is_retryable(response: WebhookResponse) -> bool:
    """client-go's rule: 429 or any 5xx, and only when it says after how many seconds."""
    worth_it = response.status == http.client.TOO_MANY_REQUESTS or response.status >= http.client.INTERNAL_SERVER_ERROR
    return worth_it and response.retry_after is not None and response.retry_after.isdecimal()


def _reason(response: WebhookResponse) -> str:
    """The message of a metav1.Status body; any other body is dropped, as kube-apiserver drops it."""
    with contextlib.suppress(ValueError):
        status = json.loads(response.body)
        if isinstance(status, dict) and status.get("kind") == "Status" and status.get("message"):
            return str(status["message"])
    return f"the server responded with the status code {response.status} but did not return more information"


def _url(webhook: WebhookEntry) -> str:
    return f"https://{webhook.server_name}:{webhook.port}{webhook.path}?timeout={webhook.timeout_seconds}s"
