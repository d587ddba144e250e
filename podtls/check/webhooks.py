"""Checks of both webhook configurations: their entries as we ship them. And which of them a namespace meets. Pure."""

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import product
from typing import Any, Final

from contract.names import CAPTURE, CAPTURES, INJECT, INJECT_DISABLED, MODE, MODES
from podtls.check.finding import Finding, problem, unless, warning
from podtls.kubernetes.installation import EXCLUDED, INSTALL, NAMESPACE, WEBHOOK
from podtls.kubernetes.reader import Object
from podtls.kubernetes.selectors import matches

_CHECK: Final = "webhook"
_NAME: Final = "kubernetes.io/metadata.name"
_REAPPLY: Final = f"find out who changed it, then: {INSTALL}"
_PORT: Final = 443  # Of our Service, in every entry.
_PODS: Final = [
    {"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "scope": "Namespaced"}
]
_CONTROLLERS: Final = [
    {
        "operations": ["CREATE", "UPDATE"],
        "apiGroups": [group],
        "apiVersions": ["v1"],
        "resources": resources,
        "scope": "Namespaced",
    }
    for group, resources in (("apps", ["deployments", "statefulsets", "daemonsets"]), ("batch", ["jobs", "cronjobs"]))
]
# field -> as shipped, as the API server stores it. Without these podtls does not protect.
_STRICT: Final[Mapping[str, Any]] = {
    "failurePolicy": "Fail",
    "objectSelector": {},
    "matchConditions": [],
    "rules": _PODS,
    "matchPolicy": "Equivalent",
    "admissionReviewVersions": ["v1"],
}
# Without these it does, a little worse.
_SOFT: Final[Mapping[str, Any]] = {"reinvocationPolicy": "IfNeeded", "timeoutSeconds": 5, "sideEffects": "None"}
# An entry that only warns must never be able to refuse a workload.
_WARNING_STRICT: Final[Mapping[str, Any]] = {"failurePolicy": "Ignore"}
_WARNING_SOFT: Final[Mapping[str, Any]] = {
    "objectSelector": {},
    "matchConditions": [],
    "rules": _CONTROLLERS,
    "matchPolicy": "Equivalent",
    "admissionReviewVersions": ["v1"],
    "timeoutSeconds": 2,
    "sideEffects": "None",
}


def expected_entries() -> dict[str, tuple[str, list[Object]]]:
    """The six entries that inject: name -> path and the expressions of its namespaceSelector."""
    return {
        f"{mode}-{capture}.podtls.io": (f"/mutate/{mode}/{capture}", _expressions(mode, capture))
        for mode, capture in product(MODES, CAPTURES)
    }


def expected_warnings() -> dict[str, tuple[str, list[Object]]]:
    """The six entries that warn when a workload is applied: the same, for the same namespaces."""
    return {
        f"{mode}-{capture}.warn.podtls.io": (f"/warn/{mode}/{capture}", _expressions(mode, capture))
        for mode, capture in product(MODES, CAPTURES)
    }


def mutating(found: Object | None) -> list[Finding]:
    """Whether the configuration is there and not altered."""
    if found is None:
        return [
            problem(
                _CHECK,
                "MutatingWebhookConfiguration podtls is missing: pods are created without TLS",
                f"{INSTALL}; then recreate the pods that `podtls status` lists",
            )
        ]
    entries, expected = _entries(found), expected_entries()
    findings = [
        finding
        for name, (path, expressions) in expected.items()
        for finding in _entry(name, entries.get(name), path, expressions)
    ]
    findings += _strangers("MutatingWebhookConfiguration", entries.keys() - expected.keys())
    return unless(findings, _CHECK, "MutatingWebhookConfiguration podtls has its six entries, as shipped")


def validating(found: Object | None) -> list[Finding]:
    """Whether people are warned when they apply a workload whose pods will be refused, and no more than warned."""
    if found is None:
        what = "ValidatingWebhookConfiguration podtls is missing: nobody is warned of workloads whose pods are refused"
        return [warning(_CHECK, what, INSTALL)]
    entries, expected = _entries(found), expected_warnings()
    findings = [
        finding
        for name, (path, expressions) in expected.items()
        for finding in _warning_entry(name, entries.get(name), path, expressions)
    ]
    findings += _strangers("ValidatingWebhookConfiguration", entries.keys() - expected.keys())
    return unless(findings, _CHECK, "ValidatingWebhookConfiguration podtls has its six entries, as shipped")


def entries_for(found: Object, namespace: Object) -> list[str]:
    """The names of the entries that see the pods of a namespace."""
    labels = namespace["metadata"].get("labels") or {}
    return [entry["name"] for entry in found.get("webhooks") or [] if matches(entry.get("namespaceSelector"), labels)]


def _entries(found: Object) -> dict[str, Object]:
    return {entry["name"]: entry for entry in found.get("webhooks") or []}


def _strangers(kind: str, names: Iterable[str]) -> Iterator[Finding]:
    if listed := ", ".join(sorted(names)):
        yield warning(_CHECK, f"{kind} podtls has entries that are not ours: {listed}", _REAPPLY)


def _entry(name: str, found: Object | None, path: str, expressions: list[Object]) -> Iterator[Finding]:
    if found is None:
        yield problem(_CHECK, f"entry {name} is missing: pods of its namespaces are created without TLS", INSTALL)
        return
    for difference in (*_service(found, path), *_differences(found, _STRICT)):
        yield problem(_CHECK, f"entry {name}: {difference}", _REAPPLY)
    for difference in _differences(found, _SOFT):
        yield warning(_CHECK, f"entry {name}: {difference}", _REAPPLY)
    yield from _selector(name, found.get("namespaceSelector") or {}, expressions)


def _warning_entry(name: str, found: Object | None, path: str, expressions: list[Object]) -> Iterator[Finding]:
    if found is None:
        yield warning(_CHECK, f"entry {name} is missing: nobody is warned in its namespaces", INSTALL)
        return
    for difference in (*_service(found, path), *_differences(found, _WARNING_STRICT)):
        yield problem(_CHECK, f"entry {name}: {difference}: workloads may be refused", _REAPPLY)
    for difference in _differences(found, _WARNING_SOFT):
        yield warning(_CHECK, f"entry {name}: {difference}", _REAPPLY)
    # Which namespaces an admin excludes is said of the entries that inject.
    if not _is_shipped(found.get("namespaceSelector") or {}, expressions):
        what = f"entry {name}: namespaceSelector is not the one shipped: some are not warned, or twice"
        yield warning(_CHECK, what, _REAPPLY)


def _service(found: Object, path: str) -> Iterator[str]:
    service = (found.get("clientConfig") or {}).get("service") or {}
    ours = {"namespace": NAMESPACE, "name": WEBHOOK.name, "path": path, "port": _PORT}
    called = {key: service.get(key) for key in ours}
    if called != ours:
        yield f"clientConfig.service is {_shown(called)}, shipped is {_shown(ours)}"


def _differences(found: Object, shipped: Mapping[str, Any]) -> Iterator[str]:
    for field, value in shipped.items():
        # Empty and absent are one.
        if (found.get(field) or type(value)()) != value:
            yield f"{field} is {_shown(found.get(field))}, shipped is {_shown(value)}"


def _selector(name: str, found: Object, expressions: list[Object]) -> Iterator[Finding]:
    """Namespaces that an admin excludes by name are his choice, and worth a word; any other difference is a hole."""
    if not _is_shipped(found, expressions):
        what = f"entry {name}: namespaceSelector is not the one shipped: namespaces may be seen by no entry, or by two"
        yield problem(_CHECK, what, _REAPPLY)
        return
    written = found["matchExpressions"]
    excluded = {value for each in written if each["key"] == _NAME for value in each.get("values") or []}
    if more := sorted(excluded - set(EXCLUDED)):
        what = f"entry {name} excludes more namespaces than shipped: {', '.join(more)}"
        yield warning(_CHECK, what, "see that nobody takes their label for protection")
    if fewer := sorted(set(EXCLUDED) - excluded):
        what = f"entry {name} does not exclude {', '.join(fewer)}: what the webhook needs to start may wait for it"
        yield problem(_CHECK, what, _REAPPLY)


def _is_shipped(selector: Object, expressions: list[Object]) -> bool:
    """Whether it asks of a namespace's labels what ours does; the excluded namespaces are left out of it."""
    written = selector.get("matchExpressions") or []
    return not selector.get("matchLabels") and _by_labels(written) == _by_labels(expressions)


def _by_labels(expressions: list[Object]) -> list[str]:
    """The expressions in an order of their own, without the excluded namespaces."""
    kept = [each for each in expressions if (each["key"], each["operator"]) != (_NAME, "NotIn")]
    return sorted(json.dumps({**each, "values": sorted(each.get("values") or [])}, sort_keys=True) for each in kept)


def _expressions(mode: str, capture: str) -> list[Object]:
    return [
        {"key": INJECT, "operator": "Exists"},
        {"key": INJECT, "operator": "NotIn", "values": [INJECT_DISABLED]},
        _choice(MODE, mode, MODES),
        _choice(CAPTURE, capture, CAPTURES),
        {"key": _NAME, "operator": "NotIn", "values": list(EXCLUDED)},
    ]


def _choice(key: str, value: str, allowed: tuple[str, ...]) -> Object:
    """The first of the allowed values is the strict default: it is for whatever the others are not."""
    if value == allowed[0]:
        return {"key": key, "operator": "NotIn", "values": list(allowed[1:])}
    return {"key": key, "operator": "In", "values": [value]}


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
