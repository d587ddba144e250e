"""What the API server writes into a pod before any webhook sees it: defaults, and the in-tree admission plugins.

Source: pkg/apis/core/v1/defaults.go; plugins ServiceAccount, DefaultTolerationSeconds and Priority.
Only what pods commonly carry. Every function changes the pod it is given, and changes nothing the second time.
"""

from typing import Any, Final

from contract.names import API_TOKEN_DIRECTORY
from lab.sandbox.apiserver.store import Object, random_suffix
from lab.sandbox.pods import containers

_POD: Final[dict[str, Any]] = {
    "restartPolicy": "Always",
    "terminationGracePeriodSeconds": 30,
    "dnsPolicy": "ClusterFirst",
    "schedulerName": "default-scheduler",
    "enableServiceLinks": True,
}
_CONTAINER: Final[dict[str, Any]] = {
    "terminationMessagePath": "/dev/termination-log",
    "terminationMessagePolicy": "File",
}
_PROBES: Final = ("livenessProbe", "readinessProbe", "startupProbe")
_PROBE: Final = {"timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3}
_HTTP_GET: Final = {"path": "/", "scheme": "HTTP"}
_MODE_VOLUMES: Final = ("secret", "configMap", "projected", "downwardAPI")
_TOLERATIONS: Final = tuple(
    {"key": f"node.kubernetes.io/{key}", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}
    for key in ("not-ready", "unreachable")
)
_API_VOLUME: Final = "kube-api-access-"


def set_defaults(pod: Object) -> None:
    """Fill what the API server's defaulting fills, in pod, containers and volumes."""
    spec = pod["spec"]
    _fill(spec, _POD)
    spec.setdefault("securityContext", {})
    for container in containers(spec):
        _default_container(container)
    for volume in spec.get("volumes", []):
        _default_volume(volume)


def admit_in_tree(pod: Object, service_account: Object) -> None:
    """What the API server's own plugins add: before the webhooks, and once more after a webhook changed the pod."""
    spec = pod["spec"]
    spec["serviceAccountName"] = spec["serviceAccount"] = service_account["metadata"]["name"]
    automount = spec.get("automountServiceAccountToken", service_account.get("automountServiceAccountToken", True))
    if automount:
        _mount_api_token(spec)
    tolerations = spec.setdefault("tolerations", [])
    tolerations += [dict(missing) for missing in _TOLERATIONS if missing not in tolerations]
    _fill(spec, {"priority": 0, "preemptionPolicy": "PreemptLowerPriority"})


def _default_container(container: dict[str, Any]) -> None:
    _fill(container, _CONTAINER)
    container.setdefault("imagePullPolicy", _pull_policy(container["image"]))
    resources = container.setdefault("resources", {})
    if resources.get("limits"):
        resources["requests"] = resources["limits"] | resources.get("requests", {})
    for port in container.get("ports", []):
        port.setdefault("protocol", "TCP")
    for variable in container.get("env", []):
        _default_field_ref(variable.get("valueFrom", {}))
    for probe in filter(None, map(container.get, _PROBES)):
        _fill(probe, _PROBE)
        if "httpGet" in probe:
            _fill(probe["httpGet"], _HTTP_GET)


def _pull_policy(image: str) -> str:
    tag = image.rpartition("/")[2].partition("@")[0].partition(":")[2]
    floating = "@" not in image and tag in {"", "latest"}
    return "Always" if floating else "IfNotPresent"


def _default_volume(volume: dict[str, Any]) -> None:
    if set(volume) == {"name"}:
        volume["emptyDir"] = {}
    for kind in _MODE_VOLUMES:
        if kind in volume:
            volume[kind].setdefault("defaultMode", 0o644)
    for source in volume.get("projected", {}).get("sources", []):
        if "serviceAccountToken" in source:
            source["serviceAccountToken"].setdefault("expirationSeconds", 3600)
        for item in source.get("downwardAPI", {}).get("items", []):
            _default_field_ref(item)


def _default_field_ref(holder: dict[str, Any]) -> None:
    if "fieldRef" in holder:
        holder["fieldRef"].setdefault("apiVersion", "v1")


def _mount_api_token(spec: dict[str, Any]) -> None:
    volumes = spec.setdefault("volumes", [])
    name = next((volume["name"] for volume in volumes if volume["name"].startswith(_API_VOLUME)), None)
    for container in containers(spec):
        mounts = container.setdefault("volumeMounts", [])
        if any(mount["mountPath"] == API_TOKEN_DIRECTORY for mount in mounts):
            continue
        if name is None:
            name = _API_VOLUME + random_suffix()
            volumes.append(_api_token_volume(name))
        mounts.append({"name": name, "readOnly": True, "mountPath": API_TOKEN_DIRECTORY})


def _api_token_volume(name: str) -> dict[str, Any]:
    namespace = {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}
    sources = [
        {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [namespace]}},
    ]
    return {"name": name, "projected": {"sources": sources, "defaultMode": 0o644}}


def _fill(target: dict[str, Any], defaults: dict[str, Any]) -> None:
    for key, value in defaults.items():
        target.setdefault(key, value)
