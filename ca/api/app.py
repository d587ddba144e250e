"""The CA's door: routes and error handlers. The only Flask import in ca/. Decides nothing, signs nothing by itself."""

import logging
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Final, Protocol

import orjson
from cryptography import x509
from flask import Flask, Response
from flask import request as http
from werkzeug.exceptions import HTTPException

from audit.errors import AuditError
from audit.log import EvidenceLog
from audit.record import Record
from ca import bootstrap, evidence
from ca.api import csr, est, events, kube
from ca.api.attest import Claim, Cluster, attest
from ca.api.names import names
from ca.api.objects import Service
from ca.authority import authority as authorities
from ca.authority.authority import Authority
from ca.authority.leaf import issue
from ca.errors import CAError, Caller, RefusedError, UnauthenticatedError, UnavailableError
from ca.metrics import CONTENT_TYPE, Metrics
from ca.settings import Settings
from contract.names import CA_BODY_LIMIT, HEADER_SOURCE, PATH_CACERTS, PATH_ENROLL, PATH_NAMES

Clock = Callable[[], datetime]

_TEXT: Final = "text/plain; charset=utf-8"
_REASON_LENGTH: Final = 400
_logger = logging.getLogger(__name__)


class ServiceReader(Protocol):
    """Reads all Services of a namespace. Raises UnavailableError."""

    def services(self, namespace: str) -> list[Service]:
        """Return them as they are now."""
        ...


class ClusterReader(Cluster, ServiceReader, events.EventWriter, Protocol):
    """All that the door asks the API server, and the one thing that it tells it."""


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
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    settings = Settings.from_env(os.environ)
    authority = authorities.CurrentAuthority(settings.authority)
    return create_app(settings, authority.get, kube.connect(os.environ), EvidenceLog(settings.log))


