"""What the developer of a Pod should be warned of. Part of `decide`: functions return texts and refuse nothing."""

from collections.abc import Iterable
from typing import Final

from contract.names import INIT_CONTAINER, INJECT, INJECT_DISABLED, INJECTED, MODES
from webhook.errors import quote
from webhook.managed import RESERVED_CONTAINERS, is_injected
from webhook.pods import Pod
from webhook.settings import Policy

_COPY: Final = (
    "podtls: a copy without the labels and annotations of its original, so it follows its namespace; "
    "kubectl debug --copy-to keeps them with --keep-labels --keep-annotations"
)


def warn_of_weaker_mode(mode: str, default: str) -> list[str]:
    """Warns of a mode that is weaker than the namespace's."""
    # contract.names.MODES has the strongest first.
    if MODES.index(mode) <= MODES.index(default):
        return []
    return [f"podtls: mode {mode} of the pod is weaker than mode {default} of its namespace"]


def warn_of_surprises(pod: Pod, policy: Policy, unknown: Iterable[str], images: Iterable[str]) -> list[str]:
    """Warns of what works otherwise than expected: `unknown` annotations, `images` of a mirror, the Pod itself."""
    found = [
        *_warn_of_copy(pod),
        *_warn_of_earlier_containers(pod),
        *_warn_of_mirrored_images(policy, images),
    ]
    if pod.dns_policy in {"Default", "None"}:
        found.append(f"podtls: dnsPolicy {pod.dns_policy}: the CA's name {policy.ca_host} may not resolve")
    value = pod.labels.get(INJECT)
    if value not in {None, "enabled"}:
        found.append(f"podtls: label {INJECT}: {quote(value)} does not opt out; only {INJECT_DISABLED} does")
    return [*found, *(f"podtls: annotation {quote(key)} is unknown and means nothing" for key in unknown)]


def warn_of_left_containers(pod: Pod) -> list[str]:
    """Warns of our containers in a Pod that is skipped."""
    return ["podtls: its containers named podtls-... are left as they are"] if is_injected(pod) else []


def _warn_of_copy(pod: Pod) -> list[str]:
    return [_COPY] if is_injected(pod) and INJECTED not in pod.labels and not pod.has_status else []


def _warn_of_mirrored_images(policy: Policy, images: Iterable[str]) -> list[str]:
    return [
        f"podtls: image {quote(image)} accepted in place of {policy.mirrored_image}" for image in sorted(set(images))
    ]


def _warn_of_earlier_containers(pod: Pod) -> list[str]:
    names = [container.name for container in pod.init_containers]
    first = next((index for index, name in enumerate(names) if name in RESERVED_CONTAINERS), 0)
    return [
        f"podtls: init container {quote(name)} runs before {INIT_CONTAINER} and has no upstreams"
        for name in names[:first]
    ]
