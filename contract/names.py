"""Every name that crosses a border: labels, annotations, paths, variables, and the objects of an installation.

Values only. grammar.py, dns.py and identity.py parse what such a variable or annotation may hold.
"""

from typing import Final

VERSION: Final = "0.1.0"

# === What users write: labels on namespaces and pods, annotations on pods ===========================================
INJECT: Final = "podtls.io/inject"
MODE: Final = "podtls.io/mode"
CAPTURE: Final = "podtls.io/capture"
PORTS: Final = "podtls.io/ports"
UPSTREAMS: Final = "podtls.io/upstreams"
ALLOW: Final = "podtls.io/allow"
LIFETIME: Final = "podtls.io/lifetime"
ENFORCE: Final = "podtls.io/enforce"  # label of a namespace, "true": manifests/components/enforce
INJECT_DISABLED: Final = "disabled"

MODES: Final = ("mtls", "tls", "permissive")  # the strongest first
SUPPORTED_MODES: Final = ("mtls", "tls")  # those of MODES that are built
CAPTURES: Final = ("port", "redirect")
SUPPORTED_CAPTURES: Final = ("port",)

# === What we write on pods ==========================================================================================
INJECTED: Final = "podtls.io/injected"  # label, "true"
STATUS: Final = "podtls.io/status"  # annotation: contract/status_annotation.py

# Audit annotations of an admission: the API server's audit log has them as <webhook>/record.
AUDIT_RECORD: Final = "record"
AUDIT_LATER_RECORD: Final = "later-record"

INIT_CONTAINER: Final = "podtls-init"
SIDECAR_CONTAINER: Final = "podtls-nginx"
PORT_NAME: Final = "podtls"  # then podtls-2, podtls-3, ... (an IANA_SVC_NAME, at most 15 characters)
FIRST_TLS_PORT: Final = 8443

VOLUME_PREFIX: Final = "podtls-"
RUN_VOLUME: Final = "podtls-run"  # emptyDir, medium Memory
TOKEN_VOLUME: Final = "podtls-token"  # noqa: S105 - the name of a volume. Projected token, defaultMode 0644
NO_API_VOLUME: Final = "podtls-no-api"  # emptyDir mounted over the default API token path

UPSTREAM_NETWORK: Final = "127.0.1.0/24"  # hostAliases 127.0.1.1, 127.0.1.2, ...
RUN_AS_USER: Final = 64321
BACKDATE_SECONDS: Final = 60
LIFETIME_SECONDS: Final = 24 * 3600
LIFETIME_MIN_SECONDS: Final = 60
LIFETIME_MAX_SECONDS: Final = 7 * 24 * 3600

# === Paths and variables of our containers ==========================================================================
PREFIX: Final = "/opt/podtls"
INJECTOR_COMMAND: Final = f"{PREFIX}/bin/podtls-injector"  # init | renew | check
SIDECAR_COMMAND: Final = f"{PREFIX}/bin/podtls-sidecar"  # run (default) | ready | drain
RUN_DIRECTORY: Final = "/var/run/podtls"
TOKEN_DIRECTORY: Final = "/var/run/secrets/podtls"  # noqa: S105 - a path
TOKEN_FILE: Final = f"{TOKEN_DIRECTORY}/token"
API_TOKEN_DIRECTORY: Final = "/var/run/secrets/kubernetes.io/serviceaccount"  # noqa: S105 - a path
TERMINATION_MESSAGE: Final = "/dev/termination-log"

CURRENT: Final = "current"  # symlink in RUN_DIRECTORY -> gen-NNNNNN
KEY_FILE: Final = "tls.key"  # PKCS#8 PEM, 0400
CERTIFICATE_FILE: Final = "tls.crt"  # PEM: leaf, issuing CA
BUNDLE_FILE: Final = "ca.crt"  # PEM: trust bundle
NGINX_FILE: Final = "nginx.conf"
PID_FILE: Final = "nginx.pid"  # in RUN_DIRECTORY
DRAINING_FILE: Final = "draining"  # in RUN_DIRECTORY: while it is there, an edge proxy ends connections

ENV_CA_URL: Final = "PODTLS_CA_URL"
ENV_TRUST_BUNDLE: Final = "PODTLS_TRUST_BUNDLE"  # PEM, one or more certificates
ENV_TRUST_BUNDLE_FILE: Final = "PODTLS_TRUST_BUNDLE_FILE"  # of our own pods: a file with it, which may change
ENV_TRUST_DOMAIN: Final = "PODTLS_TRUST_DOMAIN"
ENV_NAMESPACE: Final = "PODTLS_NAMESPACE"  # fieldRef metadata.namespace
ENV_SERVICE_ACCOUNT: Final = "PODTLS_SERVICE_ACCOUNT"  # fieldRef spec.serviceAccountName
ENV_MODE: Final = "PODTLS_MODE"
ENV_PORTS: Final = "PODTLS_PORTS"  # "8443=8080,8444=9090" (TLS=app); empty: none
ENV_UPSTREAMS: Final = "PODTLS_UPSTREAMS"  # "127.0.1.1:80=payments.shop.svc.cluster.local:443,..."; empty: none
ENV_BUDGET: Final = "PODTLS_BUDGET"  # whole seconds that init may take

