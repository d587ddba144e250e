"""Checks of RBAC: accounts, roles and bindings are there and grant what is shipped. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from typing import Final

from podtls.check.finding import CheckFinding, ok_unless, problem, warning
from podtls.kubernetes.installation import INSTALL
from podtls.kubernetes.objects import Object, name_of
from podtls.kubernetes.reader import Access

KINDS: Final = ("ServiceAccount", "ClusterRole", "Role", "ClusterRoleBinding", "RoleBinding")
_CHECK: Final = "rbac"
_ANY: Final = "*"


def check_rbac(pairs: Sequence[tuple[Object, Object | None]]) -> list[CheckFinding]:
    """Whether each shipped account, role and binding is in the cluster and does what it does as shipped."""
    findings = [finding for shipped, found in pairs for finding in _compare(shipped, found)]
    return ok_unless(findings, _CHECK, f"{len(pairs)} ServiceAccounts, roles and bindings are as shipped")


def expand_rules(rules: Sequence[Object] | None) -> frozenset[Access]:
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


def _compare(shipped: Object, found: Object | None) -> Iterator[CheckFinding]:
    what = f"{shipped['kind']} {name_of(shipped)}"
    if found is None:
        yield problem(_CHECK, f"{what} is missing", INSTALL)
    elif "rules" in shipped:
        yield from _compare_role(what, shipped, found)
    elif "roleRef" in shipped:
        yield from _compare_binding(what, shipped, found)


def _compare_role(what: str, shipped: Object, found: Object) -> Iterator[CheckFinding]:
    """Less than shipped breaks what the role is for; more is a hole that somebody made."""
    wanted, granted = expand_rules(shipped["rules"]), expand_rules(found.get("rules"))
    do = f"find out who changed it, then: {INSTALL}"
    if missing := _uncovered(wanted, granted):
        yield problem(_CHECK, f"{what} does not grant what is shipped: {missing}", do)
    if more := _uncovered(granted, wanted):
        yield warning(_CHECK, f"{what} grants more than shipped: {more}", do)


def _uncovered(wanted: Iterable[Access], granted: frozenset[Access]) -> str:
    return ", ".join(sorted(str(each) for each in wanted if not any(_covers(grant, each) for grant in granted)))


def _covers(grant: Access, wanted: Access) -> bool:
    return (
        grant.verb in {_ANY, wanted.verb}
        and grant.resource in {_ANY, wanted.resource}
        and grant.group in {_ANY, wanted.group}
        and grant.name in {"", wanted.name}
    )


def _compare_binding(what: str, shipped: Object, found: Object) -> Iterator[CheckFinding]:
    (account,) = shipped["subjects"]
    subjects = [{key: each.get(key) for key in account} for each in found.get("subjects") or []]
    if found["roleRef"] != shipped["roleRef"] or account not in subjects:
        kind, name = shipped["kind"].lower(), name_of(shipped)
        do = f"kubectl delete {kind} {name} and {INSTALL}"
        yield problem(_CHECK, f"{what} does not give ServiceAccount {account['name']} its role", do)
    if len(subjects) > 1:
        yield warning(
            _CHECK,
            f"{what} gives its role to others, too: {len(subjects)} subjects",
            "remove the subjects that podtls does not ship",
        )
