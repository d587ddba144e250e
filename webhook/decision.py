"""decide(...) -> Inject | Skip | Deny: all policy, nothing else. Pure: no API call, no clock, no disk.

How a Pod that somebody has at hand is injected without the webhook (`podtls inject`):

    request = review.request_for(raw, namespace="shop")            # ReviewError: not a Pod
    decision = decide(request, Defaults("mtls", "port"), settings)  # settings: PodSettings
    match decision:
        case Inject():
            operations = inject(request.pod, decision, record_id, settings)   # webhook.injection
        case Skip() | Deny():
            ...                                                     # decision.reason, decision.warnings

`raw` is a Pod or a pod template ({"metadata": ..., "spec": ...}) as the user wrote it; it is never changed.
"""

from dataclasses import dataclass
from typing import ClassVar, Final, Literal

from contract.names import CAPTURE, CAPTURES, INJECT, INJECT_DISABLED, MODE, MODES, VERSION
from webhook import annotations, checks
from webhook.annotations import PortPair
from webhook.errors import RefusedError
from webhook.pods import AdmissionRequest, Pod
from webhook.ports import port_pairs, privileged_ports
from webhook.settings import PodSettings
from webhook.upstreams import Upstream, parse_upstreams

MIRROR: Final = "kubernetes.io/config.mirror"
_SUPPORTED_MODES: Final = ("mtls", "tls")
_SUPPORTED_CAPTURES: Final = ("port",)
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
    """The Pod gets TLS, this way."""

    kind: ClassVar[Literal["inject"]] = "inject"
    allowed: ClassVar[bool] = True

    reason: str
    warnings: tuple[str, ...]
    mode: str
    ports: tuple[PortPair, ...]
    upstreams: tuple[Upstream, ...]
    budget_seconds: int
    init_image: str
    sidecar_image: str
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
    mode: ClassVar[str] = ""
    ports_text: ClassVar[str] = ""

    reason: str
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Deny:
    """The Pod is refused; the reason is what its developer reads."""

    kind: ClassVar[Literal["deny"]] = "deny"
    allowed: ClassVar[bool] = False
    mode: ClassVar[str] = ""
    ports_text: ClassVar[str] = ""
    warnings: ClassVar[tuple[str, ...]] = ()

    reason: str


Decision = Inject | Skip | Deny


def decide(request: AdmissionRequest, defaults: Defaults, settings: PodSettings) -> Decision:
    """Returns what is to be done with a Pod, with the reason. Raises nothing: what cannot be granted is a Deny."""
    reason = _skip_reason(request.pod)
    if reason:
        return Skip(reason, (f"podtls: not injected: {reason}", *checks.left_over(request.pod)))
    try:
        return _plan(request, defaults, settings)
    except RefusedError as error:
        return Deny(str(error))


def _skip_reason(pod: Pod) -> str:
    if pod.labels.get(INJECT) == INJECT_DISABLED:
        return f"label {INJECT}={INJECT_DISABLED} opts out"
    if pod.host_network:
        return "hostNetwork pods share the node's ports and addresses"
    if pod.windows:
        return "Windows pods are not supported"
    if MIRROR in pod.annotations:
        return "mirror pods cannot be changed"
    return ""


def _plan(request: AdmissionRequest, defaults: Defaults, settings: PodSettings) -> Inject:
    pod = request.pod
    mode = _mode(pod, defaults)
    checks.reserved(pod)
    annotations.check_allow(pod.annotations)
    annotations.check_lifetime(pod.annotations)
    upstreams = parse_upstreams(pod.annotations, request.namespace, settings.zone)
    checks.aliases(pod, upstreams, settings)
    ports = port_pairs(pod, upstreams)
    init_image, sidecar_image = checks.accepted_images(pod, settings)
    return Inject(
        reason=f"enrolled: mode {mode}, capture port",
        warnings=(*_weaker(mode, defaults), *checks.warnings(pod, settings)),
        mode=mode,
        ports=ports,
        upstreams=upstreams,
        budget_seconds=_BUDGET_SECONDS_NEVER if pod.restart_policy == "Never" else _BUDGET_SECONDS,
        init_image=init_image,
        sidecar_image=sidecar_image,
        set_resources=not pod.has_resources,
        set_sysctl=checks.needs_sysctl(pod, privileged_ports(ports, upstreams)),
    )


def _mode(pod: Pod, defaults: Defaults) -> str:
    mode = annotations.parse_choice(pod.annotations, MODE, MODES)
    capture = annotations.parse_choice(pod.annotations, CAPTURE, CAPTURES)
    _check_supported("mode", mode or defaults.mode, written=mode, supported=_SUPPORTED_MODES)
    _check_supported("capture", capture or defaults.capture, written=capture, supported=_SUPPORTED_CAPTURES)
    return mode or defaults.mode


def _check_supported(what: str, value: str, *, written: str | None, supported: tuple[str, ...]) -> None:
    if value not in supported:
        source = "annotation on the pod" if written is not None else "label on the namespace"
        raise RefusedError(
            f"podtls.io/{what}: {value} ({source}) is not supported yet by podtls {VERSION}; "
            f"supported: {', '.join(supported)}"
        )


def _weaker(mode: str, defaults: Defaults) -> tuple[str, ...]:
    # contract.MODES stands in the order of strength.
    if MODES.index(mode) <= MODES.index(defaults.mode):
        return ()
    return (f"podtls: mode {mode} of the pod is weaker than mode {defaults.mode} of its namespace",)
