"""What the controller reads and writes in a real cluster, with the typed calls of the kubernetes client.

The CA API has its own transport, because its requests must be cheap (ca/api/kube.py). The controller sends a few every
few seconds, so clarity wins. Nobody else writes to these Secrets and ConfigMaps, so the client's models, which drop
unknown fields, lose nothing.
"""

import base64
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import urllib3
from kubernetes import client

from ca.controller.reconcile import Secret
from ca.errors import UnavailableError
from contract.names import BUNDLE_CONFIG_MAP, BUNDLE_FILE, CONTROLLER_NAME, WEBHOOK_CONFIGURATION

_TIMEOUT: Final = (2.0, 5.0)  # Seconds to connect, and for the response.
_APPLY: Final = "application/apply-patch+yaml"
_LABELS: Final = {
    "app.kubernetes.io/name": "podtls",
    "app.kubernetes.io/component": "controller",
    "app.kubernetes.io/part-of": "podtls",
    "app.kubernetes.io/managed-by": CONTROLLER_NAME,
}


class TimedClient(client.ApiClient):
    """A client whose every request ends: `timeout` is for each attempt, in seconds to connect and for the response."""

    def __init__(self, configuration: client.Configuration, *, timeout: tuple[float, float] = _TIMEOUT) -> None:
        super().__init__(configuration)
        self._timeout = timeout

    def call_api(self, *request: Any, _request_timeout: Any = None) -> Any:
        """Send a request; the generated calls pass None where their caller named no timeout."""
        timeout = _request_timeout or self._timeout
        return super().call_api(*request, _request_timeout=timeout)  # type: ignore[misc]  # `request` ends before it


class KubernetesControlPlane:
    """ControlPlane of a real cluster, in one namespace."""

    def __init__(self, api: TimedClient, namespace: str) -> None:
        self._namespace = namespace
        self._core = client.CoreV1Api(api)
        self._admission = client.AdmissionregistrationV1Api(api)

    def secret(self, name: str) -> Secret | None:
        """A Secret, None when there is none. Raises UnavailableError."""
        with translate_errors(f"Secret {name}"):
            try:
                found = self._core.read_namespaced_secret(name, self._namespace)
            except client.ApiException as error:
                if error.status == 404:
                    return None
                raise
        data = {key: base64.b64decode(value) for key, value in (found.data or {}).items()}
        return Secret(data, (found.metadata and found.metadata.resource_version) or "")

    def create_secret(self, name: str, data: Mapping[str, bytes]) -> None:
        """Create a Secret of type kubernetes.io/tls; do nothing when it exists already. Raises UnavailableError."""
        body = self._build_secret(name, data)
        with translate_errors(f"creating Secret {name}"), _ignore_status(409):
            self._core.create_namespaced_secret(self._namespace, body, field_manager=CONTROLLER_NAME)

    def replace_secret(self, name: str, data: Mapping[str, bytes], *, version: str) -> None:
        """Replace a Secret's data; do nothing when it is no longer of `version`. Raises UnavailableError."""
        body = self._build_secret(name, data, version)
        with translate_errors(f"replacing Secret {name}"), _ignore_status(409):
            self._core.replace_namespaced_secret(name, self._namespace, body, field_manager=CONTROLLER_NAME)

    def publish_bundle(self, bundle: bytes) -> None:
        """Make the ConfigMap carry this trust bundle; write nothing when it does. Raises UnavailableError."""
        data = {BUNDLE_FILE: bundle.decode("ascii")}
        body = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": BUNDLE_CONFIG_MAP, "labels": _LABELS},
            "data": data,
        }
        with translate_errors(f"ConfigMap {BUNDLE_CONFIG_MAP}"):
            with _ignore_status(404):
                read = self._core.read_namespaced_config_map
                if read(BUNDLE_CONFIG_MAP, self._namespace).data == data:
                    return
            self._core.patch_namespaced_config_map(BUNDLE_CONFIG_MAP, self._namespace, body, **_apply_options())

    def publish_ca_bundle(self, bundle: bytes) -> None:
        """Make every entry of both webhook configurations carry it as caBundle; write nothing where all do.

        Raises UnavailableError.
        """
        encoded = base64.b64encode(bundle).decode("ascii")
        for kind, read, patch in (
            (
                "MutatingWebhookConfiguration",
                self._admission.read_mutating_webhook_configuration,
                self._admission.patch_mutating_webhook_configuration,
            ),
            (
                "ValidatingWebhookConfiguration",
                self._admission.read_validating_webhook_configuration,
                self._admission.patch_validating_webhook_configuration,
            ),
        ):
            with translate_errors(f"{kind} {WEBHOOK_CONFIGURATION}"), _ignore_status(404):
                # An apply would create a configuration that is not there, and that is the administrator's decision.
                entries = read(WEBHOOK_CONFIGURATION).webhooks or []
                if any(entry.client_config.ca_bundle != encoded for entry in entries):
                    patch(
                        WEBHOOK_CONFIGURATION,
                        _build_ca_bundles(kind, [entry.name for entry in entries], encoded),
                        **_apply_options(),
                    )

    def _build_secret(self, name: str, data: Mapping[str, bytes], version: str | None = None) -> client.V1Secret:
        return client.V1Secret(
            metadata=client.V1ObjectMeta(
                name=name, namespace=self._namespace, labels=_LABELS, resource_version=version
            ),
            type="kubernetes.io/tls",
            data={key: base64.b64encode(value).decode("ascii") for key, value in data.items()},
        )


def _build_ca_bundles(kind: str, entries: list[str], encoded: str) -> dict[str, Any]:
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": kind,
        "metadata": {"name": WEBHOOK_CONFIGURATION},
        # Merged by name: this manager owns these fields and no others.
        "webhooks": [{"name": name, "clientConfig": {"caBundle": encoded}} for name in entries],
    }


def _apply_options() -> dict[str, Any]:
    return {
        "field_manager": CONTROLLER_NAME,
        "force": True,
        "_content_type": _APPLY,
    }


@contextmanager
def translate_errors(what: str) -> Iterator[None]:
    """Turns what the client raises into UnavailableError, without the body of a response: it may hold secret data."""
    try:
        yield
    except client.ApiException as error:
        raise UnavailableError(f"{what}: the API server answers {error.status} {error.reason}") from error
    except urllib3.exceptions.HTTPError as error:
        raise UnavailableError(f"{what}: the API server does not answer: {type(error).__name__}") from error


@contextmanager
def _ignore_status(status: int) -> Iterator[None]:
    try:
        yield
    except client.ApiException as error:
        if error.status != status:
            raise
