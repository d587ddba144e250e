"""From a bearer token to the pod that holds it, as the API server sees both. No CSR, no names, no signing.

Every condition that fails has its own reason: the caller reads it, the log records it, the tests assert it.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final, Protocol

from ca.api.names import PodFacts
from ca.api.objects import Pod, TokenReview, UserInfo
from ca.errors import Caller, PendingError, RefusedError, UnauthenticatedError, UnavailableError
from contract.errors import GrammarError, IdentityError
from contract.grammar import Lifetime
from contract.identity import TrustDomain, WorkloadIdentity
from contract.names import AUDIENCE, INIT_CONTAINER, INJECTED, LIFETIME, LIFETIME_SECONDS, STATUS
from contract.status_annotation import read_record_id

Address = IPv4Address | IPv6Address

# RFC 6750 section 2.1. The scheme's case does not matter (RFC 9110 section 11.1). Anything else is not a token.
_BEARER: Final = re.compile(r"bearer +([A-Za-z0-9._~+/-]+=*)", re.IGNORECASE)

# https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/#additional-metadata-in-pod-bound-tokens
_EXTRA: Final = "authentication.kubernetes.io/"
_EXTRAS: Final = ("pod-name", "pod-uid", "node-name", "credential-id")

# How long after the pod's last change its address may be missing, or still be that of a sandbox that was lost.
_ADDRESS_PATIENCE: Final = timedelta(seconds=30)

_FINISHED: Final = ("Succeeded", "Failed")
_DEFAULT_LIFETIME: Final = timedelta(seconds=LIFETIME_SECONDS)


class TokenReviewer(Protocol):
    """Asks the API server whose token it is. Raises UnavailableError."""

    def review(self, unverified_token: str, audience: str) -> TokenReview:
        """Return what the API server says of the token for this one audience."""
        ...


class PodReader(Protocol):
    """Reads one Pod, None when there is none. Raises UnavailableError."""

    def pod(self, namespace: str, name: str) -> Pod | None:
        """Return the Pod as it is now."""
        ...


class Cluster(TokenReviewer, PodReader, Protocol):
    """What attesting needs of the API server."""


class SourceAddress(StrEnum):
    """What the CA does with the address that a request comes from: compare it with the pod's, or only record it."""

    REQUIRE = "require"
    RECORD = "record"


@dataclass(frozen=True, slots=True)
class Claim:
    """What a request says of its sender: the Authorization header, and the peer's address as the edge proxy saw it."""

    authorization: str
    source: str


@dataclass(frozen=True, slots=True)
class Rules:
    """What an installation may choose about attesting."""

    trust_domain: TrustDomain
    source_address: SourceAddress


@dataclass(frozen=True, slots=True)
class AttestedPod:
    """A running, injected pod that holds the token it came with. Made by attest_pod() alone."""

    facts: PodFacts
    caller: Caller
    lifetime: timedelta
    patch_record: str


def attest_pod(claim: Claim, cluster: Cluster, rules: Rules, now: datetime) -> AttestedPod:
    """The pod behind a request.

    Raises UnauthenticatedError, RefusedError (authenticated, but not a pod that we certify), PendingError (its address
    is not known yet) or UnavailableError (the API server cannot be asked).
    """
    user = _authenticate(_parse_bearer_token(claim.authorization), cluster)
    caller, identity = _read_binding(user, rules.trust_domain)
    pod = cluster.pod(caller.namespace, caller.pod)
    if pod is None:
        raise RefusedError(f"pod {caller.namespace}/{caller.pod} is gone", caller)
    objection = next(_find_objections(pod, caller), None)
    if objection is not None:
        raise RefusedError(f"pod {caller.namespace}/{caller.pod} {objection}", caller)
    addresses = _parse_addresses(pod)
    if rules.source_address is SourceAddress.REQUIRE:
        _require_address(claim.source, addresses, caller, age=now - _find_last_change(pod))
    annotations = pod.metadata.annotations or {}
    return AttestedPod(
        facts=_read_facts(pod, identity, addresses),
        caller=caller,
        lifetime=parse_lifetime(annotations.get(LIFETIME, "")),
        # A pointer for auditors, not a fact that we rely on.
        patch_record=read_record_id(annotations.get(STATUS)),
    )


def _read_facts(pod: Pod, identity: WorkloadIdentity, addresses: tuple[Address, ...]) -> PodFacts:
    return PodFacts(
        identity=identity,
        labels=pod.metadata.labels or {},
        hostname=pod.spec.hostname or "",
        subdomain=pod.spec.subdomain or "",
        addresses=addresses,
    )


