"""The only module of the door that talks to the API server: three questions, each one HTTPS request, typed answers.

The address, the trust and the credentials come from the `kubernetes` client. Its models and its transport stay
outside: the models drop unknown fields, and the transport costs more CPU than signing does (https.py). Proxies are
not used: whoever certifies pods talks to the API server itself.
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
import yaml
from kubernetes.client import Configuration
from kubernetes.config import ConfigException, load_incluster_config, load_kube_config

from ca.api.https import READ_SECONDS, Answer, Connections, Server
from ca.api.objects import Pod, Service, ServiceList, TokenReview
from ca.errors import ConfigurationError, UnavailableError
from contract.names import VERSION

Answered = TypeVar("Answered")

# The kubelet rewrites a projected token long before it ends; client-go re-reads it at the same pace.
_TOKEN_SECONDS: Final = 60.0
# Nobody waits for an Event, but one of few threads is busy with it.
_NOTICE_SECONDS: Final = 1.0
_REVIEW_PATH: Final = "/apis/authentication.k8s.io/v1/tokenreviews"


class KubernetesAPI:
    """All of ca.api.app.ClusterReader, of a real cluster. `load` reads the credentials, again and again."""

    def __init__(self, load: Callable[[], Configuration], *, token_seconds: float = _TOKEN_SECONDS) -> None:
        self._load = load
        self._token_seconds = token_seconds
        self._lock = threading.Lock()
        found = load()
        self._authorization = _authorization(found)
        self._fresh_until = time.monotonic() + token_seconds
        url = urlsplit(found.host)
        self._connections = Connections(server_of(found))
        # A proxy in front of several clusters has the API under a path.
        self._prefix = url.path.rstrip("/")
        self._headers = f"Host: {url.netloc}\r\nUser-Agent: podtls-ca/{VERSION}\r\nAccept: application/json\r\n"

    def review(self, unverified_token: str, audience: str) -> TokenReview:
        """Whom a token belongs to, asked for one audience only. Raises UnavailableError."""
        question = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": unverified_token, "audiences": [audience]},
        }
        answer = self._ask("POST", _REVIEW_PATH, orjson.dumps(question))
        return _decode(answer, TokenReview, "a TokenReview")

    def pod(self, namespace: str, name: str) -> Pod | None:
        """A Pod, None when there is none (any more). Raises UnavailableError."""
        answer = self._ask("GET", f"/api/v1/namespaces/{quote(namespace, safe='')}/pods/{quote(name, safe='')}")
        return None if answer.status == 404 else _decode(answer, Pod, "a Pod")

    def services(self, namespace: str) -> list[Service]:
        """All Services of a namespace. Raises UnavailableError."""
        answer = self._ask("GET", f"/api/v1/namespaces/{quote(namespace, safe='')}/services")
        return _decode(answer, ServiceList, "Services").items or []

    def create_event(self, namespace: str, event: dict[str, Any]) -> None:
        """Store a core/v1 Event, or nothing when one of its name is there. Raises UnavailableError."""
        path = f"/api/v1/namespaces/{quote(namespace, safe='')}/events"
        answer = self._ask("POST", path, orjson.dumps(event), seconds=_NOTICE_SECONDS)
        if answer.status != 409 and not 200 <= answer.status < 300:
            raise UnavailableError(f"the API server answers {answer.status} to an Event")

    def close(self) -> None:
        """Close the connections that are kept."""
        self._connections.close()

    def _ask(self, method: str, path: str, body: bytes = b"", *, seconds: float = READ_SECONDS) -> Answer:
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
                    self._authorization = _authorization(self._load())
                except ConfigurationError as error:
                    raise UnavailableError(f"our own credentials are gone: {error}") from error
                self._fresh_until = time.monotonic() + self._token_seconds
            return self._authorization


def connect(environment: Mapping[str, str]) -> KubernetesAPI:
    """The API server of KUBECONFIG, else that of the cluster we run in. Raises ConfigurationError; connects later."""
    return KubernetesAPI(lambda: configuration(environment))


def configuration(environment: Mapping[str, str]) -> Configuration:
    """Address, trust and credentials of KUBECONFIG, else of the cluster we run in. Raises ConfigurationError."""
    kubeconfig = environment.get("KUBECONFIG", "")
    found = Configuration()
    try:
        if kubeconfig:
            load_kube_config(kubeconfig, client_configuration=found, persist_config=False)  # type: ignore[no-untyped-call]
        else:
            load_incluster_config(client_configuration=found)  # type: ignore[no-untyped-call]
    except (ConfigException, OSError, yaml.YAMLError) as error:
        where = f"KUBECONFIG={kubeconfig}" if kubeconfig else "in-cluster configuration (KUBECONFIG is not set)"
        raise ConfigurationError(f"API server: {where}: {error}") from error
    return found


def server_of(found: Configuration) -> Server:
    """Where the API server is and what to trust there. Raises ConfigurationError."""
    url = urlsplit(found.host)
    # Who could stand in for the API server could vouch for anybody.
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


def _authorization(found: Configuration) -> str:
    # A file's token ends with a line break, and one in the middle would write further headers.
    words = (found.get_api_key_with_prefix("BearerToken") or "").split()
    return f"Authorization: {' '.join(words)}\r\n" if words else ""


def _decode(answer: Answer, kind: type[Answered], what: str) -> Answered:
    if not 200 <= answer.status < 300:
        raise UnavailableError(f"the API server answers {answer.status} when asked for {what}")
    try:
        return msgspec.json.decode(answer.body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UnavailableError(f"the API server's answer is not {what}: {error}") from error
