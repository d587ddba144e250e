"""decide(...) -> Inject | Skip | Deny: all policy, nothing else. Pure: no API call, no clock, no disk.

How to inject a Pod at hand without the webhook (`podtls inject`):

    request = build_request(raw, namespace="shop")                        # webhook.request; ReviewError: not a Pod
    decision = decide(request, Defaults("mtls", "port"), settings.pods.policy)
    match decision:
        case Inject():
            operations = inject(request.pod, decision, record_id, settings)   # webhook.injection
        case Skip() | Deny():
            ...                                                           # decision.reason, decision.warnings

`raw` is a Pod or a pod template ({"metadata": ..., "spec": ...}) as the user wrote it; it is never changed. `settings`
are InjectionSettings.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Final, Literal

from contract.grammar import PortPair
from contract.names import CAPTURE, INJECT, INJECT_DISABLED, MODE
from webhook.errors import RefusedError
from webhook.managed import find_mirrored_images
from webhook.pods import Pod
from webhook.ports import choose_ports, find_port_sysctl, find_privileged_ports
from webhook.refusals import check_name_clashes, check_port_sysctl, check_reserved_names, check_supported
from webhook.request import AdmissionRequest
from webhook.settings import Policy
from webhook.upstreams import DialledUpstream, plan_upstreams
from webhook.warnings import warn_of_left_containers, warn_of_surprises, warn_of_weaker_mode
from webhook.wishes import parse_wishes

_BUDGET_SECONDS: Final = 60
# A Pod that is never restarted gets one chance only.
_BUDGET_SECONDS_NEVER: Final = 600


@dataclass(frozen=True, slots=True)
class Defaults:
    """What the namespace's labels chose, as the path /mutate/<mode>/<capture> says it."""

    mode: str
    capture: str

    @property
    def path(self) -> str:
        """The two as the record has them."""
        return f"{self.mode}/{self.capture}"


@dataclass(frozen=True, slots=True)
class Inject:
    """The Pod gets TLS, this way. `mirrored_images` are kept in place of ours, by the name of the container."""

    kind: ClassVar[Literal["inject"]] = "inject"
    allowed: ClassVar[bool] = True

    reason: str
    warnings: tuple[str, ...]
    mode: str
    ports: tuple[PortPair, ...]
    upstreams: tuple[DialledUpstream, ...]
    budget_seconds: int
    mirrored_images: Mapping[str, str]
    set_resources: bool
    set_sysctl: bool

    @property
    def ports_text(self) -> str:
        """The ports as podtls.io/ports would say them."""
        return ",".join(str(pair) for pair in self.ports)


@dataclass(frozen=True, slots=True)
class Skip:
    """The Pod is admitted as it is."""

    kind: ClassVar[Literal["skip"]] = "skip"
    allowed: ClassVar[bool] = True

    reason: str
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Deny:
    """The Pod is refused; the reason is what its developer reads."""

    kind: ClassVar[Literal["deny"]] = "deny"
    allowed: ClassVar[bool] = False
    warnings: ClassVar[tuple[str, ...]] = ()

    reason: str


Decision = Inject | Skip | Deny


def decide(request: AdmissionRequest, defaults: Defaults, policy: Policy) -> Decision:
    """Returns what is to be done with a Pod, with the reason. Raises nothing: what cannot be granted is a Deny."""
    reason = _find_skip_reason(request.pod)
    if reason:
        return Skip(reason, (f"podtls: not injected: {reason}", *warn_of_left_containers(request.pod)))
    try:
        return _plan(request, defaults, policy)
    except RefusedError as error:
        return Deny(str(error))


def _find_skip_reason(pod: Pod) -> str:
    if pod.labels.get(INJECT) == INJECT_DISABLED:
        return f"label {INJECT}={INJECT_DISABLED} opts out"
    if pod.host_network:
        return "hostNetwork pods share the node's ports and addresses"
    if pod.windows:
        return "Windows pods are not supported"
    if pod.mirror:
        return "mirror pods cannot be changed"
    return ""


def _plan(request: AdmissionRequest, defaults: Defaults, policy: Policy) -> Inject:
    pod = request.pod
    wishes = parse_wishes(pod.annotations)
    check_supported(MODE, wish=wishes.mode, default=defaults.mode)
    check_supported(CAPTURE, wish=wishes.capture, default=defaults.capture)
    check_reserved_names(pod)
    upstreams = plan_upstreams(wishes.upstreams, request.namespace, policy.zone)
    check_name_clashes(pod, upstreams, policy.ca_host)
    ports = choose_ports(pod, wishes, upstreams)
    privileged = find_privileged_ports(ports, upstreams)
    check_port_sysctl(pod, privileged)
    mode = wishes.mode or defaults.mode
    images = find_mirrored_images(pod.raw_init_containers, policy.mirrored_image)
    surprises = warn_of_surprises(pod, policy, wishes.unknown, images.values())
    return Inject(
        reason=f"enrolled: mode {mode}, capture port",
        warnings=(*warn_of_weaker_mode(mode, defaults.mode), *surprises),
        mode=mode,
        ports=ports,
        upstreams=upstreams,
        budget_seconds=_BUDGET_SECONDS_NEVER if pod.restart_policy == "Never" else _BUDGET_SECONDS,
        mirrored_images=images,
        set_resources=not pod.has_resources,
        set_sysctl=bool(privileged) and find_port_sysctl(pod) is None,
    )
