"""The HTTP surface: routes and error handlers. The only Flask import in webhook/. Decides nothing."""

import os
import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial, wraps
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
from webhook.bundle import load_pod_settings
from webhook.decision import Defaults, Deny, Inject, Skip, decide
from webhook.errors import WebhookError
from webhook.evidence import Arrival, Journal, Log
from webhook.injection import inject
from webhook.metrics import Metrics
from webhook.review import parse, respond
from webhook.settings import PodSettings, Settings
from webhook.workloads import parse_workload, warn

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
    bundle_file = settings.trust_bundle_file
    current = ReloadedValue([bundle_file], partial(load_pod_settings, settings.pods, bundle_file))

    def check_ready() -> None:
        # What an admission needs: the trust bundle can be read, the evidence log written.
        current.get()
        log.check_writable()

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

    add_probe_routes(app, check_ready)
    add_metrics_route(app, registry, settings.metrics_directory)
    _handle_errors(app, metrics)
    return app


def _arriving(
    current: ReloadedValue[PodSettings], metrics: Metrics
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


def _handle_errors(app: Flask, metrics: Metrics) -> None:
    """Makes every response other than 200 a metav1.Status; our own bugs arrive here as Flask's 500."""

    def respond(code: int, message: str) -> Response:
        metrics.failures.labels(code).inc()
        # No Retry-After, unlike the edge proxy: kube-apiserver would retry until its timeout and then report that
        # instead of our reason. These failures (bundle, log) last longer than a retry.
        return Response(encode_status(code, message), code, mimetype=_JSON)

    @app.errorhandler(WebhookError)
    @app.errorhandler(AuditError)
    def expected(error: WebhookError | AuditError) -> Response:
        return respond(error.http_status, f"podtls: {error}")

    handle_http_errors(app, respond)
