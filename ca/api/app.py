"""The HTTP surface of the CA API: routes and error handlers, the only Flask import in ca/. Signs nothing itself."""

import logging
import os
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Final, Protocol

import orjson
from cryptography import x509
from flask import Flask, Response
from flask import request as http
from prometheus_client import CollectorRegistry

from audit.errors import AuditError
from audit.log import EvidenceLog
from audit.record import Record
from ca import bootstrap, evidence
from ca.api import csr, est, events, kube
from ca.api.attest import Claim, Cluster, attest_pod
from ca.api.names import decide_names
from ca.api.objects import Service
from ca.authority.authority import Authority, watch_authority
from ca.authority.leaf import issue
from ca.errors import CAError, Caller, RefusedError, UnauthenticatedError, UnavailableError
from ca.metrics import Metrics
from ca.settings import Settings
from contract.names import (
    CA_BODY_LIMIT,
    HEADER_SOURCE,
    PATH_CACERTS,
    PATH_CSRATTRS,
    PATH_ENROLL,
    PATH_EST,
    PATH_NAMES,
    PATH_REENROLL,
)
from serving.logs import configure_logging, log_fields
from serving.routes import add_metrics_route, add_probe_routes, handle_http_errors

Clock = Callable[[], datetime]

_TEXT: Final = "text/plain; charset=utf-8"
_REASON_LENGTH: Final = 400
_ENROLLING: Final = frozenset({PATH_ENROLL, PATH_REENROLL})
_logger = logging.getLogger(__name__)


class ServiceReader(Protocol):
    """Reads all Services of a namespace. Raises UnavailableError."""

    def services(self, namespace: str) -> list[Service]:
        """Return them as they are now."""
        ...


class ClusterAPI(Cluster, ServiceReader, events.EventWriter, Protocol):
    """All that the CA API asks the API server, and the one thing that it writes there."""


class Log(Protocol):
    """Where records become durable. Both raise AuditError."""

    def append(self, record: Record) -> None:
        """Return when the record is durable."""
        ...

    def check_writable(self) -> None:
        """Return when the next append will probably succeed."""
        ...


def from_env() -> Flask:
    """The WSGI factory for gunicorn. Raises ConfigurationError naming the variable or file that is missing or wrong."""
    configure_logging()
    settings = Settings.from_env(os.environ)
    current = watch_authority(settings.authority)
    return create_app(settings, current.get, kube.connect(os.environ), EvidenceLog(settings.log))


