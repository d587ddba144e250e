"""What an injected Pod carries: our two containers and their volumes, as data. Nothing of the user's Pod is read here.

Every field that the API server would default is written, so that a second round finds what the first one wrote
(https://kubernetes.io/docs/reference/generated/kubernetes-api/v1.33/, "Defaults to ...").
"""

from typing import Any

from contract.names import (
    API_TOKEN_DIRECTORY,
    AUDIENCE,
    ENV_BUDGET,
    ENV_CA_URL,
    ENV_MODE,
    ENV_NAMESPACE,
    ENV_PORTS,
    ENV_SERVICE_ACCOUNT,
    ENV_TRUST_BUNDLE,
    ENV_TRUST_DOMAIN,
    ENV_UPSTREAMS,
    INIT_CONTAINER,
    INJECTOR_COMMAND,
    NO_API_VOLUME,
    PORT_NAME,
    RUN_DIRECTORY,
    RUN_VOLUME,
    SIDECAR_COMMAND,
    SIDECAR_CONTAINER,
    TERMINATION_MESSAGE,
    TOKEN_DIRECTORY,
    TOKEN_SECONDS,
    TOKEN_VOLUME,
)
from webhook.decision import Inject
from webhook.settings import InjectionSettings


def build_init_container(plan: Inject, settings: InjectionSettings) -> dict[str, Any]:
    """Returns podtls-init: key, CSR, certificate and nginx.conf, before anything else of the Pod runs."""
    return _build_container(INIT_CONTAINER, [INJECTOR_COMMAND, "init"], plan, settings)


def build_sidecar(plan: Inject, settings: InjectionSettings) -> dict[str, Any]:
    """Returns podtls-nginx, a native sidecar: the app starts when its startupProbe says that TLS is up."""
    container = _build_container(SIDECAR_CONTAINER, [SIDECAR_COMMAND], plan, settings)
    container["restartPolicy"] = "Always"
    container["startupProbe"] = {
        "exec": {"command": [SIDECAR_COMMAND, "ready"]},
        "failureThreshold": 60,
        "periodSeconds": 1,
        "successThreshold": 1,
        "timeoutSeconds": 5,
    }
    if plan.ports:
        container["ports"] = [
            {"name": _name_port(index), "containerPort": pair.tls, "protocol": "TCP"}
            for index, pair in enumerate(plan.ports, start=1)
        ]
    return container


def build_volumes() -> list[dict[str, Any]]:
    """Returns the three volumes of our containers: generation, token, and what covers the default API token path."""
    token = {"audience": AUDIENCE, "expirationSeconds": TOKEN_SECONDS, "path": "token"}
    # 0644: with 0400 only root could read the file, and we run as another uid.
    projected = {"defaultMode": 0o644, "sources": [{"serviceAccountToken": token}]}
    return [
        {"name": RUN_VOLUME, "emptyDir": {"medium": "Memory", "sizeLimit": "16Mi"}},
        {"name": TOKEN_VOLUME, "projected": projected},
        {"name": NO_API_VOLUME, "emptyDir": {}},
    ]


def _build_container(name: str, command: list[str], plan: Inject, settings: InjectionSettings) -> dict[str, Any]:
    container: dict[str, Any] = {
        "name": name,
        "image": plan.mirrored_images.get(name, settings.pods.image),
        "imagePullPolicy": "IfNotPresent",
        "command": command,
        "env": _build_environment(plan, settings),
        "volumeMounts": _build_mounts(),
        "securityContext": _build_security_context(settings.pods.run_as_user),
        "terminationMessagePath": TERMINATION_MESSAGE,
        "terminationMessagePolicy": "File",
    }
    if plan.set_resources:
        # Requests equal limits, so that a Pod of QoS class Guaranteed stays one.
        amounts = {"cpu": settings.pods.cpu, "memory": settings.pods.memory}
        container["resources"] = {"limits": amounts, "requests": dict(amounts)}
    return container


def _build_mounts() -> list[dict[str, Any]]:
    return [
        {"name": RUN_VOLUME, "mountPath": RUN_DIRECTORY},
        {"name": TOKEN_VOLUME, "mountPath": TOKEN_DIRECTORY, "readOnly": True},
        # The ServiceAccount admission plugin mounts an API token where this path is free; we need none.
        {"name": NO_API_VOLUME, "mountPath": API_TOKEN_DIRECTORY, "readOnly": True},
    ]


def _build_environment(plan: Inject, settings: InjectionSettings) -> list[dict[str, Any]]:
    return [
        _build_variable(ENV_CA_URL, settings.pods.ca_url),
        _build_variable(ENV_TRUST_BUNDLE, settings.trust_bundle),
        _build_variable(ENV_TRUST_DOMAIN, settings.pods.trust_domain),
        _build_field_variable(ENV_NAMESPACE, "metadata.namespace"),
        _build_field_variable(ENV_SERVICE_ACCOUNT, "spec.serviceAccountName"),
        _build_variable(ENV_MODE, plan.mode),
        _build_variable(ENV_PORTS, plan.ports_text),
        _build_variable(ENV_UPSTREAMS, ",".join(str(dialled.upstream) for dialled in plan.upstreams)),
        _build_variable(ENV_BUDGET, str(plan.budget_seconds)),
    ]


def _build_variable(name: str, value: str) -> dict[str, Any]:
    return {"name": name, "value": value}


def _build_field_variable(name: str, path: str) -> dict[str, Any]:
    return {"name": name, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}}


def _build_security_context(run_as_user: int | None) -> dict[str, Any]:
    # https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted
    context: dict[str, Any] = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    if run_as_user is not None:
        context |= {"runAsUser": run_as_user, "runAsGroup": run_as_user}
    return context


def _name_port(index: int) -> str:
    return PORT_NAME if index == 1 else f"{PORT_NAME}-{index}"