def create_app(
    settings: Settings,
    authority: Callable[[], Authority],
    cluster: ClusterReader,
    log: Log,
    clock: Clock = lambda: datetime.now(UTC),
) -> Flask:
    """The CA: EST's simpleenroll and cacerts, the names endpoint, /healthz, /readyz, /metrics.

    `authority` answers the one that signs now.
    """
    app = Flask(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = CA_BODY_LIMIT
    metrics = Metrics(settings.metrics_directory)

    def door() -> Door:
        # One for each request: what signs is what is answered, though the controller renew the authority meanwhile.
        return Door(settings, authority(), cluster, log, clock)

    app.add_url_rule(PATH_ENROLL, "enroll", lambda: door().enroll(), methods=["POST"])
    app.add_url_rule(PATH_CACERTS, "cacerts", lambda: door().cacerts())
    app.add_url_rule(PATH_NAMES, "current_names", lambda: door().current_names())
    app.add_url_rule("/healthz", "healthz", lambda: door().healthz())
    app.add_url_rule("/readyz", "readyz", lambda: door().readyz())
    app.add_url_rule("/metrics", "metrics", lambda: Response(metrics.exposition(), content_type=CONTENT_TYPE))
    app.register_error_handler(CAError, lambda error: door().fail(error))
    app.register_error_handler(AuditError, lambda error: door().fail(error))
    app.register_error_handler(HTTPException, _fail_http)

    @app.after_request
    def count(response: Response) -> Response:
        metrics.requests.labels(http.endpoint or "none", response.status_code).inc()
        return response

    return app


@dataclass(frozen=True, slots=True)
class Door:
    """The routes, with all that they need. One request changes nothing here: replicas and workers are alike."""

    settings: Settings
    authority: Authority
    cluster: ClusterReader
    log: Log
    clock: Clock

    def enroll(self) -> Response:
        """A CSR comes in, a certificate goes out: for the pod that the token proves, with the names it has now."""
        now = self.clock()
        pod = attest(_claim(), self.cluster, self.settings.rules, now)
        proven = csr.public_key(_certificate_request())
        subject = names(pod, self.cluster.services(pod.identity.namespace), self.settings.zone)
        leaf = issue(proven.key, subject, authority=self.authority, now=now, lifetime=pod.lifetime)
        self.log.append(evidence.issued(self._occasion(now), pod, subject, leaf, ignored_names=proven.ignored_names))
        return _respond(pod.caller, leaf, self.authority)

    def current_names(self) -> Response:
        """The names that a certificate of this pod would carry now; its sidecar renews when they change."""
        pod = attest(_claim(), self.cluster, self.settings.rules, self.clock())
        subject = names(pod, self.cluster.services(pod.identity.namespace), self.settings.zone)
        return Response(orjson.dumps({"dns": subject.dns, "uri": subject.uri}), mimetype="application/json")

    def cacerts(self) -> Response:
        """The trust bundle and what leads to it (RFC 7030 section 4.1). Public, as any CA's certificates are."""
        est.require_pkcs7(http.headers.get("Accept", ""))
        answer = est.certs_only((*self.authority.bundle, *self.authority.chain))
        return Response(answer.body, headers=answer.headers)

    def healthz(self) -> Response:
        """The process answers."""
        return Response("ok\n", content_type=_TEXT)

    def readyz(self) -> Response:
        """An enrollment could be answered: the authority and our serving certificate are valid, the log is writable."""
        now = self.clock()
        if now >= self.authority.certificate.not_valid_after_utc:
            raise UnavailableError("the issuing CA has expired")
        bootstrap.check(self.settings.run_directory, now)
        self.log.check_writable()
        return Response("ok\n", content_type=_TEXT)

    def fail(self, error: CAError | AuditError) -> Response:
        """The answer to an error that we expect; a refusal of an authenticated caller is recorded first."""
        if not (isinstance(error, RefusedError) and http.path == PATH_ENROLL):
            return _fail(error)
        now = self.clock()
        try:
            self.log.append(evidence.refused(self._occasion(now), error))
        except AuditError as unrecorded:
            return _fail(unrecorded)
        answer = _fail(error)
        # The server closes an answer that it has sent: the Event is never in its way.
        answer.call_on_close(partial(events.report, self.cluster, error, now))
        return answer

    def _occasion(self, now: datetime) -> evidence.Occasion:
        return evidence.Occasion(now, self.settings.replica, _source())


def _claim() -> Claim:
    return Claim(http.headers.get("Authorization", ""), _source())


def _source() -> str:
    return http.headers.get(HEADER_SOURCE, "")


def _certificate_request() -> bytes:
    return est.read_request(
        http.headers.get("Content-Type", ""), http.headers.get("Accept", ""), http.get_data(cache=False)
    )


def _respond(caller: Caller, leaf: x509.Certificate, authority: Authority) -> Response:
    answer = est.enrolled(http.headers.get("Accept", ""), leaf, authority.chain)
    _say(decision="issue", serial=f"{leaf.serial_number:x}", **_who(caller))
    return Response(answer.body, headers=answer.headers)


def _fail(error: CAError | AuditError) -> Response:
    reason = str(error)
    who = _who(error.caller) if isinstance(error, RefusedError) else {}
    status = error.http_status
    _say(decision=_decision(status), status=status, reason=reason[:_REASON_LENGTH], **who)
    # RFC 7030 section 3.2.3: a challenge has no content. Who is nobody is told nothing.
    body = "" if isinstance(error, UnauthenticatedError) else f"podtls: {reason}\n"
    headers = error.headers if isinstance(error, CAError) else UnavailableError.headers
    return Response(body, error.http_status, headers, content_type=_TEXT)


def _decision(status: int) -> str:
    if status == 202:
        return "wait"
    return "refuse" if status < 500 else "fail"


def _fail_http(error: HTTPException) -> Response:
    allow = [(name, value) for name, value in error.get_headers() if name == "Allow"]
    return Response(f"podtls: {error.description}\n", error.code, allow, content_type=_TEXT)


def _who(caller: Caller) -> dict[str, str]:
    return {"namespace": caller.namespace, "pod": caller.pod, "uid": caller.pod_uid}


def _say(**fields: object) -> None:
    _logger.info(orjson.dumps({"source": _source(), "path": http.path, **fields}).decode())