def create_app(
    settings: Settings,
    authority: Callable[[], Authority],
    cluster: ClusterAPI,
    log: Log,
    clock: Clock = lambda: datetime.now(UTC),
) -> Flask:
    """The CA API: EST's enrollment, csrattrs and cacerts, the names endpoint, /healthz, /readyz, /metrics.

    `authority` returns the one that signs now.
    """
    app = Flask(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = CA_BODY_LIMIT

    def begin_occasion() -> evidence.Occasion:
        return evidence.Occasion(clock(), settings.replica, _read_source())

    # RFC 7030 section 4.2.2: a renewal differs in what its subject must be, and we ignore subjects.
    @app.post(PATH_REENROLL)
    @app.post(PATH_ENROLL)
    def enroll() -> Response:
        """A CSR comes in, a certificate goes out: for the pod that the token proves, with the names it has now."""
        # One authority per request, so the chain we return is the one that signed, even if the controller renews the
        # authority in between.
        occasion, issuer = begin_occasion(), authority()
        pod = attest_pod(_read_claim(), cluster, settings.rules, occasion.time)
        proven = csr.parse_proven_key(_read_certificate_request())
        subject = decide_names(pod.facts, cluster.services(pod.facts.identity.namespace), settings.zone)
        leaf = issue(proven.key, subject, authority=issuer, now=occasion.time, lifetime=pod.lifetime)
        log.append(evidence.build_issue_record(occasion, pod, subject, leaf, ignored_names=proven.ignored_names))
        return _respond(pod.caller, leaf, issuer)

    @app.get(PATH_NAMES)
    def current_names() -> Response:
        """The names that a certificate of this pod would carry now; its sidecar renews when they change."""
        pod = attest_pod(_read_claim(), cluster, settings.rules, clock())
        subject = decide_names(pod.facts, cluster.services(pod.facts.identity.namespace), settings.zone)
        return Response(orjson.dumps({"dns": subject.dns, "uri": subject.uri}), mimetype="application/json")

    @app.get(PATH_CACERTS)
    def cacerts() -> Response:
        """The trust bundle and what leads to it (RFC 7030 section 4.1). Public, as any CA's certificates are."""
        est.require_pkcs7(http.headers.get("Accept", ""))
        issuer = authority()
        encoded = est.encode_certificates((*issuer.bundle, *issuer.chain))
        return Response(encoded.body, headers=encoded.headers)

    @app.get(PATH_CSRATTRS)
    def csrattrs() -> Response:
        """We ask for no attribute (RFC 7030 section 4.5.2)."""
        response = Response(status=204)
        response.headers.remove("Content-Type")
        return response

    def check_ready() -> None:
        """An enrollment could be answered: authority and serving certificate are valid, the log is writable."""
        now = clock()
        if now >= authority().certificate.not_valid_after_utc:
            raise UnavailableError("the issuing CA has expired")
        bootstrap.check_serving_certificate(settings.run_directory, now)
        log.check_writable()

    add_probe_routes(app, check_ready)
    _add_metrics(app, settings.metrics_directory)
    _handle_errors(app, cluster, log, begin_occasion)
    return app


def _add_metrics(app: Flask, shared_directory: str | None) -> None:
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    add_metrics_route(app, registry, shared_directory)

    @app.after_request
    def count(response: Response) -> Response:
        metrics.requests.labels(http.endpoint or "none", response.status_code).inc()
        return response


def _handle_errors(
    app: Flask, writer: events.EventWriter, log: Log, begin_occasion: Callable[[], evidence.Occasion]
) -> None:
    """Turns each expected error into a response with its status and reason; records a refused enrollment first."""

    @app.errorhandler(CAError)
    @app.errorhandler(AuditError)
    def respond_to(error: CAError | AuditError) -> Response:
        if not (isinstance(error, RefusedError) and http.path in _ENROLLING):
            return _respond_error(error)
        occasion = begin_occasion()
        try:
            log.append(evidence.build_refusal_record(occasion, error))
        except AuditError as unrecorded:
            return _respond_error(unrecorded)
        response = _respond_error(error)
        # Runs after the response was sent, so that the Event never delays it.
        response.call_on_close(partial(events.report_refusal, writer, error, occasion.time))
        return response

    handle_http_errors(app, _respond_http_error)


def _respond_http_error(status: int, message: str) -> Response:
    # RFC 7030 section 4.5.2: BouncyCastle takes a 404 of an EST operation for "not here" when it has no content.
    is_foreign_operation = status == 404 and f"{http.path}/".startswith(PATH_EST)
    return Response("" if is_foreign_operation else f"{message}\n", status, content_type=_TEXT)


def _read_claim() -> Claim:
    return Claim(http.headers.get("Authorization", ""), _read_source())


def _read_source() -> str:
    return http.headers.get(HEADER_SOURCE, "")


def _read_certificate_request() -> bytes:
    return est.read_request(
        http.headers.get("Content-Type", ""), http.headers.get("Accept", ""), http.get_data(cache=False)
    )


def _respond(caller: Caller, leaf: x509.Certificate, authority: Authority) -> Response:
    encoded = est.encode_enrollment(http.headers.get("Accept", ""), leaf, authority.chain)
    _log(decision="issue", serial=f"{leaf.serial_number:x}", **_describe_caller(caller))
    return Response(encoded.body, headers=encoded.headers)


def _respond_error(error: CAError | AuditError) -> Response:
    status, reason = error.http_status, str(error)
    who = _describe_caller(error.caller) if isinstance(error, RefusedError) else {}
    _log(decision=_name_decision(status), status=status, reason=reason[:_REASON_LENGTH], **who)
    # RFC 7030 section 3.2.3: a challenge has no content. A caller whom we do not know learns nothing.
    body = "" if isinstance(error, UnauthenticatedError) else f"podtls: {reason}\n"
    headers = error.headers if isinstance(error, CAError) else UnavailableError.headers
    return Response(body, status, headers, content_type=_TEXT)


def _name_decision(status: int) -> str:
    if status == 202:
        return "wait"
    return "refuse" if status < 500 else "fail"


def _describe_caller(caller: Caller) -> dict[str, str]:
    return {"namespace": caller.namespace, "pod": caller.pod, "uid": caller.pod_uid}


def _log(**fields: object) -> None:
    log_fields(_logger, {"source": _read_source(), "path": http.path, **fields})
