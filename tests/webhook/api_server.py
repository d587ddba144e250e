"""What kube-apiserver makes of a Pod before a webhook sees it (again): decoded, defaulted, through in-tree plugins.

Defaults and the plugin ServiceAccount are the sandbox's (lab/sandbox/apiserver/defaults.py), the one stand-in for them.
The witness is the real API server: the cluster tier sends every golden through it, those of later rounds too.
"""

import copy
import json
import re
from typing import Any

from lab.sandbox.apiserver.defaults import admit_in_tree, set_defaults

# The suffix is drawn at random; goldens need the same one each time.
_API_TOKEN_VOLUME = re.compile(r"kube-api-access-[a-z0-9]{5}")
_SETTLED_VOLUME = "kube-api-access-x7k2p"
# Pointers and structs of Go that are written although they are empty.
_KEPT_EMPTY = frozenset({"emptyDir", "securityContext", "resources"})
# Plain booleans of Go: false is left out (omitempty).
_PLAIN_BOOLEANS = frozenset({"readOnly", "hostNetwork", "hostPID", "hostIPC", "stdin", "stdinOnce", "tty"})


def as_sent(pod: dict[str, Any]) -> dict[str, Any]:
    """The Pod as it arrives in a webhook: decoded, defaulted, with a ServiceAccount and its API token."""
    sent: dict[str, Any] = _without_empty(copy.deepcopy(pod))
    sent["metadata"] = {"namespace": "shop", "creationTimestamp": None, **sent.get("metadata", {})}
    set_defaults(sent)
    admit_in_tree(sent, {"metadata": {"name": sent["spec"].get("serviceAccountName", "default")}})
    settled = json.loads(_API_TOKEN_VOLUME.sub(_SETTLED_VOLUME, json.dumps(sent)))
    assert isinstance(settled, dict)
    return settled


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
