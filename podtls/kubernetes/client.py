"""The real ClusterReader: the only module of the command that knows the kubernetes client.

Its models are not used: they drop fields that they do not know.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import urllib3
from kubernetes.client import ApiClient, ApiException, Configuration

from ca.errors import ConfigurationError
from ca.kubeconfig import load_configuration
from contract.names import VERSION
from podtls.errors import InputError, UnreachableError
from podtls.kubernetes.reader import Access, ApiResponse, parse_object

_TIMEOUT: Final = (5, 15)  # Seconds to connect, and to respond: a proxied request may wait for a pod.
_HEADERS: Final = {"Accept": "application/json, */*", "User-Agent": f"podtls/{VERSION}"}
_ACCESS_REVIEWS: Final = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
_IN_A_POD: Final = "KUBERNETES_SERVICE_HOST"
_WAYS: Final = "give --kubeconfig FILE, set KUBECONFIG, or write ~/.kube/config"


class KubernetesReader:
    """ClusterReader of a real cluster; connects at the first request."""

    def __init__(self, configuration: Configuration) -> None:
        # A second try would hide what the person wants to know, and double the wait.
        configuration.retries = False
        self._host = configuration.host.rstrip("/")
        self._api = ApiClient(configuration)

    def get(self, path: str) -> ApiResponse:
        """GET a path. Raises UnreachableError."""
        return self._send("GET", path)

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
        reviewed = parse_object(self._send("POST", _ACCESS_REVIEWS, review), _ACCESS_REVIEWS) or {}
        return bool(reviewed.get("status", {}).get("allowed"))

    def _send(self, method: str, path: str, body: dict[str, Any] | None = None) -> ApiResponse:
        headers = dict(_HEADERS)
        self._api.update_params_for_auth(headers, None, ["BearerToken"], path, method, body)
        if body is not None:
            headers["Content-Type"] = "application/json"
        try:
            called = self._api.call_api(method, self._host + path, headers, body, _request_timeout=_TIMEOUT)
            # Read here, so that a cut connection is reported as one.
            content = bytes(called.response.data)
        except (urllib3.exceptions.HTTPError, ApiException) as error:
            raise UnreachableError(f"API server {self._host}: does not answer: {_format_reason(error)}") from error
        return ApiResponse(called.status, content, called.headers.get("Date", ""))


def connect(
    kubeconfig: Path | None, context: str | None, environment: Mapping[str, str] = os.environ
) -> KubernetesReader:
    """The cluster of --kubeconfig, else KUBECONFIG, else ~/.kube/config, else the one that this pod runs in.

    Raises InputError naming the file or the context that is wrong, or the ways to give a kubeconfig.
    """
    source = _find_kubeconfig(kubeconfig, environment)
    if not source and (context is not None or _IN_A_POD not in environment):
        raise InputError(f"{'' if context is None else '--context: '}no kubeconfig: {_WAYS}")
    try:
        return KubernetesReader(load_configuration(source, context=context))
    except ConfigurationError as error:
        raise InputError(str(error) if source else f"{error}; {_WAYS}") from error


def _find_kubeconfig(kubeconfig: Path | None, environment: Mapping[str, str]) -> str:
    if kubeconfig is not None:
        return str(kubeconfig)
    if named := environment.get("KUBECONFIG"):
        return named
    home = Path(environment.get("HOME", "/")) / ".kube" / "config"
    return str(home) if home.exists() else ""


def _format_reason(error: Exception) -> str:
    reason = getattr(error, "reason", None) or error
    return f"{type(error).__name__}: {reason}" if isinstance(reason, Exception) else str(reason)