def parse_lifetime(text: str) -> timedelta:
    """The lifetime that a pod asks for; the default where it asks for none, or for one that the CA does not give.

    Raises nothing: the webhook has refused a bad value with a message, and a pod changed since needs a certificate.
    """
    try:
        return timedelta(seconds=Lifetime.parse(text).seconds)
    except GrammarError:
        return _DEFAULT_LIFETIME


def _parse_bearer_token(authorization: str) -> str:
    found = _BEARER.fullmatch(authorization.strip())
    if not found:
        raise UnauthenticatedError("no bearer token" if not authorization else "the Authorization header is not Bearer")
    return found[1]


def _authenticate(unverified_token: str, reviewer: TokenReviewer) -> UserInfo:
    status = reviewer.review(unverified_token, AUDIENCE).status
    if not status.authenticated:
        raise UnauthenticatedError("the API server does not know the token, or it has expired")
    # An API server that ignores spec.audiences leaves status.audiences empty: then any token of the cluster would do.
    if AUDIENCE not in (status.audiences or ()):
        raise UnauthenticatedError(f"the token's audience is not {AUDIENCE}")
    return status.user


def _read_binding(user: UserInfo, trust_domain: TrustDomain) -> tuple[Caller, WorkloadIdentity]:
    extra = {name: _take_single((user.extra or {}).get(_EXTRA + name)) for name in _EXTRAS}
    try:
        identity = WorkloadIdentity.from_user(user.username, trust_domain)
    except IdentityError as error:
        raise RefusedError(str(error), Caller(token_id=extra["credential-id"])) from error
    caller = Caller(
        namespace=identity.namespace,
        service_account=identity.service_account,
        pod=extra["pod-name"],
        pod_uid=extra["pod-uid"],
        node=extra["node-name"],
        token_id=extra["credential-id"],
    )
    for name in ("pod-name", "pod-uid"):
        if not extra[name]:
            raise RefusedError(f"the token is not bound to a pod: {name} is missing", caller)
    return caller, identity


def _take_single(values: list[str] | None) -> str:
    return values[0] if values and len(values) == 1 else ""


def _find_objections(pod: Pod, caller: Caller) -> Iterator[str]:
    """Why this pod gets no certificate, the strongest reason first; none when it gets one."""
    meta, spec = pod.metadata, pod.spec
    if meta.uid != caller.pod_uid:
        yield "is another one than the token's: the uid differs"
    if (spec.service_account_name or "default") != caller.service_account:
        yield "runs under another service account than the token's"
    if (spec.node_name or "") != caller.node:
        yield "runs on another node than the token's"
    if meta.deletion_timestamp is not None:
        yield "is terminating"
    if pod.status.phase in _FINISHED:
        yield f"has finished: {pod.status.phase}"
    if (meta.labels or {}).get(INJECTED) != "true":
        yield f"is not injected: no label {INJECTED}"
    if INIT_CONTAINER not in {container.name for container in spec.init_containers or ()}:
        yield f"is not injected: no init container {INIT_CONTAINER}"


def _parse_addresses(pod: Pod) -> tuple[Address, ...]:
    try:
        return tuple(ip_address(address.ip) for address in pod.status.pod_ips or ())
    except ValueError as error:
        raise UnavailableError(f"the API server shows a pod address that cannot be parsed: {error}") from error


def _require_address(source: str, addresses: tuple[Address, ...], caller: Caller, *, age: timedelta) -> None:
    try:
        peer = ip_address(source)
    except ValueError as error:
        raise RefusedError(
            f"source address {source!r} is not an address: the edge proxy must send it", caller
        ) from error
    peer = getattr(peer, "ipv4_mapped", None) or peer  # ::ffff:10.1.2.3 of a dual-stack listener.
    if peer in addresses:
        return
    known = f"the API server shows {', '.join(map(str, addresses)) or 'none'}"
    reason = f"source address {peer} is not the pod's, {known}"
    if age <= _ADDRESS_PATIENCE:
        raise PendingError(reason)
    raise RefusedError(reason, caller)


def _find_last_change(pod: Pod) -> datetime:
    # A sandbox that is lost later changes a condition (Ready, PodReadyToStartContainers), not the start time.
    changes = (condition.last_transition_time for condition in pod.status.conditions or ())
    times = (pod.metadata.creation_timestamp, pod.status.start_time, *changes)
    return max(time for time in times if time is not None)
