"""A small app to serve: a counter, and a body that breaks off."""

import os
from collections.abc import Iterator

from flask import Flask, Response
from prometheus_client import CollectorRegistry, Counter

from serving.routes import add_metrics_route, add_probe_routes
from serving.settings import ENV_METRICS_DIRECTORY


def make_app() -> Flask:
    """The WSGI factory."""
    app = Flask(__name__, static_folder=None)
    registry = CollectorRegistry()
    counter = Counter("small_requests", "Requests.", registry=registry)

    @app.get("/count")
    def count() -> str:
        counter.inc()
        return "counted"

    @app.get("/broken")
    def broken() -> Response:
        def body() -> Iterator[bytes]:
            yield b"first part"
            raise OSError("the rest cannot be read")

        return Response(body(), headers={"Content-Length": "100"})

    add_probe_routes(app, lambda: None)
    add_metrics_route(app, registry, os.environ[ENV_METRICS_DIRECTORY])
    return app
