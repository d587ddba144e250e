"""Checks of components/enforce: namespaces labelled for it are enforced, and can have pods at all. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from contract.names import ENFORCE, ENFORCE_POLICY, INJECT
from podtls.check.finding import CheckFinding, ok_unless, problem, warning
from podtls.check.namespaces import is_enrolled_namespace
from podtls.kubernetes.objects import Object, labels_of, name_of
from podtls.kubernetes.selectors import matches
from podtls.manifests.shipped import excluded_namespaces

KINDS: Final = ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")
_CHECK: Final = "enforce"
_ON: Final = f"{ENFORCE}=true"
_APPLY: Final = "see that your overlay has components/enforce, and apply it"


def is_enforced(namespace: Object) -> bool:
    """Whether the label asks for it."""
    return labels_of(namespace).get(ENFORCE) == "true"


def check_unenrolled(namespaces: Iterable[Object]) -> Iterator[CheckFinding]:
    """Which of the enforced namespaces are not injected, so that their pods are refused."""
    for namespace in namespaces:
        name = name_of(namespace)
        if name in excluded_namespaces():
            what = f"{name}: has {_ON}, but is never enrolled: no pod of it can be created"
            yield problem(_CHECK, what, f"kubectl label namespace {name} {ENFORCE}-")
        elif not is_enrolled_namespace(namespace):
            what = f"{name}: has {_ON}, but is not enrolled: nobody injects its pods, and the policy refuses them"
            yield warning(_CHECK, what, f"kubectl label namespace {name} {INJECT}=enabled --overwrite")


def check_enforced(namespaces: Sequence[Object], policy: Object | None, binding: Object | None) -> list[CheckFinding]:
    """Whether the policy that the labels ask for is there, and refuses."""
    names = ", ".join(sorted(map(name_of, namespaces)))
    missing = [kind for kind, found in zip(KINDS, (policy, binding), strict=True) if found is None]
    if policy is None or binding is None:
        what = f"{names}: has {_ON}, but {' and '.join(missing)} {ENFORCE_POLICY} is missing: nothing is enforced"
        return [problem(_CHECK, what, _APPLY)]
    findings = [
        problem(_CHECK, f"{names}: has {_ON}, but {what}: not everything is enforced", _APPLY)
        for what in _find_weakened(policy["spec"], binding["spec"], namespaces)
    ]
    return ok_unless(findings, _CHECK, f"enforced: {names}")


def _find_weakened(policy: Object, binding: Object, namespaces: Iterable[Object]) -> Iterator[str]:
    """https://kubernetes.io/docs/reference/access-authn-authz/validating-admission-policy/, "Validation actions"."""
    if policy.get("failurePolicy") != "Fail":
        yield f"failurePolicy of the policy is {policy.get('failurePolicy')}, shipped is Fail"
    if "Deny" not in binding.get("validationActions", ()):
        yield f"the binding does not deny ({', '.join(binding.get('validationActions', ()))})"
    if binding["policyName"] != ENFORCE_POLICY:
        yield f"the binding is one of policy {binding['policyName']}"
    selector = (binding.get("matchResources") or {}).get("namespaceSelector") or {}
    if missed := sorted(name_of(each) for each in namespaces if not matches(selector, labels_of(each))):
        yield f"the binding does not choose {', '.join(missed)}"
