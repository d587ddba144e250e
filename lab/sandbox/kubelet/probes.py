"""Startup, liveness and readiness probes as kubelet makes them: exec, httpGet, tcpSocket; each with its timeout.

Source: Kubernetes "Configure Liveness, Readiness and Startup Probes". When one is made is runner.py's.
"""

import contextlib
import http.client
import socket
import ssl
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from lab.sandbox.errors import ContainerError
from lab.sandbox.state import Manifest

Execute = Callable[[list[str], float], "subprocess.CompletedProcess[str]"]
_BODY_BYTES: Final = 4096


@dataclass(frozen=True, slots=True)
class Probe:
    """What to ask, how often, and how many results in a row decide."""

    action: Manifest
    initial_delay: float
    period: float
    timeout: float
    failures: int
    successes: int


def parse_probe(raw: Manifest | None) -> Probe | None:
    """A probe with Kubernetes' defaults. Raises ContainerError for an action the demo does not have."""
    if not raw:
        return None
    action: Manifest = {key: raw[key] for key in ("exec", "httpGet", "tcpSocket") if key in raw}
    if not action:
        raise ContainerError("a probe with none of exec, httpGet, tcpSocket; the demo has no other")
    return Probe(
        action,
        initial_delay=float(raw.get("initialDelaySeconds") or 0),
        period=float(raw.get("periodSeconds") or 10),
        timeout=float(raw.get("timeoutSeconds") or 1),
        failures=int(raw.get("failureThreshold") or 3),
        successes=int(raw.get("successThreshold") or 1),
    )


def ask(probe: Probe, container: Manifest, address: str, execute: Execute) -> str:
    """Make the probe once; "" for success, else why it failed."""
    try:
        if "exec" in probe.action:
            return _ask_command(probe, execute)
        if "tcpSocket" in probe.action:
            return _ask_socket(probe, container, address)
        return _ask_http(probe, container, address)
    except (OSError, http.client.HTTPException) as error:
        return f"{type(error).__name__}: {error}"
    except ContainerError as error:
        return str(error)


@dataclass(slots=True)
class Watch:
    """A probe over time: when it is due, and how many answers in a row were good or bad."""

    probe: Probe | None
    good: int = 0
    bad: int = 0
    why: str = ""
    _due: float = 0.0

    def __post_init__(self) -> None:
        self._due = time.monotonic() + (self.probe.initial_delay if self.probe else 0)

    def seconds_left(self, longest: float) -> float:
        """Until it is due; `longest` at most."""
        return longest if self.probe is None else min(max(self._due - time.monotonic(), 0), longest)

    def successes(self) -> int:
        """How many good answers are asked for."""
        return self.probe.successes if self.probe else 1

    def gave_up(self) -> bool:
        """Whether it failed as often as it may."""
        return self.probe is not None and self.bad >= self.probe.failures

    def note(self, why: str, period: float) -> None:
        """Count a result and set the next time."""
        self.why = why
        self.good, self.bad = (0, self.bad + 1) if why else (self.good + 1, 0)
        self._due = time.monotonic() + period


def _ask_command(probe: Probe, execute: Execute) -> str:
    try:
        done = execute(list(probe.action["exec"]["command"]), probe.timeout)
    except subprocess.TimeoutExpired:
        return f"no answer for {probe.timeout:g} s"
    return "" if done.returncode == 0 else f"exit code {done.returncode}: {(done.stdout + done.stderr).strip()}"


def _ask_socket(probe: Probe, container: Manifest, address: str) -> str:
    action = probe.action["tcpSocket"]
    target = (action.get("host") or address, _port(action["port"], container))
    with socket.create_connection(target, timeout=probe.timeout):
        return ""


def _ask_http(probe: Probe, container: Manifest, address: str) -> str:
    action = probe.action["httpGet"]
    host, port = action.get("host") or address, _port(action["port"], container)
    connection: http.client.HTTPConnection
    if action.get("scheme", "HTTP") == "HTTPS":
        # As kubelet: a probe asks whether somebody is there, not who.
        unverified = ssl._create_unverified_context()  # noqa: S323, SLF001 - see above
        connection = http.client.HTTPSConnection(host, port, timeout=probe.timeout, context=unverified)
    else:
        connection = http.client.HTTPConnection(host, port, timeout=probe.timeout)
    headers = {header["name"]: header["value"] for header in action.get("httpHeaders") or []}
    with contextlib.closing(connection):
        connection.request("GET", action.get("path") or "/", headers={"User-Agent": "kube-probe/podtls", **headers})
        response = connection.getresponse()
        response.read(_BODY_BYTES)
    return "" if 200 <= response.status < 400 else f"HTTP status {response.status}"


def _port(port: Any, container: Manifest) -> int:
    if isinstance(port, int) or str(port).isdecimal():
        return int(port)
    for declared in container.get("ports") or []:
        if declared.get("name") == port:
            return int(declared["containerPort"])
    raise ContainerError(f"container {container['name']}: a probe asks port {port!r}, which it does not declare")
