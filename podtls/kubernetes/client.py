"""The real ClusterReader: the only module of the command that knows the kubernetes client.

Of its models it uses none: they drop the fields that they do not know.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import urllib3
import yaml
from kubernetes.client import ApiClient, ApiException, Configuration
from kubernetes.config import ConfigException, load_incluster_config, load_kube_config

from contract.names import VERSION
from podtls.errors import InputError, UnreachableError
from podtls.kubernetes.reader import Access, Answer, parse

_TIMEOUT: Final = (5, 15)  # Seconds to connect, and for the answer: a proxied request may wait for a pod.
_HEADERS: Final = {"Accept": "application/json, */*", "User-Agent": f"podtls/{VERSION}"}
_ACCESS_REVIEWS: Final = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
_IN_A_POD: Final = "KUBERNETES_SERVICE_HOST"


class KubernetesReader:
    """ClusterReader of a real cluster; connects at the first question."""

    def __init__(self, configuration: Configuration) -> None:
        # A second try would hide what the person wants to know, and doubles the wait.
        configuration.retries = False
        self._host = configuration.host.rstrip("/")
        self._api = ApiClient(configuration)

    def get(self, path: str) -> Answer:
        """GET a path. Raises UnreachableError."""
        return self._ask("GET", path)

    def may(self, access: Access) -> bool:
        """Whether the caller may do this. Raises UnreachableError, CredentialsError, ForbiddenError."""
        resource, _, subresource = access.resource.partition("/")
        attributes = {
            "verb": access.verb,
            "group": access.group,
            "resource": resource,
            "subresource": subresource,
            "namespace": access.namespace,
            "name": access.name,
        }
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": {key: value for key, value in attributes.items() if value}},
        }
        answer = parse(self._ask("POST", _ACCESS_REVIEWS, review), _ACCESS_REVIEWS) or {}
        return bool(answer.get("status", {}).get("allowed"))

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Answer:
        headers = dict(_HEADERS)
        self._api.update_params_for_auth(headers, None, ["BearerToken"], path, method, body)
        if body is not None:
            headers["Content-Type"] = "application/json"
        try:
            answer = self._api.call_api(method, self._host + path, headers, body, _request_timeout=_TIMEOUT)
            # Read here, where a cut connection is still ours to report.
            content = bytes(answer.response.data)
        except (urllib3.exceptions.HTTPError, ApiException) as error:
            raise UnreachableError(f"API server {self._host}: does not answer: {_reason(error)}") from error
        return Answer(answer.status, content, answer.headers.get("Date", ""))


def connect(
    kubeconfig: Path | None, context: str | None, environment: Mapping[str, str] = os.environ
) -> KubernetesReader:
    """The cluster of --kubeconfig, else KUBECONFIG, else ~/.kube/config, else the one that we run in.

    Raises InputError naming the file or the context that is wrong.
    """
    found = Configuration()
    source = _source(kubeconfig, environment)
    try:
        if source:
            load_kube_config(source, context=context, client_configuration=found, persist_config=False)  # type: ignore[no-untyped-call]
        elif context is None:
            load_incluster_config(client_configuration=found)  # type: ignore[no-untyped-call]
        else:
            raise InputError("--context: there is no kubeconfig; give --kubeconfig or set KUBECONFIG")
    except (ConfigException, OSError, yaml.YAMLError) as error:
        hint = f"kubeconfig {source}" if source else "no kubeconfig (give --kubeconfig or set KUBECONFIG), no pod"
        raise InputError(f"{hint}: {error}") from error
    return KubernetesReader(found)


def _source(kubeconfig: Path | None, environment: Mapping[str, str]) -> str:
    if kubeconfig is not None:
        return str(kubeconfig)
    if named := environment.get("KUBECONFIG"):
        return named
    home = Path(environment.get("HOME", "/")) / ".kube" / "config"
    return str(home) if home.exists() or _IN_A_POD not in environment else ""


def _reason(error: Exception) -> str:
    reason = getattr(error, "reason", None) or error
    return f"{type(error).__name__}: {reason}" if isinstance(reason, Exception) else str(reason)
