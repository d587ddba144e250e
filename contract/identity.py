"""Who a workload is: TrustDomain and WorkloadIdentity, on which webhook, CA and pods agree. Values only, no effects."""

import re
from dataclasses import dataclass
from typing import Final, Self

from contract.dns import is_dns_name, is_label
from contract.errors import IdentityError, quote

# SPIFFE-ID section 2.1: lower case letters, digits, dots, dashes and underscores. The trust domain is the leaf's O as
# well, which ends at 64 characters (RFC 5280 appendix A, ub-organization-name). It begins as a DNS name does, so that
# it never reads as a path (`.`) or an option (`-x`).
_TRUST_DOMAIN: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_SPIFFE_ID: Final = re.compile(r"spiffe://([^/]+)/ns/([^/]+)/sa/([^/]+)")
_USER: Final = re.compile(r"system:serviceaccount:([^:]+):([^:]+)")


@dataclass(frozen=True, slots=True)
class TrustDomain:
    """The name under which all identities of one trust bundle live. Raises IdentityError for a bad one."""

    name: str

    def __post_init__(self) -> None:
        if not _TRUST_DOMAIN.fullmatch(self.name):
            allowed = "1 to 64 of a-z, 0-9, '.', '-' and '_', the first a letter or a digit"
            raise IdentityError(f"trust domain {quote(self.name)}: allowed are {allowed}")

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class WorkloadIdentity:
    """Who a workload is: a service account of a namespace. str() is its SPIFFE ID. Raises IdentityError."""

    trust_domain: TrustDomain
    namespace: str
    service_account: str

    def __post_init__(self) -> None:
        if not is_label(self.namespace):
            raise IdentityError(f"namespace {quote(self.namespace)}: not an RFC 1123 label")
        if not is_dns_name(self.service_account):
            raise IdentityError(f"service account {quote(self.service_account)}: not an RFC 1123 subdomain")

    def __str__(self) -> str:
        return f"spiffe://{self.trust_domain}/ns/{self.namespace}/sa/{self.service_account}"

    @classmethod
    def parse(cls, spiffe_id: str) -> Self:
        """The identity that a SPIFFE ID of our form names. Raises IdentityError for any other form."""
        found = _SPIFFE_ID.fullmatch(spiffe_id)
        if not found:
            form = "spiffe://<trust domain>/ns/<namespace>/sa/<name>"
            raise IdentityError(f"SPIFFE ID {quote(spiffe_id)}: expected {form}")
        return cls(TrustDomain(found[1]), found[2], found[3])

    @classmethod
    def from_user(cls, username: str, trust_domain: TrustDomain) -> Self:
        """The identity behind a user name of Kubernetes. Raises IdentityError for one that is not a service account."""
        found = _USER.fullmatch(username)
        if not found:
            raise IdentityError(f"user {quote(username)}: expected system:serviceaccount:<namespace>:<name>")
        return cls(trust_domain, found[1], found[2])
