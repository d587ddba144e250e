"""Wall time from process start to certificate on disk: `podtls-injector init` beside an openssl + curl script.

Both get the same token, bundle and CA, make a new P-256 key, and end with key and certificate chain in a folder.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from contract.names import (
    CERTIFICATE_FILE,
    CURRENT,
    ENV_BUDGET,
    ENV_CA_URL,
    ENV_MODE,
    ENV_NAMESPACE,
    ENV_PORTS,
    ENV_RUN,
    ENV_SERVICE_ACCOUNT,
    ENV_TERMINATION_MESSAGE,
    ENV_TOKEN_FILE,
    ENV_TRUST_BUNDLE,
    ENV_TRUST_DOMAIN,
    ENV_UPSTREAMS,
    PATH_ENROLL,
    TYPE_PEM_CHAIN,
)
from lab.bench import admission, authority, figures, processes, servers
from lab.bench.authority import RunningCA
from lab.bench.errors import BenchError, MissingError
from lab.bench.figures import Options, Row, Series
from lab.bench.standin import ACCOUNT

OURS: Final = "podtls-injector init"
SCRIPT: Final = "openssl req + curl"
TARGET_MS: Final = 150.0

# What a person would write: it checks nothing of what it gets, tries once, and flips nothing.
_SCRIPT: Final = """set -eu
openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$OUT/tls.key" -subj / -outform DER \
    2>/dev/null | base64 -w 0 > "$OUT/csr"
curl --silent --show-error --fail --cacert "$BUNDLE" --header "Authorization: Bearer $(cat "$TOKEN")" \
    --header 'Content-Type: application/pkcs10' --header 'Content-Transfer-Encoding: base64' \
    --header "Accept: $ACCEPT" --data-binary "@$OUT/csr" --output "$OUT/tls.crt" "$URL"
"""


def measure(options: Options) -> list[Row]:
    """The enrollment rows. Raises BenchError, MissingError (no Nginx)."""
    with TemporaryDirectory(prefix="podtls-bench-") as temporary:
        directory = Path(temporary)
        options.log("starting the CA")
        injected = admission.injected_pod(directory)
        with authority.serving(directory, injected) as ca:
            measured = _interleave(_subjects(ca, directory, options), options)
    ours = figures.own("enrollment", OURS, "ms wall", measured[OURS])
    rows = [figures.own_below(ours, TARGET_MS)]
    if SCRIPT in measured:
        rows.append(figures.peer(ours, SCRIPT, measured[SCRIPT]))
    return rows


def _interleave(subjects: dict[str, Callable[[], float]], options: Options) -> dict[str, Series]:
    for subject in subjects.values():
        subject()  # The first of each reads its files from disk.
    told = partial(_told, options)
    return figures.interleave(subjects, rounds=options.rounds, on_round=told)


def _told(options: Options, number: int) -> None:
    options.log(f"round {number + 1} of {options.rounds}")


def _subjects(ca: RunningCA, directory: Path, options: Options) -> dict[str, Callable[[], float]]:
    numbers = count(1)
    subjects = {OURS: lambda: init(ca, directory, next(numbers))}
    try:
        for program in ("openssl", "curl"):
            processes.program(program)
    except MissingError as error:
        options.log(f"{error}: the script is left out")
        return subjects
    return subjects | {SCRIPT: lambda: script(ca, directory, next(numbers))}


def init(ca: RunningCA, directory: Path, number: int) -> float:
    """Milliseconds of one `podtls-injector init` as pod `number`. Raises BenchError when it does not enroll."""
    run, token = _pod(ca, directory, number)
    environment = servers.clean_environment()
    environment |= {
        # The injector takes the first nginx of PATH, which may be older than what it needs.
        "PATH": os.pathsep.join([str(Path(processes.nginx()).parent), environment["PATH"]]),
        ENV_CA_URL: _url(ca),
        ENV_TRUST_BUNDLE: ca.server.endpoint.bundle.read_text(),
        ENV_TRUST_DOMAIN: authority.TRUST_DOMAIN,
        ENV_MODE: "mtls",
        ENV_PORTS: "8443=8080",
        ENV_UPSTREAMS: "",
        ENV_BUDGET: "60",
        ENV_NAMESPACE: "shop",
        ENV_SERVICE_ACCOUNT: ACCOUNT,
        ENV_RUN: str(run),
        ENV_TOKEN_FILE: str(token),
        ENV_TERMINATION_MESSAGE: str(run / "termination"),
    }
    command = str(Path(sys.executable).with_name("podtls-injector"))
    return _timed([command, "init"], environment, run / CURRENT / CERTIFICATE_FILE)


def script(ca: RunningCA, directory: Path, number: int) -> float:
    """Milliseconds of one script as pod `number`. Raises BenchError when it does not enroll."""
    run, token = _pod(ca, directory, number)
    environment = servers.clean_environment() | {
        "OUT": str(run),
        "TOKEN": str(token),
        "BUNDLE": str(ca.server.endpoint.bundle),
        "ACCEPT": TYPE_PEM_CHAIN,
        "URL": _url(ca) + PATH_ENROLL,
    }
    return _timed(["/bin/sh", "-c", _SCRIPT], environment, run / CERTIFICATE_FILE)


def _timed(command: list[str], environment: dict[str, str], certificate: Path) -> float:
    start = time.perf_counter()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=90)
    elapsed = (time.perf_counter() - start) * 1e3
    if done.returncode or not certificate.read_bytes().startswith(b"-----BEGIN CERTIFICATE-----"):
        raise BenchError(f"{Path(command[0]).name} ended with {done.returncode}: {done.stderr or done.stdout}")
    return elapsed


def _pod(ca: RunningCA, directory: Path, number: int) -> tuple[Path, Path]:
    run = directory / f"pod-{number}"
    run.mkdir()
    token = directory / f"token-{number}"
    token.write_text(ca.standin.create_pod(number))
    return run, token


def _url(ca: RunningCA) -> str:
    return f"https://{ca.server.endpoint.name}:{ca.server.endpoint.port}"
