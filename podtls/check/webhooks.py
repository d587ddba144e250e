"""Checks of both webhook configurations against the shipped ones, and which entries a namespace meets. Pure."""

import json
from collections.abc import Iterable, Iterator
from typing import Any, Final

from podtls.check.finding import CheckFinding, ok_unless, problem, warning
from podtls.kubernetes.installation import INSTALL
from podtls.kubernetes.objects import NAMESPACE_NAME, Object, labels_of
from podtls.kubernetes.selectors import matches
from podtls.manifests.shipped import find_shipped

_CHECK: Final = "webhook"
_MUTATING: Final = "MutatingWebhookConfiguration"
_VALIDATING: Final = "ValidatingWebhookConfiguration"
_REAPPLY: Final = f"find out who changed it, then: {INSTALL}"
# Unless these fields are as shipped, podtls does not protect.
_PROTECTION: Final = (
    *("failurePolicy", "objectSelector", "matchConditions", "rules", "matchPolicy", "admissionReviewVersions"),
)
# Unless these are, it protects a little worse.
_TUNING: Final = ("reinvocationPolicy", "timeoutSeconds", "sideEffects")
# Of an entry that only warns, one field matters: whether it can refuse workloads.
_PROBLEMS: Final = {_MUTATING: _PROTECTION, _VALIDATING: ("failurePolicy",)}


def check_mutating(found: Object | None) -> list[CheckFinding]:
    """Whether the configuration is there and its entries inject as shipped."""
    if found is None:
        what = f"{_MUTATING} podtls is missing: pods are created without TLS"
        return [problem(_CHECK, what, f"{INSTALL}; then recreate the pods that `podtls status` lists")]
    return _check_configuration(_MUTATING, found)


def check_validating(found: Object | None) -> list[CheckFinding]:
    """Whether people are warned when they apply a workload whose pods will be refused, and no more than warned."""
    if found is None:
        what = f"{_VALIDATING} podtls is missing: nobody is warned of workloads whose pods are refused"
        return [warning(_CHECK, what, INSTALL)]
    return _check_configuration(_VALIDATING, found)


def find_entries(configuration: Object, namespace: Object) -> list[str]:
    """The names of the entries that see the pods of a namespace."""
    labels = labels_of(namespace)
    return [
        entry["name"]
        for entry in configuration.get("webhooks") or []
        if matches(entry.get("namespaceSelector"), labels)
    ]


def _check_configuration(kind: str, found: Object) -> list[CheckFinding]:
    (configuration,) = find_shipped([kind])
    entries, shipped = _entries_by_name(found), _entries_by_name(configuration)
    findings = [finding for name, each in shipped.items() for finding in _check_entry(kind, entries.get(name), each)]
    if others := ", ".join(sorted(entries.keys() - shipped.keys())):
        findings.append(warning(_CHECK, f"{kind} podtls has entries that podtls does not ship: {others}", _REAPPLY))
    return ok_unless(findings, _CHECK, f"{kind} podtls has its {len(shipped)} entries, as shipped")


def _entries_by_name(configuration: Object) -> dict[str, Object]:
    return {entry["name"]: entry for entry in configuration.get("webhooks") or []}


def _check_entry(kind: str, found: Object | None, shipped: Object) -> Iterator[CheckFinding]:
    entry, injects = f"entry {shipped['name']}", kind == _MUTATING
    if found is None and injects:
        yield problem(_CHECK, f"{entry} is missing: pods of its namespaces are created without TLS", INSTALL)
    elif found is None:
        yield warning(_CHECK, f"{entry} is missing: nobody is warned in its namespaces", INSTALL)
    else:
        effect = "" if injects else ": workloads may be refused"
        for difference in (*_compare_service(found, shipped), *_compare_fields(_PROBLEMS[kind], found, shipped)):
            yield problem(_CHECK, f"{entry}: {difference}{effect}", _REAPPLY)
        others = (field for field in (*_PROTECTION, *_TUNING) if field not in _PROBLEMS[kind])
        for difference in _compare_fields(others, found, shipped):
            yield warning(_CHECK, f"{entry}: {difference}", _REAPPLY)
        check_selector = _check_injecting_selector if injects else _check_warning_selector
        yield from check_selector(entry, found.get("namespaceSelector") or {}, shipped["namespaceSelector"])


def _compare_service(found: Object, shipped: Object) -> Iterator[str]:
    expected = shipped["clientConfig"]["service"]
    service = (found.get("clientConfig") or {}).get("service") or {}
    called = {key: service.get(key) for key in expected}
    if called != expected:
        yield f"clientConfig.service is {_format(called)}, shipped is {_format(expected)}"


def _compare_fields(fields: Iterable[str], found: Object, shipped: Object) -> Iterator[str]:
    for field in fields:
        # Empty and absent are one: the API server stores what it defaults as empty.
        if (found.get(field) or None) != (shipped.get(field) or None):
            yield f"{field} is {_format(found.get(field))}, shipped is {_format(shipped.get(field))}"


def _check_injecting_selector(entry: str, found: Object, shipped: Object) -> Iterator[CheckFinding]:
    """Namespaces that an admin excludes by name are a choice, and worth a warning; any other difference is a hole."""
    if not _asks_the_same(found, shipped):
        what = f"{entry}: namespaceSelector is not the one shipped: namespaces may be seen by no entry, or by two"
        yield problem(_CHECK, what, _REAPPLY)
        return
    if more := sorted(_excluded(found) - _excluded(shipped)):
        what = f"{entry} excludes more namespaces than shipped: {', '.join(more)}"
        yield warning(_CHECK, what, "see that nobody takes their label for protection")
    if fewer := sorted(_excluded(shipped) - _excluded(found)):
        what = f"{entry} does not exclude {', '.join(fewer)}: what the webhook needs to start may wait for it"
        yield problem(_CHECK, what, _REAPPLY)


def _check_warning_selector(entry: str, found: Object, shipped: Object) -> Iterator[CheckFinding]:
    """Namespaces that an admin excludes are reported for the entries that inject."""
    if not _asks_the_same(found, shipped):
        what = f"{entry}: namespaceSelector is not the one shipped: some are not warned, or twice"
        yield warning(_CHECK, what, _REAPPLY)


def _asks_the_same(selector: Object, shipped: Object) -> bool:
    """Whether it asks the same of a namespace's labels, the excluded names aside."""
    return not selector.get("matchLabels") and _label_expressions(selector) == _label_expressions(shipped)


def _label_expressions(selector: Object) -> list[str]:
    """The expressions in an order of their own, without the excluded names."""
    kept = [each for each in selector.get("matchExpressions") or [] if not _excludes_names(each)]
    return sorted(json.dumps({**each, "values": sorted(each.get("values") or [])}, sort_keys=True) for each in kept)


def _excluded(selector: Object) -> set[str]:
    expressions = selector.get("matchExpressions") or []
    return {value for each in expressions if _excludes_names(each) for value in each.get("values") or []}


def _excludes_names(expression: Object) -> bool:
    return (expression["key"], expression["operator"]) == (NAMESPACE_NAME, "NotIn")


def _format(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
