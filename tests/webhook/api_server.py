"""What kube-apiserver makes of a Pod before a webhook sees it (again): its defaults, and its in-tree plugins.

Written from the API reference (https://kubernetes.io/docs/reference/generated/kubernetes-api/v1.33/) and the pages on
admission plugins, not from our code; the cluster tier compares it with the real one.
"""

import copy
from typing import Any

_API_TOKEN_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
_API_TOKEN_VOLUME = "kube-api-access-x7k2p"
# Pointers and structs of Go that are written although they are empty.
_KEPT_EMPTY = frozenset({"emptyDir", "securityContext", "resources"})
# Plain booleans of Go: false is left out (omitempty).
_PLAIN_BOOLEANS = frozenset({"readOnly", "hostNetwork", "hostPID", "hostIPC", "stdin", "stdinOnce", "tty"})


def as_sent(pod: dict[str, Any]) -> dict[str, Any]:
    """The Pod as it arrives in a webhook: decoded, defaulted, with a ServiceAccount and its API token."""
    sent: dict[str, Any] = _without_empty(copy.deepcopy(pod))
    sent["metadata"] = {"namespace": "shop", "creationTimestamp": None, **sent.get("metadata", {})}
    _default_spec(sent["spec"])
    for container in _containers(sent):
        _default_container(container)
    for volume in sent["spec"].get("volumes", []):
        _default_volume(volume)
    _mount_api_token(sent)
    return sent


def always_pull_images(pod: dict[str, Any]) -> dict[str, Any]:
    """Admission plugin AlwaysPullImages, in place."""
    for container in _containers(pod):
        container["imagePullPolicy"] = "Always"
    return pod


def limit_range(pod: dict[str, Any], **defaults: str) -> dict[str, Any]:
    """Admission plugin LimitRanger with default limits and requests, in place."""
    for container in _containers(pod):
        for kind in ("limits", "requests"):
            resources = container.setdefault("resources", {}).setdefault(kind, {})
            container["resources"][kind] = {**defaults, **resources}
    return pod


def debug_copy(pod: dict[str, Any]) -> dict[str, Any]:
    """`kubectl debug --copy-to`: labels, annotations and owners are dropped, a container is added."""
    copied = copy.deepcopy(pod)
    copied["metadata"] = {"name": "copy", "namespace": "shop"}
    copied["spec"]["containers"].append({"name": "debugger", "image": "busybox:1", "stdin": True, "tty": True})
    return copied


def _containers(pod: dict[str, Any]) -> list[dict[str, Any]]:
    return [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]


def _without_empty(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_empty(item) for item in value]
    if not isinstance(value, dict):
        return value
    members = {key: _without_empty(item) for key, item in value.items()}
    return {key: item for key, item in members.items() if not _is_left_out(key, item)}


def _is_left_out(key: str, value: Any) -> bool:
    if value is None or value in ("", []):
        return True
    if value == {}:
        return key not in _KEPT_EMPTY
    return value is False and key in _PLAIN_BOOLEANS


def _default_spec(spec: dict[str, Any]) -> None:
    account = spec.get("serviceAccountName", "default")
    defaults = {
        "restartPolicy": "Always",
        "terminationGracePeriodSeconds": 30,
        "dnsPolicy": "ClusterFirst",
        "serviceAccountName": account,
        "serviceAccount": account,
        "securityContext": {},
        "schedulerName": "default-scheduler",
        "priority": 0,
        "enableServiceLinks": True,
        "preemptionPolicy": "PreemptLowerPriority",
        "tolerations": [
            {"key": f"node.kubernetes.io/{key}", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}
            for key in ("not-ready", "unreachable")
        ],
    }
    for key, value in defaults.items():
        spec.setdefault(key, value)


def _default_container(container: dict[str, Any]) -> None:
    tag = container["image"].rpartition("/")[2].partition(":")[2]
    container.setdefault("imagePullPolicy", "Always" if tag in ("", "latest") else "IfNotPresent")
    container.setdefault("terminationMessagePath", "/dev/termination-log")
    container.setdefault("terminationMessagePolicy", "File")
    resources = container.setdefault("resources", {})
    if "limits" in resources:
        resources["requests"] = {**resources["limits"], **resources.get("requests", {})}
    for port in container.get("ports", []):
        port.setdefault("protocol", "TCP")
    for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
        if probe in container:
            _default_probe(container[probe])
    for variable in container.get("env", []):
        if "fieldRef" in variable.get("valueFrom", {}):
            variable["valueFrom"]["fieldRef"].setdefault("apiVersion", "v1")


def _default_probe(probe: dict[str, Any]) -> None:
    for key, value in {"timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3}.items():
        probe.setdefault(key, value)
    if "httpGet" in probe:
        probe["httpGet"].setdefault("path", "/")
        probe["httpGet"].setdefault("scheme", "HTTP")


def _default_volume(volume: dict[str, Any]) -> None:
    for kind in ("projected", "configMap", "secret", "downwardAPI"):
        if kind in volume:
            volume[kind].setdefault("defaultMode", 420)
    for source in volume.get("projected", {}).get("sources", []):
        if "serviceAccountToken" in source:
            source["serviceAccountToken"].setdefault("expirationSeconds", 3600)


def _mount_api_token(pod: dict[str, Any]) -> None:
    """Admission plugin ServiceAccount: once a volume, and a mount wherever the path is free."""
    spec = pod["spec"]
    if spec.get("automountServiceAccountToken") is False:
        return
    volumes = spec.setdefault("volumes", [])
    if not any(volume["name"] == _API_TOKEN_VOLUME for volume in volumes):
        volumes.append({"name": _API_TOKEN_VOLUME, "projected": _api_token()})
    for container in _containers(pod):
        mounts = container.setdefault("volumeMounts", [])
        if not any(mount["mountPath"] == _API_TOKEN_PATH for mount in mounts):
            mounts.append({"name": _API_TOKEN_VOLUME, "readOnly": True, "mountPath": _API_TOKEN_PATH})


def _api_token() -> dict[str, Any]:
    namespace = {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}
    return {
        "defaultMode": 420,
        "sources": [
            {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
            {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            {"downwardAPI": {"items": [namespace]}},
        ],
    }
