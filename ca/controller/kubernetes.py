"""The controller's writes to a real cluster, by the kubernetes client; and the Lease that elects one replica.

kube.py is the door's: three reads that must be cheap. Here a round takes a few requests every few seconds, and the
client's own typed calls are clearer. Secrets and ConfigMaps are ours alone, so strict models lose nothing of others.
"""

import base64
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

import urllib3
from kubernetes import client
from kubernetes.leaderelection import electionconfig, leaderelection
from kubernetes.leaderelection.resourcelock.leaselock import LeaseLock

from ca.controller.reconcile import Secret
from ca.errors import UnavailableError
from contract.names import BUNDLE_CONFIG_MAP, BUNDLE_FILE, CONTROLLER_NAME, WEBHOOK_CONFIGURATION

_TIMEOUT: Final = (2, 5)  # Seconds to connect, and for the answer.
_APPLY: Final = "application/apply-patch+yaml"
_LABELS: Final = {
    "app.kubernetes.io/name": "podtls",
    "app.kubernetes.io/component": "controller",
    "app.kubernetes.io/part-of": "podtls",
    "app.kubernetes.io/managed-by": CONTROLLER_NAME,
}


class KubernetesControlPlane:
    """ControlPlane of a real cluster, in one namespace."""

    def __init__(self, configuration: client.Configuration, namespace: str) -> None:
        api = client.ApiClient(configuration)
        self._namespace = namespace
        self._core = client.CoreV1Api(api)
        self._admission = client.AdmissionregistrationV1Api(api)

    def secret(self, name: str) -> Secret | None:
        """A Secret, None when there is none. Raises UnavailableError."""
        with _answers(f"Secret {name}"):
            try:
                found = self._core.read_namespaced_secret(name, self._namespace, _request_timeout=_TIMEOUT)
            except client.ApiException as error:
                if error.status == 404:
                    return None
                raise
        data = {key: base64.b64decode(value) for key, value in (found.data or {}).items()}
        return Secret(data, (found.metadata and found.metadata.resource_version) or "")

    def create_secret(self, name: str, data: Mapping[str, bytes]) -> None:
        """Create a Secret of type kubernetes.io/tls; do nothing when somebody was first. Raises UnavailableError."""
        body = self._secret(name, data)
        with _answers(f"creating Secret {name}"), _unless(409):
            self._core.create_namespaced_secret(
                self._namespace, body, field_manager=CONTROLLER_NAME, _request_timeout=_TIMEOUT
            )

    def replace_secret(self, name: str, data: Mapping[str, bytes], *, version: str) -> None:
        """Replace a Secret's data; do nothing when it is no longer of `version`. Raises UnavailableError."""
        body = self._secret(name, data, version)
        with _answers(f"replacing Secret {name}"), _unless(409):
            self._core.replace_namespaced_secret(
                name, self._namespace, body, field_manager=CONTROLLER_NAME, _request_timeout=_TIMEOUT
            )

    def publish_bundle(self, bundle: bytes) -> None:
        """Make the ConfigMap carry this trust bundle; write nothing when it does. Raises UnavailableError."""
        data = {BUNDLE_FILE: bundle.decode("ascii")}
        body = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": BUNDLE_CONFIG_MAP, "labels": _LABELS},
            "data": data,
        }
        with _answers(f"ConfigMap {BUNDLE_CONFIG_MAP}"):
            with _unless(404):
                read = self._core.read_namespaced_config_map
                if read(BUNDLE_CONFIG_MAP, self._namespace, _request_timeout=_TIMEOUT).data == data:
                    return
            self._core.patch_namespaced_config_map(BUNDLE_CONFIG_MAP, self._namespace, body, **_apply())

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
            with _answers(f"{kind} {WEBHOOK_CONFIGURATION}"), _unless(404):
                # An apply would make a configuration that is not there; whether there is one is the admin's decision.
                entries = read(WEBHOOK_CONFIGURATION, _request_timeout=_TIMEOUT).webhooks or []
                if any(entry.client_config.ca_bundle != encoded for entry in entries):
                    patch(
                        WEBHOOK_CONFIGURATION, _ca_bundles(kind, [entry.name for entry in entries], encoded), **_apply()
                    )

    def _secret(self, name: str, data: Mapping[str, bytes], version: str | None = None) -> client.V1Secret:
        return client.V1Secret(
            metadata=client.V1ObjectMeta(
                name=name, namespace=self._namespace, labels=_LABELS, resource_version=version
            ),
            type="kubernetes.io/tls",
            data={key: base64.b64encode(value).decode("ascii") for key, value in data.items()},
        )


def lead(
    configuration: client.Configuration,
    namespace: str,
    identity: str,
    work: Callable[[], None],
    *,
    timeout: tuple[float, float] = _TIMEOUT,
) -> None:
    """Wait until the Lease is ours and do `work`; return when the Lease is lost or the work ended.

    `timeout` is what each attempt of a request may take, in seconds: to connect, and for the answer.
    Raises UnavailableError when the API server cannot be reached, or does not answer.
    """
    with _answers(f"Lease {CONTROLLER_NAME}"):
        election(configuration, namespace, identity, work, timeout=timeout).run()  # type: ignore[no-untyped-call]


def election(
    configuration: client.Configuration,
    namespace: str,
    identity: str,
    work: Callable[[], None],
    *,
    timeout: tuple[float, float] = _TIMEOUT,
) -> leaderelection.LeaderElection:
    """One candidate, who has not asked for the Lease yet; `timeout` as of lead()."""
    client.Configuration.set_default(configuration)  # LeaseLock builds its own client.
    lock = LeaseLock(CONTROLLER_NAME, namespace, identity)  # type: ignore[no-untyped-call]
    # Its calls have no timeout. Where a server accepts and never answers (a load balancer that drops in silence), both
    # replicas would wait for ever, alive and ready, and nobody would lead.
    for name in ("read_namespaced_lease", "create_namespaced_lease", "replace_namespaced_lease"):
        setattr(lock.api_instance, name, partial(getattr(lock.api_instance, name), _request_timeout=timeout))
    config = electionconfig.Config(  # type: ignore[no-untyped-call]
        lock,
        lease_duration=15,
        renew_deadline=10,
        retry_period=2,
        onstarted_leading=work,
        onstopped_leading=lambda: None,
    )
    return leaderelection.LeaderElection(config)  # type: ignore[no-untyped-call]


def _ca_bundles(kind: str, entries: list[str], encoded: str) -> dict[str, Any]:
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": kind,
        "metadata": {"name": WEBHOOK_CONFIGURATION},
        # Merged by name: this manager owns these fields and no others.
        "webhooks": [{"name": name, "clientConfig": {"caBundle": encoded}} for name in entries],
    }


def _apply() -> dict[str, Any]:
    return {
        "field_manager": CONTROLLER_NAME,
        "force": True,
        "_content_type": _APPLY,
        "_request_timeout": _TIMEOUT,
    }


@contextmanager
def _answers(what: str) -> Iterator[None]:
    """Turns what the client raises into UnavailableError; the body of an answer is not repeated (it may hold data)."""
    try:
        yield
    except client.ApiException as error:
        raise UnavailableError(f"{what}: the API server answers {error.status} {error.reason}") from error
    except urllib3.exceptions.HTTPError as error:
        raise UnavailableError(f"{what}: the API server does not answer: {type(error).__name__}") from error


@contextmanager
def _unless(status: int) -> Iterator[None]:
    try:
        yield
    except client.ApiException as error:
        if error.status != status:
            raise
