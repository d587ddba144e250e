"""TrustDomain and WorkloadIdentity: identities that webhook, CA and pods agree on. Parsing and str(), no effects."""

import re
from dataclasses import dataclass
from typing import Final, Self

from contract.errors import IdentityError

# SPIFFE-ID section 2.1: lower case letters, digits, dots, dashes and underscores. The trust domain is the leaf's O as
# well, which ends at 64 characters (RFC 5280 appendix A, ub-organization-name).
_TRUST_DOMAIN: Final = re.compile(r"[a-z0-9._-]{1,64}")
# RFC 1123 label and subdomain, as Kubernetes names namespaces and service accounts. No `/`, so no path is forged.
_LABEL: Final = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_NAMESPACE: Final = re.compile(_LABEL)
_SERVICE_ACCOUNT: Final = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*")
_SPIFFE_ID: Final = re.compile(r"spiffe://([^/]+)/ns/([^/]+)/sa/([^/]+)")
_USER: Final = re.compile(r"system:serviceaccount:([^:]+):([^:]+)")


@dataclass(frozen=True, slots=True)
class TrustDomain:
    """The name under which all identities of one trust bundle live. Raises IdentityError for a bad one."""

    name: str

    def __post_init__(self) -> None:
        if not _TRUST_DOMAIN.fullmatch(self.name):
            raise IdentityError(f"trust domain {self.name!r}: allowed are 1 to 64 of a-z, 0-9, '.', '-' and '_'")

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class WorkloadIdentity:
    """Who a workload is: a service account of a namespace. str() is its SPIFFE ID. Raises IdentityError."""

    trust_domain: TrustDomain
    namespace: str
    service_account: str

    def __post_init__(self) -> None:
        if not _NAMESPACE.fullmatch(self.namespace):
            raise IdentityError(f"namespace {self.namespace!r}: not an RFC 1123 label")
        if not _SERVICE_ACCOUNT.fullmatch(self.service_account):
            raise IdentityError(f"service account {self.service_account!r}: not an RFC 1123 subdomain")

    def __str__(self) -> str:
        return f"spiffe://{self.trust_domain}/ns/{self.namespace}/sa/{self.service_account}"

    @classmethod
    def parse(cls, spiffe_id: str) -> Self:
        """The identity that a SPIFFE ID of our form names. Raises IdentityError for any other form."""
        found = _SPIFFE_ID.fullmatch(spiffe_id)
        if not found:
            raise IdentityError(f"SPIFFE ID {spiffe_id!r}: expected spiffe://<trust domain>/ns/<namespace>/sa/<name>")
        return cls(TrustDomain(found[1]), found[2], found[3])

    @classmethod
    def from_user(cls, username: str, trust_domain: TrustDomain) -> Self:
        """The identity behind a user name of Kubernetes. Raises IdentityError for one that is no service account."""
        found = _USER.fullmatch(username)
        if not found:
            raise IdentityError(f"user {username!r}: expected system:serviceaccount:<namespace>:<name>")
        return cls(trust_domain, found[1], found[2])
