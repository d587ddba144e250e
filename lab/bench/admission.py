"""CPU of one admission: ours beside a naive webhook and beside the least one in Go, all three answering the same.

Each round opens a connection, warms it up, and sends reviews on it one after the other, as kube-apiserver does. What
counts is what the server's processes used meanwhile; the client is another process and counts nowhere.
"""

import base64
import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import jsonpatch

from contract.names import BUNDLE_FILE, ENV_INIT_IMAGE, ENV_LOG, ENV_REPLICA, ENV_TRUST_BUNDLE_FILE, STATUS
from contract.status_annotation import InjectionStatus
from lab.bench import cpu, figures, naive, review, servers
from lab.bench.client import Connection, connected
from lab.bench.errors import BenchError, MissingError
from lab.bench.figures import Options, Row
from lab.bench.servers import ProxiedApp, Server

OURS: Final = "podtls: Nginx + gunicorn"
NAIVE: Final = "naive: deepcopy + make_patch"
FLOOR: Final = "floor: Go net/http"
NAIVE_TARGET: Final = 1 / 6
FLOOR_TARGET: Final = 3.0
_REQUESTS: Final = {OURS: 300, NAIVE: 60, FLOOR: 300}  # of a round; about as long each
_WARM_UP: Final = 20
_HEADERS: Final = {"Content-Type": "application/json", "Accept": "application/json, */*"}


def measure(options: Options) -> list[Row]:
    """The admission rows. Raises BenchError, MissingError (no Nginx)."""
    with TemporaryDirectory(prefix="podtls-bench-") as temporary, ExitStack() as stack:
        options.log("starting the servers")
        subjects = start(stack, Path(temporary), options)
        for server in subjects.values():
            _round(server, _WARM_UP)  # Not counted: workers may still be importing.
        measured = figures.interleave(
            {name: partial(_round, server, _REQUESTS[name]) for name, server in subjects.items()},
            rounds=options.rounds,
            on_round=lambda number: options.log(f"round {number + 1} of {options.rounds}"),
        )
    ours = figures.own("admission", OURS, "us CPU", measured[OURS])
    rows = [ours, figures.peer(ours, NAIVE, measured[NAIVE], at_most=NAIVE_TARGET, words="at most 1/6 (0.17 x)")]
    if FLOOR in measured:
        rows.append(figures.peer(ours, FLOOR, measured[FLOOR], at_most=FLOOR_TARGET, words="at most 3 x"))
    return rows


def start(stack: ExitStack, directory: Path, options: Options) -> dict[str, Server]:
    """All servers, running until the stack is closed; the floor only when Go is here. Raises as `measure`."""
    folders = {name: directory / name.split(":")[0] for name in _REQUESTS}
    for folder in folders.values():
        folder.mkdir()
    ours = stack.enter_context(_ours(folders[OURS]))
    patch = template(ask(ours))
    subjects = {OURS: ours, NAIVE: stack.enter_context(_naive(folders[NAIVE], patch))}
    try:
        binary = servers.build_floor(folders[FLOOR])
    except MissingError as error:
        options.log(f"{error}: the floor is left out")
        return subjects
    file = folders[FLOOR] / "patch.json"
    file.write_text(json.dumps(patch, separators=(",", ":")))
    return subjects | {FLOOR: stack.enter_context(servers.floor(binary, file, folders[FLOOR]))}


def injected_pod(directory: Path) -> dict[str, Any]:
    """The pod of the review as the real webhook injects it. Raises as `measure`."""
    folder = directory / "webhook"
    folder.mkdir()
    with _ours(folder) as server:
        injected: dict[str, Any] = jsonpatch.apply_patch(review.pod(), ask(server))
    return injected


def ask(server: Server) -> list[dict[str, Any]]:
    """The operations that a server answers a review with. Raises BenchError when it does not inject."""
    with connected(server.endpoint) as connection:
        return operations(_admit(connection, review.body()))


def operations(answer: bytes) -> list[dict[str, Any]]:
    """The operations in an AdmissionReview's answer. Raises BenchError when there are none."""
    response = json.loads(answer)["response"]
    if not response.get("patch"):
        raise BenchError(f"the webhook did not inject: {response}")
    patch: list[dict[str, Any]] = json.loads(base64.b64decode(response["patch"]))
    return patch


def template(patch: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The operations with the record id, which differs in every answer, replaced by zeros. Raises BenchError."""
    record = record_of(jsonpatch.apply_patch(review.pod(), patch))
    result: list[dict[str, Any]] = json.loads(json.dumps(patch).replace(record, naive.PLACEHOLDER))
    return result


def record_of(injected: dict[str, Any]) -> str:
    """The record id that an injected pod names. Raises BenchError when it names none."""
    status = injected["metadata"].get("annotations", {}).get(STATUS)
    if status is None:
        raise BenchError(f"the injected pod carries no {STATUS}")
    return InjectionStatus.parse(status).record


@contextmanager
def _ours(folder: Path) -> Iterator[Server]:
    identity = servers.own_identity()
    bundle = folder / BUNDLE_FILE
    bundle.write_bytes(identity.bundle)
    environment = {
        ENV_INIT_IMAGE: "registry.example.com/podtls-nginx:0.1.0",
        ENV_TRUST_BUNDLE_FILE: str(bundle),
        ENV_LOG: str(folder / "evidence.jsonl"),
        ENV_REPLICA: "podtls-webhook-0",
    }
    webhook = ProxiedApp("webhook", "webhook.gunicorn_conf", "webhook.app:from_env()", environment)
    with servers.running_proxied(webhook, folder, identity=identity, name=servers.NAME) as server:
        yield server


@contextmanager
def _naive(folder: Path, patch: list[dict[str, Any]]) -> Iterator[Server]:
    pod = review.pod()
    added = folder / "additions.json"
    added.write_text(json.dumps(naive.additions(pod, jsonpatch.apply_patch(pod, patch))))
    environment = {naive.ENV_ADDITIONS: str(added)}
    what = ProxiedApp("webhook", "webhook.gunicorn_conf", "lab.bench.naive:from_env()", environment)
    with servers.running_proxied(what, folder, identity=servers.own_identity(), name=servers.NAME) as server:
        yield server


def _round(server: Server, requests: int) -> float:
    """CPU microseconds of one admission, over as many as a round has."""
    bodies = [review.body() for _ in range(requests)]
    with connected(server.endpoint) as connection:
        for _ in range(_WARM_UP):
            _admit(connection, review.body())
        before = cpu.tree_seconds(server.roots)
        for body in bodies:
            _admit(connection, body)
        return (cpu.tree_seconds(server.roots) - before) / requests * 1e6


def _admit(connection: Connection, body: bytes) -> bytes:
    status, answer = connection.request("POST", review.PATH, _HEADERS, body)
    if status != 200:
        raise BenchError(f"the webhook answered {status}: {answer[:500]!r}")
    return answer