# Tests and the demo put these elsewhere; in an enrolled pod none of them is set.
ENV_RUN: Final = "PODTLS_RUN"
ENV_TOKEN_FILE: Final = "PODTLS_TOKEN_FILE"  # noqa: S105 - the name of a variable
ENV_TERMINATION_MESSAGE: Final = "PODTLS_TERMINATION_MESSAGE"
ENV_RESOLV_CONF: Final = "PODTLS_RESOLV_CONF"
ENV_LISTEN: Final = "PODTLS_LISTEN"  # addresses of the TLS ports, comma between; unset: all that the kernel has

# --- The CA API, as pods ask it -------------------------------------------------------------------------------------
AUDIENCE: Final = "podtls-ca"
TOKEN_SECONDS: Final = 600
PATH_EST: Final = "/.well-known/est/"  # Every operation of EST (RFC 7030 section 3.2.2).
PATH_ENROLL: Final = f"{PATH_EST}simpleenroll"
PATH_REENROLL: Final = f"{PATH_EST}simplereenroll"
PATH_CACERTS: Final = f"{PATH_EST}cacerts"
PATH_CSRATTRS: Final = f"{PATH_EST}csrattrs"
PATH_NAMES: Final = "/.well-known/podtls/names"  # GET -> {"dns": [...], "uri": "spiffe://..."}
TYPE_PEM_CHAIN: Final = "application/pem-certificate-chain"

# --- How init ends --------------------------------------------------------------------------------------------------
EXIT_CONFIGURATION: Final = 64
EXIT_UNAVAILABLE: Final = 69
EXIT_REFUSED: Final = 77

# === Objects, variables and paths of an installation ================================================================
SYSTEM_NAMESPACE: Final = "podtls-system"
WEBHOOK_NAME: Final = "podtls-webhook"  # StatefulSet, Service, ServiceAccount
CA_NAME: Final = "podtls-ca"  # StatefulSet, Service, ServiceAccount, ClusterRole and its binding
CONTROLLER_NAME: Final = "podtls-controller"  # Deployment, ServiceAccount, roles and bindings, Lease, field manager
CA_SERVICE: Final = f"{CA_NAME}.{SYSTEM_NAMESPACE}.svc"
WEBHOOK_SERVICE: Final = f"{WEBHOOK_NAME}.{SYSTEM_NAMESPACE}.svc"
ROOT_SECRET: Final = "podtls-root"  # noqa: S105 - the name of a Secret
ISSUING_SECRET: Final = "podtls-issuing"  # noqa: S105 - the name of a Secret
BUNDLE_CONFIG_MAP: Final = "podtls-bundle"
WEBHOOK_CONFIGURATION: Final = "podtls"  # mutating and validating
ENFORCE_POLICY: Final = "podtls-enforce"  # ValidatingAdmissionPolicy and its binding

DEFAULT_CA_URL: Final = f"https://{CA_SERVICE}"
DEFAULT_TRUST_DOMAIN: Final = "cluster.local"
DEFAULT_ZONE: Final = "cluster.local"
DEFAULT_LOG: Final = "/var/log/podtls/evidence.jsonl"

ENV_ZONE: Final = "PODTLS_ZONE"  # the cluster's DNS zone
ENV_LOG: Final = "PODTLS_LOG"  # the evidence log
ENV_REPLICA: Final = "PODTLS_REPLICA"  # the name of this replica in its records; unset: the host's name
ENV_SOCKET: Final = "PODTLS_SOCKET"  # the app's unix socket; unset: APP_SOCKET
ENV_WORKERS: Final = "PODTLS_WORKERS"
ENV_THREADS: Final = "PODTLS_THREADS"
ENV_INIT_IMAGE: Final = "PODTLS_INIT_IMAGE"  # of the webhook: the image of the containers that it adds
ENV_AUTHORITY: Final = "PODTLS_AUTHORITY"  # of the CA: the directory with the issuing CA
ENV_SERVING_NAMES: Final = "PODTLS_SERVING_NAMES"  # of the CA: DNS names of its own certificate, comma between
ENV_SOURCE_ADDRESS: Final = "PODTLS_SOURCE_ADDRESS"  # of the CA: require | record

# --- Edge proxies, the Nginx before our own apps --------------------------------------------------------------------
EDGES: Final = ("webhook", "ca")
EDGE_PORT: Final = 8443
ENV_EDGE: Final = "PODTLS_EDGE"  # "webhook" | "ca": whose edge proxy this is, http module to APP_SOCKET; else unset
ENV_EDGE_CLIENT_CA: Final = "PODTLS_EDGE_CLIENT_CA"  # path of a PEM file; clients of it are `caller: verified`
ENV_EDGE_PORT: Final = "PODTLS_EDGE_PORT"
ENV_EDGE_RATE: Final = "PODTLS_EDGE_RATE"  # what one source address may do: requests a second
ENV_EDGE_BURST: Final = "PODTLS_EDGE_BURST"  # requests above the rate
ENV_EDGE_CONNECTIONS: Final = "PODTLS_EDGE_CONNECTIONS"  # connections
APP_SOCKET: Final = "/var/run/podtls-app/gunicorn.sock"
HEADER_SOURCE: Final = "X-Podtls-Source"  # the peer's address, set by the edge proxy, never by the client
HEADER_CALLER: Final = "X-Podtls-Caller"  # verified | unverified, set by the edge proxy
BODY_LIMIT: Final = 10 * 1024 * 1024  # bytes of an AdmissionReview (kube-apiserver's objects end at 3 MiB)
CA_BODY_LIMIT: Final = 64 * 1024  # bytes of an enrollment
