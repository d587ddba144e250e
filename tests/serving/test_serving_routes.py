"""What every app of ours answers alike: probes, metrics, and what Flask itself refuses."""

import json
import logging

import pytest
from flask import Flask, Response
from flask.testing import FlaskClient
from prometheus_client import CollectorRegistry, Counter

from serving.logs import log_fields
from serving.routes import add_metrics_route, add_probe_routes, handle_http_errors


class World:
    """An app with nothing of its own but a counter and one route that takes POST."""

    def __init__(self) -> None:
        self.ready = True
        app = Flask(__name__, static_folder=None)
        registry = CollectorRegistry()
        Counter("tests", "Tests.", registry=registry).inc()
        app.add_url_rule("/post", "post", lambda: "posted", methods=["POST"])
        add_probe_routes(app, self.check_ready)
        add_metrics_route(app, registry, None)
        handle_http_errors(app, lambda code, message: Response(message, code))
        self.client: FlaskClient = app.test_client()

    def check_ready(self) -> None:
        if not self.ready:
            raise OSError("the disk is full")


@pytest.fixture
def world() -> World:
    return World()


def test_app_that_is_ready_says_so(world: World) -> None:
    answers = [world.client.get(path) for path in ("/healthz", "/readyz")]

    assert [(answer.status_code, answer.text) for answer in answers] == [(200, "ok\n"), (200, "ok\n")]
    assert {answer.content_type for answer in answers} == {"text/plain; charset=utf-8"}


def test_app_that_is_not_ready_lives(world: World) -> None:
    world.ready = False

    assert [world.client.get(path).status_code for path in ("/healthz", "/readyz")] == [200, 500]


def test_metrics_are_in_the_text_format_of_prometheus(world: World) -> None:
    answer = world.client.get("/metrics")

    assert answer.content_type == "text/plain; version=0.0.4; charset=utf-8"
    assert "tests_total 1.0\n" in answer.text


@pytest.mark.parametrize(
    ("path", "code", "allow"),
    [
        pytest.param("/nowhere", 404, set(), id="no such path"),
        pytest.param("/post", 405, {"OPTIONS", "POST"}, id="another method"),
    ],
)
def test_what_flask_refuses_is_answered_in_our_own_form(world: World, path: str, code: int, allow: set[str]) -> None:
    answer = world.client.get(path)

    assert answer.status_code == code
    assert answer.text.startswith("podtls: The ")
    assert set(answer.allow or ()) == allow


def test_logged_values_cannot_begin_a_line_of_their_own(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("tests.serving")

    log_fields(logger, {"name": 'a"\nforged', "percent": "%s"}, level=logging.WARNING)

    (line,) = caplog.messages
    assert "\n" not in line
    assert json.loads(line) == {"name": 'a"\nforged', "percent": "%s"}
