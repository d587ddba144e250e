"""Checks of both webhook configurations against the shipped ones, and which entries a namespace meets. Pure."""

import json
from collections.abc import Callable, Iterable, Iterator
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
# Unless these are as shipped, podtls does not protect.
_PROTECTING: Final = (
    "failurePolicy",
    "objectSelector",
    "matchConditions",
    "rules",
    "matchPolicy",
    "admissionReviewVersions",
)
# Unless these are, it does, a little worse.
_TUNING: Final = ("reinvocationPolicy", "timeoutSeconds", "sideEffects")
# Unless this is as shipped, an entry that only warns can refuse workloads. The other fields only cost a warning.
_HARMLESS: Final = ("failurePolicy",)


def check_mutating(found: Object | None) -> list[CheckFinding]:
    """Whether the configuration is there and its entries inject as shipped."""
    if found is None:
        what = f"{_MUTATING} podtls is missing: pods are created without TLS"
        return [problem(_CHECK, what, f"{INSTALL}; then recreate the pods that `podtls status` lists")]
    return _check_configuration(_MUTATING, found, _check_injecting_entry)


def check_validating(found: Object | None) -> list[CheckFinding]:
    """Whether people are warned when they apply a workload whose pods will be refused, and no more than warned."""
    if found is None:
        what = f"{_VALIDATING} podtls is missing: nobody is warned of workloads whose pods are refused"
        return [warning(_CHECK, what, INSTALL)]
    return _check_configuration(_VALIDATING, found, _check_warning_entry)


def find_entries(configuration: Object, namespace: Object) -> list[str]:
    """The names of the entries that see the pods of a namespace."""
    labels = labels_of(namespace)
    return [
        entry["name"]
        for entry in configuration.get("webhooks") or []
        if matches(entry.get("namespaceSelector"), labels)
    ]


def _check_configuration(
    kind: str, found: Object, check_entry: Callable[[str, Object | None, Object], Iterator[CheckFinding]]
) -> list[CheckFinding]:
    (configuration,) = find_shipped([kind])
    entries, shipped = _entries_by_name(found), _entries_by_name(configuration)
    findings = [finding for name, each in shipped.items() for finding in check_entry(name, entries.get(name), each)]
    if others := ", ".join(sorted(entries.keys() - shipped.keys())):
        findings.append(warning(_CHECK, f"{kind} podtls has entries that are not ours: {others}", _REAPPLY))
    return ok_unless(findings, _CHECK, f"{kind} podtls has its {len(shipped)} entries, as shipped")


def _entries_by_name(configuration: Object) -> dict[str, Object]:
    return {entry["name"]: entry for entry in configuration.get("webhooks") or []}


def _check_injecting_entry(name: str, found: Object | None, shipped: Object) -> Iterator[CheckFinding]:
    if found is None:
        yield problem(_CHECK, f"entry {name} is missing: pods of its namespaces are created without TLS", INSTALL)
        return
    for difference in (*_compare_service(found, shipped), *_compare_fields(_PROTECTING, found, shipped)):
        yield problem(_CHECK, f"entry {name}: {difference}", _REAPPLY)
    for difference in _compare_fields(_TUNING, found, shipped):
        yield warning(_CHECK, f"entry {name}: {difference}", _REAPPLY)
    yield from _check_selector(name, found.get("namespaceSelector") or {}, shipped["namespaceSelector"])


def _check_warning_entry(name: str, found: Object | None, shipped: Object) -> Iterator[CheckFinding]:
    if found is None:
        yield warning(_CHECK, f"entry {name} is missing: nobody is warned in its namespaces", INSTALL)
        return
    for difference in (*_compare_service(found, shipped), *_compare_fields(_HARMLESS, found, shipped)):
        yield problem(_CHECK, f"entry {name}: {difference}: workloads may be refused", _REAPPLY)
    fields = (field for field in (*_PROTECTING, *_TUNING) if field not in _HARMLESS)
    for difference in _compare_fields(fields, found, shipped):
        yield warning(_CHECK, f"entry {name}: {difference}", _REAPPLY)
    # Namespaces that an admin excludes are reported for the entries that inject.
    if not _asks_the_same(found.get("namespaceSelector") or {}, shipped["namespaceSelector"]):
        what = f"entry {name}: namespaceSelector is not the one shipped: some are not warned, or twice"
        yield warning(_CHECK, what, _REAPPLY)


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


def _check_selector(name: str, found: Object, shipped: Object) -> Iterator[CheckFinding]:
    """Namespaces that an admin excludes by name are a choice, and worth a warning; any other difference is a hole."""
    if not _asks_the_same(found, shipped):
        what = f"entry {name}: namespaceSelector is not the one shipped: namespaces may be seen by no entry, or by two"
        yield problem(_CHECK, what, _REAPPLY)
        return
    if more := sorted(_excluded(found) - _excluded(shipped)):
        what = f"entry {name} excludes more namespaces than shipped: {', '.join(more)}"
        yield warning(_CHECK, what, "see that nobody takes their label for protection")
    if fewer := sorted(_excluded(shipped) - _excluded(found)):
        what = f"entry {name} does not exclude {', '.join(fewer)}: what the webhook needs to start may wait for it"
        yield problem(_CHECK, what, _REAPPLY)


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
