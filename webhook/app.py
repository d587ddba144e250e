"""The HTTP surface: routes and error handlers. The only Flask import in webhook/. Decides nothing."""

import os
import secrets
from datetime import UTC, datetime
from functools import partial
from typing import Final

from flask import Flask, Response
from flask import request as http
from prometheus_client import CollectorRegistry
from werkzeug.exceptions import UnsupportedMediaType

from audit.errors import AuditError
from audit.log import EvidenceLog
from contract.api_status import encode_status
from contract.names import BODY_LIMIT, CAPTURES, HEADER_CALLER, HEADER_SOURCE, MODES
from serving.logs import configure_logging
from serving.reload import ReloadedValue
from serving.routes import add_metrics_route, add_probe_routes, handle_http_errors
from webhook.bundle import load_bundle
from webhook.decision import Defaults, Deny, Inject, Skip, decide
from webhook.errors import WebhookError
from webhook.evidence import Arrival, Journal, Log
from webhook.injection import inject
from webhook.metrics import Metrics
from webhook.request import parse_request
from webhook.response import respond
from webhook.settings import InjectionSettings, Settings
from webhook.workloads import parse_workload, warn_of_pods

_JSON: Final = "application/json"
_DEFAULTS: Final = f"<any({','.join(MODES)}):mode>/<any({','.join(CAPTURES)}):capture>"


def from_env() -> Flask:
    """The WSGI factory for gunicorn; raises SettingsError naming the variable that is missing or wrong."""
    configure_logging()
    settings = Settings.from_env(os.environ)
    return create_app(settings, EvidenceLog(settings.log))


def create_app(settings: Settings, log: Log) -> Flask:
    """Returns the webhook: POST /mutate/<mode>/<capture>, /warn/<mode>/<capture>, GET /healthz, /readyz, /metrics."""
    app = Flask(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = BODY_LIMIT
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    journal = Journal(log, settings.replica, metrics)
    policy = settings.pods.policy
    bundle_file = settings.trust_bundle_file
    bundle = ReloadedValue([bundle_file], partial(load_bundle, bundle_file))

    def check_ready() -> None:
        # An admission needs to read the trust bundle and to write the evidence log.
        bundle.get()
        log.check_writable()

    @app.post(f"/mutate/{_DEFAULTS}")
    def mutate(mode: str, capture: str) -> Response:
        """A Pod comes in, a patch goes out; what it does to the Pod is `decide` and `inject`."""
        _check_content_type()
        with metrics.seconds.time():
            arrival = _receive(Defaults(mode, capture), settings, bundle)
            request = parse_request(arrival.body)
            decision = decide(request, arrival.defaults, policy)
            match decision:
                case Inject():
                    operations = inject(request.pod, decision, arrival.record_id, arrival.settings)
                case Skip() | Deny():
                    operations = []
            journal.append(arrival, request, decision, operations)
            return Response(respond(request, decision, operations, arrival.record_id), mimetype=_JSON)

    @app.post(f"/warn/{_DEFAULTS}")
    def warn(mode: str, capture: str) -> Response:
        """A workload comes in, warnings of what its pods will meet go out."""
        _check_content_type()
        with metrics.seconds.time():
            workload = parse_workload(http.get_data(cache=False))
            return Response(warn_of_pods(workload, Defaults(mode, capture), policy), mimetype=_JSON)

    add_probe_routes(app, check_ready)
    add_metrics_route(app, registry, settings.metrics_directory)
    _handle_errors(app, metrics)
    return app


def _check_content_type() -> None:
    if http.mimetype != _JSON:
        raise UnsupportedMediaType(f"Content-Type: got {http.mimetype!r}, expected {_JSON}")


def _receive(defaults: Defaults, settings: Settings, bundle: ReloadedValue[str]) -> Arrival:
    """Fixes body, headers, clock, randomness and settings before the flow begins, so that the rest is pure."""
    return Arrival(
        body=http.get_data(cache=False),
        defaults=defaults,
        settings=InjectionSettings(settings.pods, bundle.get()),
        record_id=secrets.token_hex(16),
        time=datetime.now(UTC),
        source=http.headers.get(HEADER_SOURCE, "unknown"),
        caller="verified" if http.headers.get(HEADER_CALLER) == "verified" else "unverified",
    )


def _handle_errors(app: Flask, metrics: Metrics) -> None:
    """Makes every response other than 200 a metav1.Status; our own bugs arrive here as Flask's 500."""

    def answer_failure(code: int, message: str) -> Response:
        metrics.failures.labels(code).inc()
        # No Retry-After, unlike the edge proxy: kube-apiserver would retry until its timeout and then report that
        # instead of our reason. These failures (bundle, log) last longer than a retry.
        return Response(encode_status(code, message), code, mimetype=_JSON)

    @app.errorhandler(WebhookError)
    @app.errorhandler(AuditError)
    def answer_expected(error: WebhookError | AuditError) -> Response:
        return answer_failure(error.http_status, f"podtls: {error}")

    handle_http_errors(app, answer_failure)
