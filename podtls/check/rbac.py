"""Checks of RBAC: what our pods act as is there, each binding binds the two, each role grants what is shipped. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product
from typing import Final

from podtls.check.finding import Finding, problem, unless, warning
from podtls.kubernetes.installation import GRANTS, INSTALL, NAMESPACE
from podtls.kubernetes.reader import Access, Object

_RBAC: Final = "rbac"
_ANY: Final = "*"


def rbac(
    accounts: Mapping[tuple[str, str], Object | None],
    roles: Mapping[tuple[str, str], Object | None],
    bindings: Mapping[tuple[str, str], Object | None],
) -> list[Finding]:
    """Whether what our pods act as and may do is there, each binding still binds the two, and no role is altered."""
    objects = {**accounts, **roles, **bindings}
    missing = [
        problem(_RBAC, f"{kind} {name} is missing", INSTALL) for (kind, name), found in objects.items() if not found
    ]
    findings = [*missing, *_unbound(bindings), *_altered(roles)]
    return unless(findings, _RBAC, f"{len(objects)} ServiceAccounts, roles and bindings are as shipped")


def grants(rules: Sequence[Object] | None) -> frozenset[Access]:
    """Each single thing that the rules of a role allow, `*` as it is written.

    https://kubernetes.io/docs/reference/kubernetes-api/authorization-resources/role-v1/: no resourceNames means all of
    them, and a rule has either resources or nonResourceURLs.
    """
    return frozenset(
        Access(verb, resource, group, name=name)
        for rule in rules or ()
        for verb, group, resource, name in product(
            rule["verbs"],
            rule.get("apiGroups") or [],
            rule.get("resources") or [],
            rule.get("resourceNames") or [""],
        )
    ) | frozenset(
        Access(verb, "URL", name=url.removeprefix("/"))
        for rule in rules or ()
        for verb, url in product(rule["verbs"], rule.get("nonResourceURLs") or [])
    )


def _altered(roles: Mapping[tuple[str, str], Object | None]) -> Iterator[Finding]:
    """Less than shipped breaks what the role is for; more is a hole that somebody made."""
    for (kind, name), found in roles.items():
        if found is None:
            continue
        shipped, granted = GRANTS[kind, name], grants(found.get("rules"))
        do = f"find out who changed it, then: {INSTALL}"
        if missing := _uncovered(shipped, granted):
            yield problem(_RBAC, f"{kind} {name} does not grant what is shipped: {missing}", do)
        if more := _uncovered(granted, shipped):
            yield warning(_RBAC, f"{kind} {name} grants more than shipped: {more}", do)


def _uncovered(wanted: Iterable[Access], granted: frozenset[Access]) -> str:
    return ", ".join(sorted(str(each) for each in wanted if not any(_covers(grant, each) for grant in granted)))


def _covers(grant: Access, wanted: Access) -> bool:
    return (
        grant.verb in {_ANY, wanted.verb}
        and grant.resource in {_ANY, wanted.resource}
        and grant.group in {_ANY, wanted.group}
        and grant.name in {"", wanted.name}
    )


def _unbound(bindings: Mapping[tuple[str, str], Object | None]) -> Iterator[Finding]:
    for (kind, name), found in bindings.items():
        if found is None:
            continue
        role = (found["roleRef"]["kind"], found["roleRef"]["name"])
        subjects = [
            (subject["kind"], subject.get("namespace"), subject["name"]) for subject in found.get("subjects") or []
        ]
        if role != (kind.removesuffix("Binding"), name) or ("ServiceAccount", NAMESPACE, name) not in subjects:
            what = f"{kind} {name} does not give ServiceAccount {name} its role"
            yield problem(_RBAC, what, f"kubectl delete {kind.lower()} {name} and {INSTALL}")
        if len(subjects) > 1:
            what = f"{kind} {name} gives our role to others, too: {len(subjects)} subjects"
            yield warning(_RBAC, what, "remove those that are not ours")
