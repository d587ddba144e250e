"""Names that cross an image border: labels, annotations, environment, paths, ports. Constants only, no code."""

from typing import Final

VERSION: Final = "0.1.0"

# --- What users write: labels on namespaces and pods, annotations on pods -----------------------------------------
INJECT: Final = "podtls.io/inject"
MODE: Final = "podtls.io/mode"
CAPTURE: Final = "podtls.io/capture"
PORTS: Final = "podtls.io/ports"
UPSTREAMS: Final = "podtls.io/upstreams"
ALLOW: Final = "podtls.io/allow"
LIFETIME: Final = "podtls.io/lifetime"
INJECT_DISABLED: Final = "disabled"

MODES: Final = ("mtls", "tls", "permissive")
CAPTURES: Final = ("port", "redirect")

# --- What we write on pods -----------------------------------------------------------------------------------------
INJECTED: Final = "podtls.io/injected"  # label, "true"
STATUS: Final = "podtls.io/status"  # annotation, JSON: {"version","mode","ports","record"}

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

# --- Paths inside our containers -----------------------------------------------------------------------------------
PREFIX: Final = "/opt/podtls"
INJECTOR_COMMAND: Final = f"{PREFIX}/bin/podtls-injector"  # init | renew | check
SIDECAR_COMMAND: Final = f"{PREFIX}/bin/podtls-sidecar"  # run (default) | ready
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
DRAINING_FILE: Final = "draining"  # in RUN_DIRECTORY: while it is there, a front ends a connection with each answer

# --- Environment of our containers ---------------------------------------------------------------------------------
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
ENV_FRONT: Final = "PODTLS_FRONT"  # "webhook" | "ca": front mode, http module to APP_SOCKET; else unset
ENV_FRONT_CLIENT_CA: Final = "PODTLS_FRONT_CLIENT_CA"  # path of a PEM file; clients of it are `caller: verified`

# --- Fronts of our own pods ----------------------------------------------------------------------------------------
FRONTS: Final = ("webhook", "ca")
FRONT_PORT: Final = 8443
APP_SOCKET: Final = "/var/run/podtls-app/gunicorn.sock"
HEADER_SOURCE: Final = "X-Podtls-Source"  # the peer's address, set by the front, never by the client
HEADER_CALLER: Final = "X-Podtls-Caller"  # verified | unverified, set by the front
BODY_LIMIT: Final = 10 * 1024 * 1024  # bytes of an AdmissionReview (kube-apiserver's objects end at 3 MiB)
CA_BODY_LIMIT: Final = 64 * 1024  # bytes of an enrollment

# --- The CA's door -------------------------------------------------------------------------------------------------
AUDIENCE: Final = "podtls-ca"
TOKEN_SECONDS: Final = 600
PATH_ENROLL: Final = "/.well-known/est/simpleenroll"
PATH_CACERTS: Final = "/.well-known/est/cacerts"
PATH_NAMES: Final = "/.well-known/podtls/names"  # GET -> {"dns": [...], "uri": "spiffe://..."}
TYPE_PEM_CHAIN: Final = "application/pem-certificate-chain"
BACKDATE_SECONDS: Final = 60
LIFETIME_SECONDS: Final = 24 * 3600
LIFETIME_MIN_SECONDS: Final = 60
LIFETIME_MAX_SECONDS: Final = 7 * 24 * 3600

# --- How init ends -------------------------------------------------------------------------------------------------
EXIT_CONFIGURATION: Final = 64
EXIT_UNAVAILABLE: Final = 69
EXIT_REFUSED: Final = 77
