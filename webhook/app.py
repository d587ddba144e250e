"""The HTTP surface: routes and error handlers. The only Flask import in webhook/. Decides nothing."""

import logging
import os
import secrets
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from functools import wraps
from typing import Final

from flask import Flask, Response
from flask import request as http
from werkzeug.exceptions import HTTPException, UnsupportedMediaType

from audit.errors import AuditError
from audit.log import EvidenceLog
from contract.api_status import encode_status
from contract.names import BODY_LIMIT, CAPTURES, HEADER_CALLER, HEADER_SOURCE, MODES
from webhook.bundle import CurrentPodSettings
from webhook.decision import Defaults, Deny, Inject, Skip, decide
from webhook.errors import WebhookError
from webhook.evidence import Arrival, Journal, Log
from webhook.injection import inject
from webhook.metrics import CONTENT_TYPE, Metrics
from webhook.review import parse, respond
from webhook.settings import Settings
from webhook.workloads import parse_workload, warn

_JSON: Final = "application/json"
_DEFAULTS: Final = f"<any({','.join(MODES)}):mode>/<any({','.join(CAPTURES)}):capture>"


def from_env() -> Flask:
    """The WSGI factory for gunicorn; raises SettingsError naming the variable that is missing or wrong."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    settings = Settings.from_env(os.environ)
    return create_app(settings, EvidenceLog(settings.log))


def create_app(settings: Settings, log: Log) -> Flask:
    """Returns the webhook: POST /mutate/<mode>/<capture>, /warn/<mode>/<capture>, GET /healthz, /readyz, /metrics."""
    app = Flask(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = BODY_LIMIT
    metrics = Metrics(settings.metrics_directory)
    journal = Journal(log, settings.replica, metrics)
    current = CurrentPodSettings(settings.pods, settings.trust_bundle_file)

    @app.post(f"/mutate/{_DEFAULTS}")
    @_arriving(current, metrics)
    def mutate(arrival: Arrival) -> bytes:
        """A Pod comes in, a patch goes out; what it does to the Pod is `decide` and `inject`."""
        request = parse(arrival.body)
        decision = decide(request, arrival.defaults, arrival.settings)
        match decision:
            case Inject():
                operations = inject(request.pod, decision, arrival.record_id, arrival.settings)
            case Skip() | Deny():
                operations = []
        journal.append(arrival, request, decision, operations)
        return respond(request, decision, operations, arrival.record_id)

    @app.post(f"/warn/{_DEFAULTS}")
    @_arriving(current, metrics)
    def warn_of(arrival: Arrival) -> bytes:
        """A workload comes in, warnings of what will become of its pods go out."""
        return warn(parse_workload(arrival.body), arrival.defaults, arrival.settings)

    _answer_probes(app, current, log, metrics)
    _handle_errors(app, metrics)
    return app


def _arriving(
    current: CurrentPodSettings, metrics: Metrics
) -> Callable[[Callable[[Arrival], bytes]], Callable[[str, str], Response]]:
    """Fixes clock, randomness, headers and settings before the flow begins, and makes its bytes an HTTP answer."""

    def decorate(flow: Callable[[Arrival], bytes]) -> Callable[[str, str], Response]:
        @wraps(flow)
        def view(mode: str, capture: str) -> Response:
            if http.mimetype != _JSON:
                raise UnsupportedMediaType(f"Content-Type: got {http.mimetype!r}, expected {_JSON}")
            with metrics.seconds.time():
                arrival = Arrival(
                    body=http.get_data(cache=False),
                    defaults=Defaults(mode, capture),
                    settings=current.get(),
                    record_id=secrets.token_hex(16),
                    time=datetime.now(UTC),
                    source=http.headers.get(HEADER_SOURCE, "unknown"),
                    caller="verified" if http.headers.get(HEADER_CALLER) == "verified" else "unverified",
                )
                return Response(flow(arrival), mimetype=_JSON)

        return view

    return decorate


def _answer_probes(app: Flask, current: CurrentPodSettings, log: Log, metrics: Metrics) -> None:
    """What kubelet and Prometheus ask."""

    @app.get("/healthz")
    def healthz() -> Response:
        """The process answers."""
        return Response("ok\n", mimetype="text/plain")

    @app.get("/readyz")
    def readyz() -> Response:
        """What an admission needs is there: the trust bundle can be read, the evidence log written."""
        current.get()
        log.check_writable()
        return Response("ok\n", mimetype="text/plain")

    @app.get("/metrics")
    def exposition() -> Response:
        """Text format of Prometheus."""
        return Response(metrics.exposition(), content_type=CONTENT_TYPE)


def _handle_errors(app: Flask, metrics: Metrics) -> None:
    """Makes every answer that is no 200 a metav1.Status; our own bugs arrive here as Flask's 500."""

    def failure(code: int, message: str) -> Response:
        metrics.failures.labels(code).inc()
        # No Retry-After, unlike the front: kube-apiserver would ask again until its own time is up, and then tell the
        # user of the time and not of the reason. What is wrong here (bundle, log) is not over in a second.
        return Response(encode_status(code, message), code, mimetype=_JSON)

    @app.errorhandler(WebhookError)
    @app.errorhandler(AuditError)
    def expected(error: WebhookError | AuditError) -> Response:
        return failure(error.http_status, f"podtls: {error}")

    @app.errorhandler(HTTPException)
    def unexpected(error: HTTPException) -> Response:
        response = failure(error.code or 500, f"podtls: {error.description}")
        # Allow of a 405, for one.
        response.headers.extend((name, value) for name, value in error.get_headers() if name == "Allow")
        return response
