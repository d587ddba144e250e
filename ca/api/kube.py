"""What the CA API asks of the API server: a TokenReview, a Pod, Services; and the Event that it creates there.

Each is one HTTPS request with a typed response. Address, trust and credentials come from the `kubernetes` client. Its
models are not used, because they drop unknown fields; nor is its transport, because it takes more CPU time than signing
(https.py). Proxies are not used either: the CA must ask the API server itself.
"""

import http.client
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar
from urllib.parse import quote, urlsplit

import msgspec
import orjson
from kubernetes.client import Configuration

from ca.api.https import READ_SECONDS, ConnectionPool, Server, ServerResponse
from ca.api.objects import Pod, Service, ServiceList, TokenReview
from ca.errors import ConfigurationError, UnavailableError
from ca.kubeconfig import load_configuration
from contract.names import VERSION

Kind = TypeVar("Kind")

# The kubelet rewrites a projected token long before it ends; client-go re-reads it at the same pace.
_TOKEN_SECONDS: Final = 60.0
# The caller does not wait for an Event, but a thread does, and there are few.
_NOTICE_SECONDS: Final = 1.0
_REVIEW_PATH: Final = "/apis/authentication.k8s.io/v1/tokenreviews"


class KubernetesAPI:
    """ca.api.app.ClusterAPI of a real cluster. `load` reads the credentials, which rotate, again and again."""

    def __init__(self, load: Callable[[], Configuration], *, token_seconds: float = _TOKEN_SECONDS) -> None:
        self._load = load
        self._token_seconds = token_seconds
        self._lock = threading.Lock()
        found = load()
        self._authorization = _format_authorization(found)
        self._fresh_until = time.monotonic() + token_seconds
        url = urlsplit(found.host)
        self._connections = ConnectionPool(locate_server(found))
        # A proxy in front of several clusters has the API under a path.
        self._prefix = url.path.rstrip("/")
        self._headers = f"Host: {url.netloc}\r\nUser-Agent: podtls-ca/{VERSION}\r\nAccept: application/json\r\n"

    def review(self, unverified_token: str, audience: str) -> TokenReview:
        """Whom a token belongs to, asked for one audience only. Raises UnavailableError."""
        review = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": unverified_token, "audiences": [audience]},
        }
        response = self._send("POST", _REVIEW_PATH, orjson.dumps(review))
        return _decode(response, TokenReview, "a TokenReview")

    def pod(self, namespace: str, name: str) -> Pod | None:
        """A Pod, None when there is none (any more). Raises UnavailableError."""
        response = self._send("GET", f"/api/v1/namespaces/{quote(namespace, safe='')}/pods/{quote(name, safe='')}")
        return None if response.status == 404 else _decode(response, Pod, "a Pod")

    def services(self, namespace: str) -> list[Service]:
        """All Services of a namespace. Raises UnavailableError."""
        response = self._send("GET", f"/api/v1/namespaces/{quote(namespace, safe='')}/services")
        return _decode(response, ServiceList, "Services").items or []

    def create_event(self, namespace: str, event: dict[str, Any]) -> None:
        """Store a core/v1 Event, or nothing when one of its name is there. Raises UnavailableError."""
        path = f"/api/v1/namespaces/{quote(namespace, safe='')}/events"
        response = self._send("POST", path, orjson.dumps(event), seconds=_NOTICE_SECONDS)
        if response.status != 409 and not 200 <= response.status < 300:
            raise UnavailableError(f"the API server answers {response.status} to an Event")

    def close(self) -> None:
        """Close the connections that are kept."""
        self._connections.close()

    def _send(self, method: str, path: str, body: bytes = b"", *, seconds: float = READ_SECONDS) -> ServerResponse:
        lines = f"{method} {self._prefix}{path} HTTP/1.1\r\n{self._headers}{self._current_authorization()}"
        if body:
            lines += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        try:
            # Each may be sent twice: a TokenReview changes nothing, and an Event is stored once by its name.
            return self._connections.exchange(f"{lines}\r\n".encode("ascii") + body, seconds=seconds)
        except (OSError, http.client.HTTPException) as error:
            raise UnavailableError(f"the API server does not answer: {type(error).__name__}") from error

    def _current_authorization(self) -> str:
        with self._lock:
            if time.monotonic() >= self._fresh_until:
                try:
                    self._authorization = _format_authorization(self._load())
                except ConfigurationError as error:
                    raise UnavailableError(f"our own credentials are gone: {error}") from error
                self._fresh_until = time.monotonic() + self._token_seconds
            return self._authorization


def connect(environment: Mapping[str, str]) -> KubernetesAPI:
    """The API server of KUBECONFIG, else that of the cluster we run in. Raises ConfigurationError; connects later."""
    return KubernetesAPI(lambda: load_configuration(environment.get("KUBECONFIG", "")))


def locate_server(found: Configuration) -> Server:
    """Where the API server is and what to trust there. Raises ConfigurationError."""
    url = urlsplit(found.host)
    # Another server in its place could vouch for anybody.
    if url.scheme != "https" or not found.verify_ssl:
        raise ConfigurationError(f"API server: {found.host}: only HTTPS with a verified certificate will do")
    try:
        context = ssl.create_default_context(cafile=found.ssl_ca_cert)
        if found.cert_file:
            context.load_cert_chain(found.cert_file, found.key_file)
    except OSError as error:
        raise ConfigurationError(f"API server: {found.ssl_ca_cert}, {found.cert_file}: {error}") from error
    host = url.hostname or ""
    return Server(host, url.port or 443, found.tls_server_name or host, context)


def _format_authorization(found: Configuration) -> str:
    # A file's token ends with a line break, and one in the middle would write further headers.
    words = (found.get_api_key_with_prefix("BearerToken") or "").split()
    return f"Authorization: {' '.join(words)}\r\n" if words else ""


def _decode(response: ServerResponse, kind: type[Kind], what: str) -> Kind:
    if not 200 <= response.status < 300:
        raise UnavailableError(f"the API server answers {response.status} when asked for {what}")
    try:
        return msgspec.json.decode(response.body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UnavailableError(f"the API server's answer is not {what}: {error}") from error
