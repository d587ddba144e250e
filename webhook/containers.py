"""What an injected Pod carries: our two containers and their volumes, as data. Nothing of the user's Pod is read here.

Every field that the API server would default is written, so that a second round finds what the first one wrote
(https://kubernetes.io/docs/reference/generated/kubernetes-api/v1.33/, "Defaults to ...").
"""

from typing import Any

from injector import contract
from webhook.decision import Inject
from webhook.settings import PodSettings


def init_container(plan: Inject, settings: PodSettings) -> dict[str, Any]:
    """Returns podtls-init: key, CSR, certificate and nginx.conf, before anything else of the Pod runs."""
    return _container(contract.INIT_CONTAINER, plan.init_image, [contract.INJECTOR_COMMAND, "init"], plan, settings)


def sidecar(plan: Inject, settings: PodSettings) -> dict[str, Any]:
    """Returns podtls-nginx, a native sidecar: the app starts when its startupProbe says that TLS is up."""
    container = _container(contract.SIDECAR_CONTAINER, plan.sidecar_image, [contract.SIDECAR_COMMAND], plan, settings)
    container["restartPolicy"] = "Always"
    container["startupProbe"] = {
        "exec": {"command": [contract.SIDECAR_COMMAND, "ready"]},
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
    token = {"audience": contract.AUDIENCE, "expirationSeconds": contract.TOKEN_SECONDS, "path": "token"}
    # 0644: with 0400 the file would be root's alone, and our uid is another one.
    projected = {"defaultMode": 0o644, "sources": [{"serviceAccountToken": token}]}
    return [
        {"name": contract.RUN_VOLUME, "emptyDir": {"medium": "Memory", "sizeLimit": "16Mi"}},
        {"name": contract.TOKEN_VOLUME, "projected": projected},
        {"name": contract.NO_API_VOLUME, "emptyDir": {}},
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
        "terminationMessagePath": contract.TERMINATION_MESSAGE,
        "terminationMessagePolicy": "File",
    }
    if plan.set_resources:
        # Requests equal limits, so that a Pod of QoS class Guaranteed stays one.
        amounts = {"cpu": settings.cpu, "memory": settings.memory}
        container["resources"] = {"limits": amounts, "requests": dict(amounts)}
    return container


def _mounts() -> list[dict[str, Any]]:
    return [
        {"name": contract.RUN_VOLUME, "mountPath": contract.RUN_DIRECTORY},
        {"name": contract.TOKEN_VOLUME, "mountPath": contract.TOKEN_DIRECTORY, "readOnly": True},
        # The ServiceAccount admission plugin mounts an API token where this path is free; we need none.
        {"name": contract.NO_API_VOLUME, "mountPath": contract.API_TOKEN_DIRECTORY, "readOnly": True},
    ]


def _environment(plan: Inject, settings: PodSettings) -> list[dict[str, Any]]:
    return [
        _value(contract.ENV_CA_URL, settings.ca_url),
        _value(contract.ENV_TRUST_BUNDLE, settings.trust_bundle),
        _value(contract.ENV_TRUST_DOMAIN, settings.trust_domain),
        _field(contract.ENV_NAMESPACE, "metadata.namespace"),
        _field(contract.ENV_SERVICE_ACCOUNT, "spec.serviceAccountName"),
        _value(contract.ENV_MODE, plan.mode),
        _value(contract.ENV_PORTS, plan.ports_text),
        _value(contract.ENV_UPSTREAMS, ",".join(str(upstream) for upstream in plan.upstreams)),
        _value(contract.ENV_BUDGET, str(plan.budget_seconds)),
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
    return contract.PORT_NAME if index == 1 else f"{contract.PORT_NAME}-{index}"
