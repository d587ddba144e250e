"""The only module that talks to the API server: three questions, each one HTTPS request, typed answers.

The address, the trust and the credentials come from the `kubernetes` client, and so does the connection pool (kept
alive, one per process). Its models and its request layer stay outside: the models drop unknown fields, and the layer
costs a quarter more CPU per request than the pool alone.
"""

import threading
import time
from collections.abc import Callable, Mapping
from typing import Final, TypeVar
from urllib.parse import quote, urlsplit

import msgspec
import orjson
import urllib3
import yaml
from kubernetes.client import ApiClient, Configuration
from kubernetes.config import ConfigException, load_incluster_config, load_kube_config

from ca.errors import ConfigurationError, UnavailableError
from ca.objects import Pod, Service, ServiceList, TokenReview
from injector import contract

Answered = TypeVar("Answered")

# In seconds. Three questions, each at worst tried twice, end before the front gives up (30 s).
_TIMEOUT: Final = urllib3.Timeout(connect=1, read=3)
# One more try over a new connection when a kept one turns out to be dead. A TokenReview changes nothing, so that its
# POST may be sent twice. Statuses are not retried: the client is told to come back, and waits outside.
_RETRY: Final = urllib3.Retry(
    total=1, redirect=0, status=0, other=0, allowed_methods=None, respect_retry_after_header=False
)
# The kubelet rewrites a projected token long before it ends; client-go re-reads it at the same pace.
_TOKEN_SECONDS: Final = 60.0
_HEADERS: Final = {"Accept": "application/json", "User-Agent": f"podtls-ca/{contract.VERSION}"}

_REVIEW_PATH: Final = "/apis/authentication.k8s.io/v1/tokenreviews"


class KubernetesAPI:
    """TokenReviewer, PodReader and ServiceReader of a real cluster. `load` reads the credentials, again and again."""

    def __init__(self, load: Callable[[], Configuration], *, token_seconds: float = _TOKEN_SECONDS) -> None:
        self._load = load
        self._token_seconds = token_seconds
        self._lock = threading.Lock()
        configuration = load()
        self._authorization = configuration.get_api_key_with_prefix("BearerToken")
        self._fresh_until = time.monotonic() + token_seconds
        self._pool = ApiClient(configuration).rest_client.pool_manager.connection_from_url(configuration.host)
        # A proxy in front of several clusters has the API under a path.
        self._prefix = urlsplit(configuration.host).path.rstrip("/")

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

    def close(self) -> None:
        """Close the connections that are kept."""
        self._pool.close()

    def _ask(self, method: str, path: str, body: bytes | None = None) -> urllib3.BaseHTTPResponse:
        headers = _HEADERS if body is None else {**_HEADERS, "Content-Type": "application/json"}
        authorization = self._current_authorization()
        if authorization:
            headers = {**headers, "Authorization": authorization}
        try:
            return self._pool.urlopen(
                method,
                self._prefix + path,
                body=body,
                headers=headers,
                retries=_RETRY,
                timeout=_TIMEOUT,
                redirect=False,
            )
        except urllib3.exceptions.HTTPError as error:
            raise UnavailableError(f"the API server does not answer: {type(error).__name__}") from error

    def _current_authorization(self) -> str | None:
        with self._lock:
            if time.monotonic() >= self._fresh_until:
                try:
                    self._authorization = self._load().get_api_key_with_prefix("BearerToken")
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


def _decode(answer: urllib3.BaseHTTPResponse, kind: type[Answered], what: str) -> Answered:
    if not 200 <= answer.status < 300:
        raise UnavailableError(f"the API server answers {answer.status} when asked for {what}")
    try:
        return msgspec.json.decode(answer.data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UnavailableError(f"the API server's answer is not {what}: {error}") from error
