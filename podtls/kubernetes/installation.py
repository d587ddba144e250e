"""How an installation of podtls is called, where the API server has it, and what reading it takes. Tables only.

What its objects are is in manifests/ (podtls/manifests/shipped.py reads them).
"""

from dataclasses import dataclass
from typing import Final

from contract.names import (
    BUNDLE_CONFIG_MAP,
    CA_NAME,
    CAPTURE,
    CAPTURES,
    CONTROLLER_NAME,
    DEFAULT_ZONE,
    ENFORCE,
    ENFORCE_POLICY,
    INJECT,
    INJECT_DISABLED,
    MODE,
    MODES,
    SYSTEM_NAMESPACE,
    WEBHOOK_CONFIGURATION,
    WEBHOOK_NAME,
)
from podtls.kubernetes.reader import Access

NAMESPACE: Final = SYSTEM_NAMESPACE
CONFIGURATION: Final = WEBHOOK_CONFIGURATION
ZONE: Final = DEFAULT_ZONE  # What the CA takes where PODTLS_ZONE is not set.
INSTALL: Final = "kubectl apply -k manifests/overlays/default"

_ADMISSION: Final = "admissionregistration.k8s.io"
_RBAC: Final = "rbac.authorization.k8s.io"
_NAMESPACED: Final = f"namespaces/{NAMESPACE}"

NAMESPACES: Final = "/api/v1/namespaces"
PODS: Final = "/api/v1/pods"
MUTATING: Final = f"/apis/{_ADMISSION}/v1/mutatingwebhookconfigurations/{CONFIGURATION}"
VALIDATING: Final = f"/apis/{_ADMISSION}/v1/validatingwebhookconfigurations/{CONFIGURATION}"
BUNDLE: Final = f"/api/v1/{_NAMESPACED}/configmaps/{BUNDLE_CONFIG_MAP}"
SLICES: Final = f"/apis/discovery.k8s.io/v1/{_NAMESPACED}/endpointslices"


@dataclass(frozen=True, slots=True)
class ControlPlaneWorkload:
    """A workload of the control plane; `service` is the port name of its Service, empty where it has none."""

    kind: str
    name: str
    service: str

    @property
    def path(self) -> str:
        """Where the API server has it."""
        return f"/apis/apps/v1/{_NAMESPACED}/{self.kind.lower()}s/{self.name}"

    def proxied(self, path: str) -> str:
        """`path` of its Service, as the API server forwards it (TLS of the last hop is not verified there)."""
        return f"/api/v1/{_NAMESPACED}/services/https:{self.name}:{self.service}/proxy{path}"


WEBHOOK: Final = ControlPlaneWorkload("StatefulSet", WEBHOOK_NAME, "https")
CA: Final = ControlPlaneWorkload("StatefulSet", CA_NAME, "https")
CONTROLLER: Final = ControlPlaneWorkload("Deployment", CONTROLLER_NAME, "")
WORKLOADS: Final = (WEBHOOK, CA, CONTROLLER)

MAY_LIST_NAMESPACES: Final = (Access("list", "namespaces"),)
MAY_READ_WEBHOOKS: Final = tuple(
    Access("get", f"{kind}webhookconfigurations", _ADMISSION, name=CONFIGURATION) for kind in ("mutating", "validating")
)
MAY_READ_BUNDLE: Final = (Access("get", "configmaps", namespace=NAMESPACE, name=BUNDLE_CONFIG_MAP),)
MAY_READ_WORKLOADS: Final = (
    Access("get", "statefulsets", "apps", NAMESPACE),
    Access("get", "deployments", "apps", NAMESPACE),
)
MAY_READ_ENDPOINTS: Final = (Access("list", "endpointslices", "discovery.k8s.io", NAMESPACE),)
MAY_READ_RBAC: Final = (
    Access("get", "serviceaccounts", namespace=NAMESPACE),
    Access("get", "clusterroles", _RBAC),
    Access("get", "clusterrolebindings", _RBAC),
    Access("get", "roles", _RBAC, NAMESPACE),
    Access("get", "rolebindings", _RBAC, NAMESPACE),
)
MAY_READ_ENFORCEMENT: Final = (
    Access("get", "validatingadmissionpolicies", _ADMISSION, name=ENFORCE_POLICY),
    Access("get", "validatingadmissionpolicybindings", _ADMISSION, name=ENFORCE_POLICY),
)
MAY_REACH: Final = tuple(
    Access("get", "services/proxy", namespace=NAMESPACE, name=f"https:{workload.name}:{workload.service}")
    for workload in (CA, WEBHOOK)
)

# All that checking an installation needs; what is denied of it is reported.
MAY_READ_INSTALLATION: Final = (
    *(*MAY_LIST_NAMESPACES, *MAY_READ_WEBHOOKS, *MAY_READ_BUNDLE, *MAY_READ_WORKLOADS),
    *(*MAY_READ_ENDPOINTS, *MAY_READ_RBAC, *MAY_REACH),
)

# The labels of a namespace that podtls knows, and their values; anything else is a typo.
KNOWN_LABELS: Final = {
    INJECT: ("enabled", "true", INJECT_DISABLED),
    MODE: MODES,
    CAPTURE: CAPTURES,
    ENFORCE: ("true", "false"),
}
