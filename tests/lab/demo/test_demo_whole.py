"""The whole of `make demo`, as a person types it: what it proves, what it says when it cannot, what it leaves."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab.demo.__main__ import main
from lab.sandbox.linux import enclosure
from lab.sandbox.manifests import SHOP
from tests.lab.sandbox.sandboxes import descendants, namespaces, still_there, until

ROOT = Path(__file__).parents[3]
SECONDS = 110
CLAIMS = (
    r"checkout-\w+-\w+ asks http://payments\.shop/ in plain HTTP and gets the answer",
    r"between the pods the wire of payments-\w+-\w+ carries TLS records and nothing else",
    r"control: the same client with checkout-\w+-\w+'s own files gets the answer",
    r"no certificate is refused",
    r"a foreign CA's certificate that claims to be spiffe://cluster\.local/ns/shop/sa/checkout is refused",
    r"plaintext on the TLS port is refused",
    r"control: podtls-demo-visitor dials payments\.shop\.svc by its right name and gets the answer",
    r"a wrong name is refused: the server's certificate does not carry it",
    r"a Service added later appears in the certificate",
    r"the certificate was renewed, and no new connection failed meanwhile",
    r"a connection that was open before the renewal still answers",
    r"the patch log lists the patch of every injected pod",
    r"the log lists every certificate that was served, and each names the patch of its pod",
)

# A Pod of `default` in mode tls, with nobody who dials it: the demo's visitor does.
YOURS = """
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 8443, targetPort: podtls}]}
---
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}, annotations: {podtls.io/mode: tls}}
spec:
  containers:
    - name: web
      image: docker.io/library/python:3.13-slim
      ports: [{containerPort: 8000}]
      command: [python3, -m, http.server, "8000", --directory, /var/lib]
      securityContext: {runAsUser: 1000}
"""

# An app that speaks no HTTP, in a namespace that nobody made.
NO_HTTP = """
apiVersion: v1
kind: Service
metadata: {name: hello, namespace: elsewhere}
spec: {selector: {app: hello}, ports: [{port: 443, targetPort: podtls}]}
---
apiVersion: v1
kind: Pod
metadata: {name: hello, namespace: elsewhere, labels: {app: hello}}
spec:
  containers:
    - name: hello
      image: docker.io/library/python:3.13-slim
      ports: [{containerPort: 8000}]
      command:
        - python3
        - -c
        - |
          import socketserver

          class Hello(socketserver.BaseRequestHandler):
              def handle(self):
                  self.request.recv(1024)
                  self.request.sendall(b"hello")

          socketserver.ThreadingTCPServer(("", 8000), Hello).serve_forever()
      securityContext: {runAsUser: 1000}
