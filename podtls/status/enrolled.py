"""An enrolled pod as `podtls status` shows it: its names, its certificate, its trust bundle. Pure, over raw JSON."""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, Literal

import msgspec

from ca.api.attest import parse_lifetime
from ca.api.names import PodFacts, decide_names
from ca.api.objects import Service
from contract.errors import IdentityError
from contract.identity import TrustDomain, WorkloadIdentity
from contract.names import ENV_MODE, ENV_PORTS, ENV_TRUST_BUNDLE, ENV_TRUST_DOMAIN, INIT_CONTAINER, LIFETIME
from podtls.check import trust
from podtls.kubernetes.objects import Object, annotations_of, labels_of, name_of
from podtls.kubernetes.pods import is_finished, read_environment, record_id_of

Trust = Literal["current", "older", "lost root", "unknown"]


@dataclass(frozen=True, slots=True)
class EnrolledPod:
    """A pod with the containers of podtls. `since` is when podtls-init ended: the time of its first certificate."""

    namespace: str
    name: str
    state: str
    mode: str
    ports: str
    identity: str
    dns: tuple[str, ...]
    since: str
    lifetime: str
    record: str
    trust: Trust
    do: str


def describe_enrolled(pod: Object, services: Sequence[Object], *, bundle: trust.Certificates, zone: str) -> EnrolledPod:
    """What is known of an enrolled pod, and the names that the CA would certify now."""
    variables = read_environment(pod)
    state, since = _read_state(pod)
    identity, dns = _compute_names(pod, services, zone, variables.get(ENV_TRUST_DOMAIN, ""))
    trusts = "unknown" if is_finished(pod) else _compare_bundles(variables.get(ENV_TRUST_BUNDLE, ""), bundle)
    return EnrolledPod(
        namespace=pod["metadata"]["namespace"],
        name=name_of(pod),
        state=state,
        mode=variables.get(ENV_MODE, ""),
        ports=variables.get(ENV_PORTS, ""),
        identity=identity,
        dns=dns,
        since=since,
        lifetime=_format_lifetime(pod),
        record=record_id_of(pod),
        trust=trusts,
        do="to be recreated (lost root)" if trusts == "lost root" else "",
    )


def _compute_names(
    pod: Object, services: Sequence[Object], zone: str, trust_domain: str
) -> tuple[str, tuple[str, ...]]:
    """SPIFFE id and DNS names as the CA would certify them now; empty where it would refuse."""
    meta, spec, status = pod["metadata"], pod["spec"], pod.get("status") or {}
    account = spec.get("serviceAccountName", "default")
    try:
        identity = WorkloadIdentity(TrustDomain(trust_domain), meta["namespace"], account)
    except IdentityError:
        return "", ()
    if is_finished(pod):
        return str(identity), ()
    facts = PodFacts(
        identity=identity,
        labels=labels_of(pod),
        hostname=spec.get("hostname", ""),
        subdomain=spec.get("subdomain", ""),
        addresses=tuple(ip_address(address["ip"]) for address in status.get("podIPs") or []),
    )
    return str(identity), decide_names(facts, msgspec.convert(list(services), list[Service]), zone).dns


def _compare_bundles(pem: str, published: trust.Certificates) -> Trust:
    own = trust.parse_pem(pem)
    if not published or not own:
        return "unknown"
    if not trust.public_keys_of(own) & trust.public_keys_of(published):
        return "lost root"
    return "current" if trust.public_keys_of(own) == trust.public_keys_of(published) else "older"


def _read_state(pod: Object) -> tuple[str, str]:
    """The phase of the pod, and since when it has had a certificate ("" for not yet), by the state of podtls-init."""
    status = pod.get("status") or {}
    phase = str(status.get("phase", "Unknown"))
    if "deletionTimestamp" in pod["metadata"]:
        phase = "Terminating"
    states = {entry["name"]: entry for entry in status.get("initContainerStatuses") or []}
    init = states.get(INIT_CONTAINER, {})
    ended = _ended(init.get("state"))
    if ended.get("exitCode") == 0:
        return phase, str(ended.get("finishedAt") or "")
    failed = ended or _ended(init.get("lastState"))
    if failed and not is_finished(pod):
        message = " ".join(str(failed.get("message") or failed.get("reason") or "").split())
        return f"{INIT_CONTAINER} fails ({failed.get('exitCode')}): {message}", ""
    return phase, ""


def _ended(state: Object | None) -> dict[str, Any]:
    return (state or {}).get("terminated") or {}


def _format_lifetime(pod: Object) -> str:
    """How long one certificate of the pod is valid, as podtls.io/lifetime has it."""
    seconds = int(parse_lifetime(annotations_of(pod).get(LIFETIME, "")).total_seconds())
    unit, size = next((unit, size) for unit, size in (("h", 3600), ("m", 60), ("s", 1)) if seconds % size == 0)
    return f"{seconds // size}{unit}"
