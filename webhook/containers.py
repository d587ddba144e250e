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
from webhook.settings import PodSettings


def init_container(plan: Inject, settings: PodSettings) -> dict[str, Any]:
    """Returns podtls-init: key, CSR, certificate and nginx.conf, before anything else of the Pod runs."""
    return _container(INIT_CONTAINER, plan.init_image, [INJECTOR_COMMAND, "init"], plan, settings)


def sidecar(plan: Inject, settings: PodSettings) -> dict[str, Any]:
    """Returns podtls-nginx, a native sidecar: the app starts when its startupProbe says that TLS is up."""
    container = _container(SIDECAR_CONTAINER, plan.sidecar_image, [SIDECAR_COMMAND], plan, settings)
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
            {"name": _port_name(index), "containerPort": pair.tls, "protocol": "TCP"}
            for index, pair in enumerate(plan.ports, start=1)
        ]
    return container


def volumes() -> list[dict[str, Any]]:
    """Returns the three volumes of our containers: generation, token, and what covers the default API token path."""
    token = {"audience": AUDIENCE, "expirationSeconds": TOKEN_SECONDS, "path": "token"}
    # 0644: with 0400 the file would be root's alone, and our uid is another one.
    projected = {"defaultMode": 0o644, "sources": [{"serviceAccountToken": token}]}
    return [
        {"name": RUN_VOLUME, "emptyDir": {"medium": "Memory", "sizeLimit": "16Mi"}},
        {"name": TOKEN_VOLUME, "projected": projected},
        {"name": NO_API_VOLUME, "emptyDir": {}},
    ]


def _container(name: str, image: str, command: list[str], plan: Inject, settings: PodSettings) -> dict[str, Any]:
    container: dict[str, Any] = {
        "name": name,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": command,
        "env": _environment(plan, settings),
        "volumeMounts": _mounts(),
        "securityContext": _security_context(settings),
        "terminationMessagePath": TERMINATION_MESSAGE,
        "terminationMessagePolicy": "File",
    }
    if plan.set_resources:
        # Requests equal limits, so that a Pod of QoS class Guaranteed stays one.
        amounts = {"cpu": settings.cpu, "memory": settings.memory}
        container["resources"] = {"limits": amounts, "requests": dict(amounts)}
    return container


def _mounts() -> list[dict[str, Any]]:
    return [
        {"name": RUN_VOLUME, "mountPath": RUN_DIRECTORY},
        {"name": TOKEN_VOLUME, "mountPath": TOKEN_DIRECTORY, "readOnly": True},
        # The ServiceAccount admission plugin mounts an API token where this path is free; we need none.
        {"name": NO_API_VOLUME, "mountPath": API_TOKEN_DIRECTORY, "readOnly": True},
    ]


def _environment(plan: Inject, settings: PodSettings) -> list[dict[str, Any]]:
    return [
        _value(ENV_CA_URL, settings.ca_url),
        _value(ENV_TRUST_BUNDLE, settings.trust_bundle),
        _value(ENV_TRUST_DOMAIN, settings.trust_domain),
        _field(ENV_NAMESPACE, "metadata.namespace"),
        _field(ENV_SERVICE_ACCOUNT, "spec.serviceAccountName"),
        _value(ENV_MODE, plan.mode),
        _value(ENV_PORTS, plan.ports_text),
        _value(ENV_UPSTREAMS, ",".join(str(upstream) for upstream in plan.upstreams)),
        _value(ENV_BUDGET, str(plan.budget_seconds)),
    ]


def _value(name: str, value: str) -> dict[str, Any]:
    return {"name": name, "value": value}


def _field(name: str, path: str) -> dict[str, Any]:
    return {"name": name, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}}


def _security_context(settings: PodSettings) -> dict[str, Any]:
    # https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted
    context: dict[str, Any] = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    if settings.run_as_user is not None:
        context |= {"runAsUser": settings.run_as_user, "runAsGroup": settings.run_as_user}
    return context


def _port_name(index: int) -> str:
    return PORT_NAME if index == 1 else f"{PORT_NAME}-{index}"
