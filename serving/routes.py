"""Routes that every app of ours has: the probes of the kubelet, metrics, and responses to what Flask refuses."""

from collections.abc import Callable
from typing import Final

from flask import Flask, Response
from prometheus_client import CollectorRegistry
from werkzeug.exceptions import HTTPException

from serving.metrics import CONTENT_TYPE, render_metrics

_TEXT: Final = "text/plain; charset=utf-8"


def add_probe_routes(app: Flask, check_ready: Callable[[], None]) -> None:
    """Adds GET /healthz (the process responds) and /readyz, which is 200 when `check_ready` raises nothing."""

    @app.get("/healthz")
    def healthz() -> Response:
        return Response("ok\n", content_type=_TEXT)

    @app.get("/readyz")
    def readyz() -> Response:
        check_ready()
        return Response("ok\n", content_type=_TEXT)


def add_metrics_route(app: Flask, registry: CollectorRegistry, shared_directory: str | None) -> None:
    """Adds GET /metrics, in the text format of Prometheus; see serving.metrics for `shared_directory`."""

    @app.get("/metrics")
    def metrics() -> Response:
        return Response(render_metrics(registry, shared_directory), content_type=CONTENT_TYPE)


def handle_http_errors(app: Flask, respond: Callable[[int, str], Response]) -> None:
    """Responds to what Flask refuses (404, 405, 413), and to our own bugs (500), with `respond(code, message)`."""

    @app.errorhandler(HTTPException)
    def handle(error: HTTPException) -> Response:
        response = respond(error.code or 500, f"podtls: {error.description}")
        # A 405 must say what is allowed (RFC 9110 section 15.5.6).
        response.headers.extend((name, value) for name, value in error.get_headers() if name == "Allow")
        return response
