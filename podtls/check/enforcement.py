"""Checks of components/enforce: what is labelled for it is enforced, and can have pods at all. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from contract.names import INJECT
from podtls.check.finding import Finding, problem, unless, warning
from podtls.check.namespaces import is_enrolled
from podtls.kubernetes.installation import ENFORCE, ENFORCEMENT, ENFORCEMENT_NAME, EXCLUDED
from podtls.kubernetes.reader import Object
from podtls.kubernetes.selectors import matches

_CHECK: Final = "enforce"
_ON: Final = f"{ENFORCE}=true"
_APPLY: Final = "see that your overlay has components/enforce, and apply it"
_POLICY, _BINDING = ENFORCEMENT


def is_enforced(namespace: Object) -> bool:
    """Whether the label asks for it."""
    return _labels(namespace).get(ENFORCE) == "true"


def unenrolled(namespaces: Iterable[Object]) -> Iterator[Finding]:
    """Which of the enforced namespaces nobody injects: their pods are refused, unless somebody writes ours by hand."""
    for namespace in namespaces:
        name = _name(namespace)
        if name in EXCLUDED:
            what = f"{name}: has {_ON}, but is never enrolled: no pod of it can be created"
            yield problem(_CHECK, what, f"kubectl label namespace {name} {ENFORCE}-")
        elif not is_enrolled(namespace):
            what = f"{name}: has {_ON}, but is not enrolled: nobody injects its pods, and the policy refuses them"
            yield warning(_CHECK, what, f"kubectl label namespace {name} {INJECT}=enabled --overwrite")


def enforced(namespaces: Sequence[Object], objects: Mapping[tuple[str, str], Object | None]) -> list[Finding]:
    """Whether the policy is there that the labels ask for, and refuses; `objects` by the keys of layout.ENFORCEMENT."""
    names = ", ".join(sorted(map(_name, namespaces)))
    missing = [kind for (kind, _), found in objects.items() if found is None]
    if missing:
        what = f"{names}: has {_ON}, but {' and '.join(missing)} {ENFORCEMENT_NAME} is missing: nothing is enforced"
        return [problem(_CHECK, what, _APPLY)]
    policy, binding = ((objects[key] or {})["spec"] for key in (_POLICY, _BINDING))
    findings = [
        problem(_CHECK, f"{names}: has {_ON}, but {what}: not everything is enforced", _APPLY)
        for what in _weakened(policy, binding, namespaces)
    ]
    return unless(findings, _CHECK, f"enforced: {names}")


def _weakened(policy: Object, binding: Object, namespaces: Iterable[Object]) -> Iterator[str]:
    """https://kubernetes.io/docs/reference/access-authn-authz/validating-admission-policy/, "Validation actions"."""
    if policy.get("failurePolicy") != "Fail":
        yield f"failurePolicy of the policy is {policy.get('failurePolicy')}, shipped is Fail"
    if "Deny" not in binding.get("validationActions", ()):
        yield f"the binding does not deny ({', '.join(binding.get('validationActions', ()))})"
    if binding["policyName"] != ENFORCEMENT_NAME:
        yield f"the binding is one of policy {binding['policyName']}"
    selector = (binding.get("matchResources") or {}).get("namespaceSelector") or {}
    if missed := sorted(_name(each) for each in namespaces if not matches(selector, _labels(each))):
        yield f"the binding does not choose {', '.join(missed)}"


def _name(namespace: Object) -> str:
    return str(namespace["metadata"]["name"])


def _labels(namespace: Object) -> dict[str, str]:
    return namespace["metadata"].get("labels") or {}
