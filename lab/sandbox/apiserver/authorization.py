"""Role-based access of the stand-in: may this user do that? Only what ClusterRoles and their bindings can say.

Source: Kubernetes "Using RBAC Authorization". It makes the demo prove that the roles in our manifests suffice.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from lab.sandbox.apiserver.store import Store
from lab.sandbox.errors import ForbiddenError

# The group that may do everything, whatever the roles say.
SUPERUSERS: Final = "system:masters"


@dataclass(frozen=True, slots=True)
class Action:
    """A verb on a resource of an API group."""

    verb: str
    group: str
    resource: str


def authorize(user_info: Mapping[str, Any], action: Action, store: Store) -> None:
    """Return when a binding lets the user do it. Raises ForbiddenError, worded as the API server does."""
    if SUPERUSERS in user_info.get("groups", ()):
        return
    roles = {role["metadata"]["name"]: role for role in store.list("ClusterRole")}
    for binding in store.list("ClusterRoleBinding"):
        role = roles.get(binding["roleRef"]["name"], {})
        if _names(binding.get("subjects", []), user_info["username"]) and _allows(role.get("rules", []), action):
            return
    raise ForbiddenError(
        f'{action.resource} is forbidden: User "{user_info["username"]}" cannot {action.verb} '
        f'resource "{action.resource}" in API group "{action.group}" at the cluster scope'
    )


def _names(subjects: Iterable[Mapping[str, Any]], username: str) -> bool:
    return any(
        subject["kind"] == "ServiceAccount"
        and username == f"system:serviceaccount:{subject['namespace']}:{subject['name']}"
        for subject in subjects
    )


def _allows(rules: Iterable[Mapping[str, Any]], action: Action) -> bool:
    return any(
        action.verb in rule["verbs"] and action.group in rule["apiGroups"] and action.resource in rule["resources"]
        for rule in rules
    )
