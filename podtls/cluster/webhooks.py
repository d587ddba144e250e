"""Checks of the webhook configuration: its six entries as we ship them. And which of them a namespace meets. Pure."""

import json
from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any, Final

from injector.contract import CAPTURE, CAPTURES, INJECT, INJECT_DISABLED, MODE, MODES
from podtls.cluster.finding import Finding, problem, unless, warning
from podtls.cluster.layout import EXCLUDED, INSTALL, NAMESPACE, WEBHOOK
from podtls.cluster.reader import Object
from podtls.demo.selectors import matches

_CHECK: Final = "webhook"
_NAME: Final = "kubernetes.io/metadata.name"
_REAPPLY: Final = f"find out who changed it, then: {INSTALL}"
_RULES: Final = [
    {"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "scope": "Namespaced"}
]
# field -> as shipped, as the API server stores it. Without these podtls does not protect.
_STRICT: Final[Mapping[str, Any]] = {
    "failurePolicy": "Fail",
    "objectSelector": {},
    "matchConditions": [],
    "rules": _RULES,
    "matchPolicy": "Equivalent",
    "admissionReviewVersions": ["v1"],
}
# Without these it does, a little worse.
_SOFT: Final[Mapping[str, Any]] = {"reinvocationPolicy": "IfNeeded", "timeoutSeconds": 5, "sideEffects": "None"}


def expected_entries() -> dict[str, tuple[str, list[Object]]]:
    """The six entries: name -> path and the expressions of its namespaceSelector."""
    return {
        f"{mode}-{capture}.podtls.io": (f"/mutate/{mode}/{capture}", _expressions(mode, capture))
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
    entries = {entry["name"]: entry for entry in found.get("webhooks") or []}
    findings = [
        finding
        for name, (path, expressions) in expected_entries().items()
        for finding in _entry(name, entries.get(name), path, expressions)
    ]
    strangers = sorted(entries.keys() - expected_entries().keys())
    if strangers:
        what = f"MutatingWebhookConfiguration podtls has entries that are not ours: {', '.join(strangers)}"
        findings.append(warning(_CHECK, what, _REAPPLY))
    return unless(findings, _CHECK, "MutatingWebhookConfiguration podtls has its six entries, as shipped")


def validating(found: Object | None) -> Iterator[Finding]:
    """Whether people are warned when they apply a workload whose pods will be refused."""
    if found is None:
        what = "ValidatingWebhookConfiguration podtls is missing: nobody is warned of workloads whose pods are refused"
        yield warning(_CHECK, what, INSTALL)


def entries_for(found: Object, namespace: Object) -> list[str]:
    """The names of the entries that see the pods of a namespace."""
    labels = namespace["metadata"].get("labels") or {}
    return [entry["name"] for entry in found.get("webhooks") or [] if matches(entry.get("namespaceSelector"), labels)]


def _entry(name: str, found: Object | None, path: str, expressions: list[Object]) -> Iterator[Finding]:
    if found is None:
        yield problem(_CHECK, f"entry {name} is missing: pods of its namespaces are created without TLS", INSTALL)
        return
    client = found.get("clientConfig") or {}
    service = client.get("service") or {}
    called = {key: service.get(key) for key in ("namespace", "name", "path")}
    ours = {"namespace": NAMESPACE, "name": WEBHOOK.name, "path": path}
    differences: dict[str, tuple[Any, Any]] = {"clientConfig.service": (called, ours)} if called != ours else {}
    for field, shipped in _STRICT.items():
        if (found.get(field) or type(shipped)()) != shipped:
            differences[field] = (found.get(field), shipped)
    for field, (got, shipped) in differences.items():
        yield problem(_CHECK, f"entry {name}: {field} is {_shown(got)}, shipped is {_shown(shipped)}", _REAPPLY)
    for field, shipped in _SOFT.items():
        if found.get(field) != shipped:
            what = f"entry {name}: {field} is {_shown(found.get(field))}, shipped is {_shown(shipped)}"
            yield warning(_CHECK, what, _REAPPLY)
    yield from _selector(name, found.get("namespaceSelector") or {}, expressions)


def _selector(name: str, found: Object, expressions: list[Object]) -> Iterator[Finding]:
    """Namespaces that an admin excludes by name are his choice, and worth a word; any other difference is a hole."""
    written = found.get("matchExpressions") or []
    if found.get("matchLabels") or _by_labels(written) != _by_labels(expressions):
        what = f"entry {name}: namespaceSelector is not the one shipped: namespaces may be seen by no entry, or by two"
        yield problem(_CHECK, what, _REAPPLY)
        return
    excluded = {value for each in written if each["key"] == _NAME for value in each.get("values") or []}
    if more := sorted(excluded - set(EXCLUDED)):
        what = f"entry {name} excludes more namespaces than shipped: {', '.join(more)}"
        yield warning(_CHECK, what, "see that nobody takes their label for protection")
    if fewer := sorted(set(EXCLUDED) - excluded):
        what = f"entry {name} does not exclude {', '.join(fewer)}: what the webhook needs to start may wait for it"
        yield problem(_CHECK, what, _REAPPLY)


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
