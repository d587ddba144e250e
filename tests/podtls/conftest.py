"""Fixtures of the command's tests: a runner, a trust bundle, evidence to read."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from audit.log import EvidenceLog
from podtls.__main__ import main
from tests.audit.records import admission, certificate


@dataclass(frozen=True)
class Outcome:
    """How `podtls` ended."""

    code: int
    out: str
    err: str


Run = Callable[..., Outcome]


@pytest.fixture
def run() -> Run:
    """Runs `podtls` as its entry point does, in this process."""

    def invoke(*arguments: str | Path, text: str = "") -> Outcome:
        with CliRunner().isolation(input=text) as (out, err, _):
            code = main([str(argument) for argument in arguments])
            sys.stdout.flush()
            return Outcome(code, out.getvalue().decode(), err.getvalue().decode())

    return invoke


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A PEM file with one CA certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, "cluster.local")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=1), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("bundle") / "ca.crt"
    path.write_bytes(made.public_bytes(Encoding.PEM))
    return path


@pytest.fixture
def options(bundle: Path) -> list[str]:
    """What `podtls inject` cannot do without."""
    return ["--image", "registry.example.com/podtls/init:0.1.0", "--bundle", str(bundle)]


@pytest.fixture
def evidence(tmp_path: Path) -> Path:
    """A directory with the logs of a webhook (inject, torn line, deny, skip) and a CA (issue)."""
    directory = tmp_path / "evidence"
    (directory / "webhook-0").mkdir(parents=True)
    webhook = EvidenceLog(directory / "webhook-0" / "evidence.jsonl")
    webhook.append(admission())
    with webhook.path.open("ab") as file:
        file.write(b'{"v":1,')
    late = admission().time.replace(hour=12)
    webhook.append(
        admission(id="b" * 32, time=late, decision="deny", reason="annotation \x1b[31mpodtls.io/ports\u202e: é")
    )
    webhook.append(admission(id="e" * 32, time=late, decision="skip", namespace="ops", name="cron", generate_name=""))
    EvidenceLog(directory / "ca-0.jsonl").append(certificate())
    return directory
