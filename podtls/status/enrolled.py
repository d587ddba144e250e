"""An enrolled pod as `podtls status` tells of it: with what names, and by which bundle. Pure, over raw JSON."""

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
from podtls.kubernetes.pods import annotations, environment, is_finished, labels, record
from podtls.kubernetes.reader import Object
from podtls.status.surroundings import Surroundings

Trust = Literal["current", "older", "lost root", "unknown"]


@dataclass(frozen=True, slots=True)
class EnrolledPod:
    """A pod with our containers. `since` is when podtls-init ended, so the time of its first certificate."""

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


def enrolled(pod: Object, around: Surroundings) -> EnrolledPod:
    """What is known of an enrolled pod, and the names that the CA would give it now."""
    variables = environment(pod)
    state, since = _state(pod)
    identity, dns = _names(pod, around, variables.get(ENV_TRUST_DOMAIN, ""))
    trusts = "unknown" if is_finished(pod) else _trust(variables.get(ENV_TRUST_BUNDLE, ""), around.bundle)
    return EnrolledPod(
        namespace=pod["metadata"]["namespace"],
        name=pod["metadata"]["name"],
        state=state,
        mode=variables.get(ENV_MODE, ""),
        ports=variables.get(ENV_PORTS, ""),
        identity=identity,
        dns=dns,
        since=since,
        lifetime=_lifetime(pod),
        record=record(pod),
        trust=trusts,
        do="to be recreated (lost root)" if trusts == "lost root" else "",
    )


def _names(pod: Object, around: Surroundings, trust_domain: str) -> tuple[str, tuple[str, ...]]:
    """SPIFFE id and DNS names as the CA would decide them now; none where it would give none."""
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
        labels=labels(pod),
        hostname=spec.get("hostname", ""),
        subdomain=spec.get("subdomain", ""),
        addresses=tuple(ip_address(address["ip"]) for address in status.get("podIPs") or []),
    )
    services = msgspec.convert(list(around.services), list[Service])
    return str(identity), decide_names(facts, services, around.zone).dns


def _trust(pem: str, published: trust.Certificates) -> Trust:
    own = trust.parse_pem(pem)
    if not published or not own:
        return "unknown"
    if not trust.keys(own) & trust.keys(published):
        return "lost root"
    return "current" if trust.keys(own) == trust.keys(published) else "older"


def _state(pod: Object) -> tuple[str, str]:
    """What the pod does, and since when it has had a certificate ("" for not yet): from the state of podtls-init."""
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


def _lifetime(pod: Object) -> str:
    """How long one certificate of the pod lives, as podtls.io/lifetime says it."""
    seconds = int(parse_lifetime(annotations(pod).get(LIFETIME, "")).total_seconds())
    unit, size = next((unit, size) for unit, size in (("h", 3600), ("m", 60), ("s", 1)) if seconds % size == 0)
    return f"{seconds // size}{unit}"
