"""Checks of namespaces: labels that do not mean what somebody thinks they do. Pure."""

from collections.abc import Iterable, Iterator
from typing import Final

from contract.names import CAPTURE, CAPTURES, ENFORCE, INJECT, INJECT_DISABLED, MODE, MODES
from podtls.check.finding import CheckFinding, ok_unless, problem, warning
from podtls.check.webhooks import find_entries
from podtls.kubernetes.installation import INSTALL, KNOWN_LABELS
from podtls.kubernetes.objects import Object, annotations_of, labels_of, name_of
from podtls.manifests.shipped import excluded_namespaces
from webhook.decision import Defaults, Deny, decide
from webhook.request import build_request
from webhook.settings import Policy

_CHECK: Final = "namespaces"
_PREFIX: Final = "podtls.io/"
# https://kubernetes.io/docs/concepts/security/pod-security-standards/: both forbid NET_ADMIN.
_POD_SECURITY: Final = "pod-security.kubernetes.io/enforce"
_NO_NET_ADMIN: Final = ("baseline", "restricted")
_ANY_POD: Final = {"spec": {"containers": [{"name": "app", "ports": [{"containerPort": 8080}]}]}}
# The strict default of a label, for a value that is unknown.
_DEFAULTS: Final = {MODE: MODES[0], CAPTURE: CAPTURES[0]}
# What an unknown value of a label means.
_MEANS: Final = {
    INJECT: f"it enrolls, like any value but {INJECT_DISABLED}",
    **{key: f"it means {default}" for key, default in _DEFAULTS.items()},
    ENFORCE: "it enforces nothing",
}


def is_enrolled_namespace(namespace: Object) -> bool:
    """Whether the labels enroll the namespace: any value but `disabled` does."""
    labels = labels_of(namespace)
    return INJECT in labels and labels[INJECT] != INJECT_DISABLED


def choose_defaults(namespace: Object) -> Defaults:
    """The mode and the capture that the labels choose, as the entries of the webhook configuration do."""
    labels = labels_of(namespace)
    chosen = {key: labels.get(key, default) for key, default in _DEFAULTS.items()}
    known = {key: value if value in KNOWN_LABELS[key] else _DEFAULTS[key] for key, value in chosen.items()}
    return Defaults(known[MODE], known[CAPTURE])


def check_namespaces(found: Iterable[Object], configuration: Object | None) -> list[CheckFinding]:
    """All findings about namespaces; `configuration` is None where podtls is not installed."""
    listed = sorted(found, key=name_of)
    enrolled = [namespace for namespace in listed if is_enrolled_namespace(namespace)]
    findings = [
        *(finding for namespace in listed for finding in _find_typos(namespace)),
        *(finding for namespace in enrolled for finding in _find_effects(namespace, configuration)),
    ]
    names = ", ".join(map(name_of, enrolled)) or "none yet (kubectl label namespace NAME podtls.io/inject=enabled)"
    return ok_unless(findings, _CHECK, f"enrolled: {names}")


def _find_typos(namespace: Object) -> Iterator[CheckFinding]:
    name, labels = name_of(namespace), labels_of(namespace)
    for key, value in sorted(labels.items()):
        if key.startswith(_PREFIX) and key not in KNOWN_LABELS:
            what = f"{name}: label {key} is not one that podtls knows"
            yield warning(_CHECK, what, f"known are {', '.join(KNOWN_LABELS)}")
        elif value not in KNOWN_LABELS.get(key, (value,)):
            known = ", ".join(KNOWN_LABELS[key])
            yield warning(_CHECK, f"{name}: label {key}={value} is unknown: {_MEANS[key]}", f"write one of {known}")
    if INJECT not in labels and labels.keys() & _DEFAULTS.keys():
        what = f"{name}: has podtls.io/mode or podtls.io/capture, but is not enrolled: its pods have no TLS"
        yield warning(_CHECK, what, _advise_label(name))
    if INJECT in annotations_of(namespace) and INJECT not in labels:
        what = f"{name}: {INJECT} is an annotation; only the label enrolls: its pods have no TLS"
        yield warning(_CHECK, what, _advise_label(name))


def _find_effects(namespace: Object, configuration: Object | None) -> Iterator[CheckFinding]:
    """What happens to the pods of an enrolled namespace."""
    name, chosen = name_of(namespace), choose_defaults(namespace)
    if name in excluded_namespaces():
        what = f"{name}: is labelled, but never enrolled: the system's namespaces and podtls's own are excluded"
        yield warning(_CHECK, what, f"kubectl label namespace {name} {INJECT}-")
        return
    if configuration is None:
        what = f"{name}: is labelled, but podtls is not installed: its pods are created without TLS"
        yield problem(_CHECK, what, f"{INSTALL}; then recreate its pods")
        return
    entries = find_entries(configuration, namespace)
    if len(entries) != 1:
        seen = f"by {len(entries)} entries of the webhook configuration" if entries else "by no entry: no TLS"
        yield problem(
            _CHECK, f"{name}: is labelled, but its pods are seen {seen}", f"see the findings on it, or {INSTALL}"
        )
    level = labels_of(namespace).get(_POD_SECURITY, "")
    if chosen.capture == "redirect" and level in _NO_NET_ADMIN:
        what = f"{name}: capture redirect needs NET_ADMIN, which Pod Security {level} forbids: no pod will start"
        yield problem(
            _CHECK, what, f"use capture port, or kubectl label namespace {name} {_POD_SECURITY}=privileged --overwrite"
        )
    if reason := _find_refusal(name, chosen):
        yield problem(_CHECK, f"{name}: every pod will be refused: {reason}", "change the label")


def _find_refusal(namespace: str, chosen: Defaults) -> str:
    """Why even the plainest pod is refused, by the webhook's own decision; empty where it is admitted."""
    decision = decide(build_request(_ANY_POD, namespace=namespace), chosen, Policy())
    return decision.reason if isinstance(decision, Deny) else ""


def _advise_label(name: str) -> str:
    return f"kubectl label namespace {name} {INJECT}=enabled"