"""

pytestmark = pytest.mark.namespaces


@pytest.fixture(autouse=True)
def _needs_namespaces(no_sandbox_because: str) -> None:
    if no_sandbox_because:
        pytest.skip(no_sandbox_because)


def _start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "lab.demo", *arguments],
        cwd=ROOT,
        env={**os.environ, **enclosure.importable()},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _run(*arguments: str) -> tuple[int, str, str]:
    with _start(*arguments) as process:
        out, err = process.communicate(timeout=SECONDS)
        return process.returncode, out, err


@contextmanager
def _running(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """A demo, and the lines that it has written so far."""
    with _start(*arguments) as process:
        lines: list[str] = []
        assert process.stdout is not None
        reader = threading.Thread(target=lines.extend, args=(process.stdout,), daemon=True)
        reader.start()
        try:
            yield process, lines
        finally:
            process.kill()
            reader.join(SECONDS)


@pytest.fixture(scope="module")
def told(no_sandbox_because: str) -> tuple[int, str, str]:
    """One run of the shop: exit code, what it wrote, and its errors."""
    if no_sandbox_because:
        pytest.skip(no_sandbox_because)
    return _run()


def test_demo_proves_all_that_it_claims(told: tuple[int, str, str]) -> None:
    code, out, err = told

    proven = re.findall(r"^ +held +(.*)$", out, re.MULTILINE)
    assert (code, err) == (0, "")
    assert "FAILED" not in out
    assert len(proven) == len(CLAIMS)
    for claim, line in zip(CLAIMS, proven, strict=True):
        assert re.fullmatch(claim, line)


def test_demo_shows_each_step_in_plain_text_when_piped(told: tuple[int, str, str]) -> None:
    _, out, _ = told

    assert "\x1b" not in out
    for shown in (
        "$ kubectl label namespace shop podtls.io/inject=enabled",
        "POST https://podtls-webhook.podtls-system.svc:443/mutate/mtls/port?timeout=5s",
        "asked for by  system:serviceaccount:kube-system:replicaset-controller",
        "+ /spec/initContainers  podtls-init, podtls-nginx",
        "name  spiffe://cluster.local/ns/shop/sa/payments",
        "name  payments.shop.svc.cluster.local",
        "its own log says: 200 payments: 42.00 EUR received, thank you",
        "client sent no required SSL certificate",
        "name  podtls-demo-later.shop.svc",
        "What this sandbox does not prove",
    ):
        assert shown in out


def test_your_own_manifests_are_run_and_proven(tmp_path: Path) -> None:
    yours = tmp_path / "yours.yaml"
    yours.write_text(YOURS)

    code, out, err = _run("-f", str(yours))

    assert (code, err) == (0, "")
    assert "podtls-demo-visitor asks http://web.default/ in plain HTTP and gets the answer" in out
    assert "no certificate is refused" not in out
    assert "11 proofs held, 0 failed" in out


def test_proof_that_fails_is_named_and_ends_with_1(tmp_path: Path) -> None:
    yours = tmp_path / "yours.yaml"
    yours.write_text(NO_HTTP)

    code, out, err = _run("-f", str(yours))

    assert (code, err) == (1, "")
    assert re.search(r"^ +FAILED +podtls-demo-visitor asks http://hello\.elsewhere/ in plain HTTP", out, re.MULTILINE)
    assert "FAILED: control: the same client with podtls-demo-visitor's own files gets the answer" in out
    assert re.search(r"^ +held +no certificate is refused", out, re.MULTILINE)


def test_pod_that_the_webhook_denies_ends_the_demo_with_its_message(tmp_path: Path) -> None:
    yours = tmp_path / "yours.yaml"
    yours.write_text(SHOP.read_text().replace("payments.shop:80=443", "payments.shop:0"))

    code, _, err = _run("-f", str(yours))

    assert code == 77
    assert err.startswith('demo: admission webhook "mtls-port.podtls.io" denied the request: ')
    assert "annotation podtls.io/upstreams: 'payments.shop:0'" in err


def test_kept_demo_can_be_tried_and_ends_with_ctrl_c_and_without_a_trace() -> None:
    with _running("--keep") as (process, lines):
        until(lambda: any("audit list /" in line for line in lines) or process.poll() is not None, "what to try")
        start = next(number for number, line in enumerate(lines) if "Ways in" in line)
        tried = subprocess.run(
            ["sh", "-c", "".join(lines[start:])], capture_output=True, text=True, check=False, timeout=SECONDS
        )
        below = descendants(process.pid)
        spaces = namespaces(below)

        process.send_signal(signal.SIGINT)
        code = process.wait(SECONDS)

    assert code == 0
    assert tried.stdout.count("payments: 42.00 EUR received, thank you") == 2
    assert "Empty reply from server" in tried.stderr
    assert "URI:spiffe://cluster.local/ns/shop/sa/checkout" in tried.stdout
    assert "client sent no required SSL certificate" in tried.stdout
    assert below
    assert spaces
    until(lambda: not still_there(below, spaces), "everything to be gone")


def test_ctrl_c_in_the_middle_leaves_nothing() -> None:
    with _running() as (process, lines):
        until(lambda: any("AdmissionReview" in line for line in lines) or process.poll() is not None, "an admission")
        below = descendants(process.pid)
        spaces = namespaces(below)

        process.send_signal(signal.SIGINT)
        code = process.wait(SECONDS)

    assert code == 130
    until(lambda: not still_there(below, spaces), "everything to be gone")


def test_bad_file_is_refused_before_anything_starts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    yours = tmp_path / "yours.yaml"
    yours.write_text("kind: Pod")

    code = main(["-f", str(yours)])

    assert code == 64
    assert capsys.readouterr().err == f"demo: {yours} #1: apiVersion is missing or not a text\n"


def test_help_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["--help"])

    out = capsys.readouterr().out
    assert code == 0
    for shown in ("make demo KEEP=1", "make demo F=yours.yaml", "--filename", "Exit code 0: every proof held"):
        assert shown in out
