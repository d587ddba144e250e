"""The servers that are compared, each with the processes whose CPU counts: proxied gunicorns, and the Go floor."""

import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import trustme

from contract.names import BUNDLE_FILE, CURRENT, ENV_SOCKET
from injector import generation
from injector.edge.render import render_edge
from injector.edge.settings import EdgeSettings
from injector.generation import Generation
from lab.bench import processes
from lab.bench.client import Endpoint
from lab.bench.errors import BenchError
from lab.nginx import build_edge_command

NAME = "localhost"
_LISTEN = ("127.0.0.1",)
_UNLIMITED = 1_000_000  # All requests come from one address here; the limit is not what is measured.
_FLOOR = Path(__file__).parent / "floor"


@dataclass(frozen=True, slots=True)
class Server:
    """Where it answers, and the processes that do the work (their descendants too)."""

    endpoint: Endpoint
    roots: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ProxiedApp:
    """An app of ours, or one like it: gunicorn on a unix socket, Nginx with TLS in front."""

    kind: str  # of contract.EDGES
    configuration: str  # gunicorn's configuration module
    app: str  # what gunicorn loads
    environment: Mapping[str, str]


@contextmanager
def running_proxied(what: ProxiedApp, directory: Path, *, identity: Generation, name: str) -> Iterator[Server]:
    """Gunicorn and Nginx for as long as the block lasts; `directory` exists. Raises BenchError, MissingError."""
    run, socket = directory / "run", directory / "app.sock"
    run.mkdir(exist_ok=True)
    port = processes.free_port()
    edge = EdgeSettings(
        kind=what.kind,
        port=port,
        app_socket=socket,
        client_ca=None,
        rate=_UNLIMITED,
        burst=_UNLIMITED,
        connections=1000,
    )
    written = Generation(
        key=identity.key,
        certificate=identity.certificate,
        bundle=identity.bundle,
        nginx=render_edge(edge, run=run, listen=_LISTEN).encode(),
    )
    generation.write(run, written)
    bundle = run / CURRENT / BUNDLE_FILE
    environment = clean_environment() | dict(what.environment) | {ENV_SOCKET: str(socket)}
    with ExitStack() as stack:
        start = partial(_start, stack, environment=environment)
        command = processes.gunicorn(what.configuration, what.app)
        app = start(command, log=directory / "gunicorn.log", ready=socket.exists)
        server = start(
            build_edge_command(Path(processes.nginx()), run),
            log=directory / "nginx.log",
            ready=partial(processes.accepts, port),
        )
        yield Server(Endpoint(port, name, bundle), (app, server))


@contextmanager
def floor(binary: Path, patch: Path, directory: Path) -> Iterator[Server]:
    """The Go floor, answering with `patch`; `directory` exists. Raises BenchError."""
    identity = own_identity()
    certificate, key, bundle = (directory / f"floor.{kind}" for kind in ("crt", "key", "ca"))
    certificate.write_bytes(identity.certificate)
    key.touch(mode=0o600)
    key.write_bytes(identity.key)
    bundle.write_bytes(identity.bundle)
    options = {"certificate": certificate, "key": key, "patch": patch, "log": directory / "evidence.jsonl"}
    arguments = [f"-{name}={value}" for name, value in options.items()]
    log = directory / "floor.log"
    with ExitStack() as stack:
        # Its first line is the port that the kernel chose.
        ready = partial(_has_line, log)
        pid = _start(stack, [str(binary), *arguments], log=log, environment=clean_environment(), ready=ready)
        yield Server(Endpoint(int(log.read_text().split()[0]), NAME, bundle), (pid,))


def build_floor(directory: Path) -> Path:
    """Compile bench/floor into `directory`. Raises MissingError without Go, BenchError when it does not compile."""
    binary = directory / "floor"
    # Nothing is fetched: the floor is standard library only, and any Go since 1.21 will do.
    environment = clean_environment() | {"GOTOOLCHAIN": "local", "GOPROXY": "off", "GOFLAGS": "-buildvcs=false"}
    environment.setdefault("GOCACHE", str(Path(environment.get("HOME", directory)) / ".cache" / "go-build"))
    done = subprocess.run(
        [processes.program("go"), "build", "-o", str(binary), "."],
        cwd=_FLOOR,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    if done.returncode:
        raise BenchError(f"go build: {done.stderr}")
    return binary


def own_identity() -> Generation:
    """A throw-away P-256 certificate for `localhost`, for the apps of which only the CPU matters."""
    authority = trustme.CA()
    leaf = authority.issue_cert(NAME)
    certificate = b"".join(blob.bytes() for blob in leaf.cert_chain_pems)
    return Generation(
        key=leaf.private_key_pem.bytes(), certificate=certificate, bundle=authority.cert_pem.bytes(), nginx=b""
    )


def clean_environment() -> dict[str, str]:
    """Our environment without settings of podtls and without what would make a test's coverage count into a figure."""
    return {key: value for key, value in os.environ.items() if not key.startswith(("PODTLS_", "COVERAGE_", "KUBE"))}


def _start(
    stack: ExitStack,
    arguments: list[str],
    *,
    log: Path,
    environment: Mapping[str, str],
    ready: Callable[[], bool],
) -> int:
    process = stack.enter_context(processes.started(arguments, environment=environment, log=log))
    processes.wait_until(ready, process, log)
    return process.pid


def _has_line(log: Path) -> bool:
    return log.exists() and "\n" in log.read_text()
