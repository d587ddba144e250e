"""Which objects an installation of podtls consists of, and where the API server has them. Tables only.

tests/podtls/test_podtls_layout.py compares them with manifests/.
"""

from dataclasses import dataclass
from typing import Final

from contract.names import (
    BUNDLE_CONFIG_MAP,
    CAPTURE,
    CAPTURES,
    INJECT,
    INJECT_DISABLED,
    ISSUING_SECRET,
    MODE,
    MODES,
    ROOT_SECRET,
)
from podtls.kubernetes.reader import Access

NAMESPACE: Final = "podtls-system"
CONFIGURATION: Final = "podtls"
ZONE: Final = "cluster.local"  # What the CA takes where PODTLS_ZONE is not set.
# Never enrolled, whatever their labels say: an admission webhook that is needed to start itself never starts.
EXCLUDED: Final = ("kube-system", "kube-public", "kube-node-lease", NAMESPACE)
ENFORCE: Final = "podtls.io/enforce"  # manifests/components/enforce
ENFORCEMENT_NAME: Final = "podtls-enforce"  # Policy and binding have one name.
INSTALL: Final = "kubectl apply -k manifests/overlays/default"

_ADMISSION: Final = "admissionregistration.k8s.io"
_RBAC: Final = "rbac.authorization.k8s.io"
_LEASES: Final = "coordination.k8s.io"
_OURS: Final = f"namespaces/{NAMESPACE}"

NAMESPACES: Final = "/api/v1/namespaces"
PODS: Final = "/api/v1/pods"
MUTATING: Final = f"/apis/{_ADMISSION}/v1/mutatingwebhookconfigurations/{CONFIGURATION}"
VALIDATING: Final = f"/apis/{_ADMISSION}/v1/validatingwebhookconfigurations/{CONFIGURATION}"
BUNDLE: Final = f"/api/v1/{_OURS}/configmaps/{BUNDLE_CONFIG_MAP}"
SLICES: Final = f"/apis/discovery.k8s.io/v1/{_OURS}/endpointslices"


@dataclass(frozen=True, slots=True)
class Workload:
    """One of our workloads; `service` is the port name of its Service, empty where it has none."""

    kind: str
    name: str
    service: str

    @property
    def path(self) -> str:
        """Where the API server has it."""
        return f"/apis/apps/v1/{_OURS}/{self.kind.lower()}s/{self.name}"

    def proxied(self, path: str) -> str:
        """`path` of its Service, as the API server forwards it (TLS of the last hop is not verified there)."""
        return f"/api/v1/{_OURS}/services/https:{self.name}:{self.service}/proxy{path}"


WEBHOOK: Final = Workload("StatefulSet", "podtls-webhook", "https")
CA: Final = Workload("StatefulSet", "podtls-ca", "https")
CONTROLLER: Final = Workload("Deployment", "podtls-controller", "")
WORKLOADS: Final = (WEBHOOK, CA, CONTROLLER)

# kind, name -> path. What the pods act as, and may do.
ACCOUNTS: Final = {
    ("ServiceAccount", workload.name): f"/api/v1/{_OURS}/serviceaccounts/{workload.name}" for workload in WORKLOADS
}
ROLES: Final = {
    ("ClusterRole", CA.name): f"/apis/{_RBAC}/v1/clusterroles/{CA.name}",
    ("ClusterRole", CONTROLLER.name): f"/apis/{_RBAC}/v1/clusterroles/{CONTROLLER.name}",
    ("Role", CONTROLLER.name): f"/apis/{_RBAC}/v1/{_OURS}/roles/{CONTROLLER.name}",
}
BINDINGS: Final = {
    ("ClusterRoleBinding", CA.name): f"/apis/{_RBAC}/v1/clusterrolebindings/{CA.name}",
    ("ClusterRoleBinding", CONTROLLER.name): f"/apis/{_RBAC}/v1/clusterrolebindings/{CONTROLLER.name}",
    ("RoleBinding", CONTROLLER.name): f"/apis/{_RBAC}/v1/{_OURS}/rolebindings/{CONTROLLER.name}",
}

# kind, name -> all that the role grants. A grant without a name is one on all objects of its resource.
GRANTS: Final = {
    ("ClusterRole", CA.name): frozenset(
        {
            Access("create", "tokenreviews", "authentication.k8s.io"),
            Access("get", "pods"),
            Access("list", "services"),
            Access("create", "events"),
        }
    ),
    ("ClusterRole", CONTROLLER.name): frozenset(
        Access(verb, f"{kind}webhookconfigurations", _ADMISSION, name=CONFIGURATION)
        for kind in ("mutating", "validating")
        for verb in ("get", "patch")
    ),
    ("Role", CONTROLLER.name): frozenset(
        {
            Access("create", "secrets"),
            Access("create", "configmaps"),
            Access("get", "secrets", name=ROOT_SECRET),
            Access("get", "secrets", name=ISSUING_SECRET),
            Access("update", "secrets", name=ISSUING_SECRET),
            Access("get", "configmaps", name=BUNDLE_CONFIG_MAP),
            Access("patch", "configmaps", name=BUNDLE_CONFIG_MAP),
            Access("create", "leases", _LEASES),
            Access("get", "leases", _LEASES, name=CONTROLLER.name),
            Access("update", "leases", _LEASES, name=CONTROLLER.name),
        }
    ),
}

# kind, name -> path. What components/enforce consists of.
ENFORCEMENT: Final = {
    ("ValidatingAdmissionPolicy", ENFORCEMENT_NAME): (
        f"/apis/{_ADMISSION}/v1/validatingadmissionpolicies/{ENFORCEMENT_NAME}"
    ),
    ("ValidatingAdmissionPolicyBinding", ENFORCEMENT_NAME): (
        f"/apis/{_ADMISSION}/v1/validatingadmissionpolicybindings/{ENFORCEMENT_NAME}"
    ),
}

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
    Access("get", "validatingadmissionpolicies", _ADMISSION, name=ENFORCEMENT_NAME),
    Access("get", "validatingadmissionpolicybindings", _ADMISSION, name=ENFORCEMENT_NAME),
)
MAY_REACH: Final = tuple(
    Access("get", "services/proxy", namespace=NAMESPACE, name=f"https:{workload.name}:{workload.service}")
    for workload in (CA, WEBHOOK)
)

# What the label of a namespace may be, and what else of ours it may have: anything else is a typo.
KNOWN_LABELS: Final = {
    INJECT: ("enabled", "true", INJECT_DISABLED),
    MODE: MODES,
    CAPTURE: CAPTURES,
    ENFORCE: ("true", "false"),
}
