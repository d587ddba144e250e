"""A CA pod's own serving certificate: signed, recorded, served as a generation; and the command around it."""

import os
import signal
import stat
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store

from audit.log import EvidenceLog, read
from audit.record import CertificateRecord
from ca import __main__ as command
from ca import bootstrap
from ca.authority import creation
from ca.authority.authority import Authority, load_authority
from ca.errors import ProfileError, UnavailableError
from ca.settings import Settings
from contract.names import CERTIFICATE_FILE, CURRENT, KEY_FILE
from injector import generation
from tests.ca.world import NOW, TRUST_DOMAIN

DAY = timedelta(days=1)


@pytest.fixture
def run(settings: Settings) -> Path:
    settings.run_directory.mkdir()
    return settings.run_directory


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What a CA pod is told, with an authority that is valid now."""
    creation.save_authority(
        creation.create_authority(TRUST_DOMAIN, "cluster.local", datetime.now(UTC)), tmp_path / "made"
    )
    (tmp_path / "run").mkdir(exist_ok=True)
    told = {
        "PODTLS_AUTHORITY": str(tmp_path / "made" / "issuing"),
        "PODTLS_LOG": str(tmp_path / "evidence.jsonl"),
        "PODTLS_RUN": str(tmp_path / "run"),
        "PODTLS_SOCKET": str(tmp_path / "app.sock"),
        "PODTLS_REPLICA": "podtls-ca-0",
    }
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    return told


def test_serving_certificate_is_signed_recorded_and_served(
    settings: Settings, run: Path, authority: Authority, log: EvidenceLog
) -> None:
    directory = bootstrap.issue_serving_certificate(settings, authority, log, nginx_conf="# edge proxy", now=NOW)

    served = generation.read(run)
    leaf, issuing = x509.load_pem_x509_certificates(served.certificate)
    (record,) = read(log.path)
    verifier = PolicyBuilder().store(Store(list(authority.bundle))).time(NOW)
    assert (run / CURRENT).resolve() == directory
    assert verifier.build_server_verifier(x509.DNSName("podtls-ca.podtls-system.svc")).verify(leaf, [issuing])
    assert x509.load_pem_x509_certificates(served.bundle) == list(authority.bundle)
    assert served.nginx == b"# edge proxy"
    assert stat.S_IMODE((directory / KEY_FILE).stat().st_mode) == 0o400
    assert isinstance(record, CertificateRecord)
    assert (record.reason, record.pod) == ("serving certificate of the CA itself", "podtls-ca-0")
    assert record.serial == f"{leaf.serial_number:x}"


def test_serving_certificate_that_cannot_be_recorded_is_not_served(
    settings: Settings, run: Path, authority: Authority
) -> None:
    with pytest.raises(Exception, match="No space left on device"):
        bootstrap.issue_serving_certificate(settings, authority, EvidenceLog(Path("/dev/full")), nginx_conf="", now=NOW)

    assert list(run.iterdir()) == []


def test_serving_name_outside_of_the_constraints_is_refused(run: Path, authority: Authority, log: EvidenceLog) -> None:
    settings = Settings.from_env({"PODTLS_RUN": str(run), "PODTLS_SERVING_NAMES": "ca.example.com"})

    with pytest.raises(ProfileError, match="does not verify against the authority"):
        bootstrap.issue_serving_certificate(settings, authority, log, nginx_conf="", now=NOW)

    assert list(run.iterdir()) == []


@pytest.mark.usefixtures("run")
def test_renewal_is_due_at_two_thirds_of_life_or_when_the_issuing_ca_changes(
    settings: Settings, authority: Authority, log: EvidenceLog, tmp_path: Path
) -> None:
    creation.save_authority(creation.create_authority(TRUST_DOMAIN, "cluster.local", NOW), tmp_path / "other")
    before = bootstrap.is_renewal_due(settings, authority, NOW)

    bootstrap.issue_serving_certificate(settings, authority, log, nginx_conf="", now=NOW)

    assert before
    assert not bootstrap.is_renewal_due(settings, authority, NOW + timedelta(hours=15, minutes=59))
    assert bootstrap.is_renewal_due(settings, authority, NOW + timedelta(hours=16))
    assert bootstrap.is_renewal_due(settings, load_authority(tmp_path / "other" / "issuing"), NOW)


def test_serving_certificate_is_checked_for_readiness(
    settings: Settings, run: Path, authority: Authority, log: EvidenceLog
) -> None:
    bootstrap.check_serving_certificate(run, NOW)
    bootstrap.issue_serving_certificate(settings, authority, log, nginx_conf="", now=NOW)

    bootstrap.check_serving_certificate(run, NOW)

    with pytest.raises(UnavailableError, match="our serving certificate is valid until 2030-05-02T12:00:00Z only"):
        bootstrap.check_serving_certificate(run, NOW + DAY)


def test_generation_that_cannot_be_read_is_not_ready(run: Path) -> None:
    (run / CURRENT).mkdir()
    (run / CURRENT / CERTIFICATE_FILE).write_text("garbage")

    with pytest.raises(UnavailableError, match="cannot be read"):
        bootstrap.check_serving_certificate(run, NOW)


def test_command_bootstraps_with_the_edge_proxys_configuration(
    environment: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    status = command.main(["bootstrap"])

    served = generation.read(Path(environment["PODTLS_RUN"]))
    assert status == 0
    assert environment["PODTLS_SOCKET"].encode() in served.nginx
    assert "podtls-ca bootstrap: " in capsys.readouterr().err


@pytest.mark.usefixtures("environment")
def test_command_creates_an_authority_that_bootstraps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["create", str(tmp_path / "new")]) == 0

    monkeypatch.setenv("PODTLS_AUTHORITY", str(tmp_path / "new" / "issuing"))

    assert command.main(["bootstrap"]) == 0
    assert "root.key offline" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("variable", "value", "status", "said"),
    [
        pytest.param(
            "PODTLS_AUTHORITY", "/nowhere", 64, "authority: /nowhere/tls.crt: No such file", id="no authority"
        ),
        pytest.param("PODTLS_ZONE", "a b", 64, "PODTLS_ZONE: zone 'a b': expected a DNS name", id="bad zone"),
        pytest.param("PODTLS_LOG", "/dev/full", 69, "No space left on device", id="full log"),
        pytest.param("PODTLS_RUN", "/nowhere", 69, "/nowhere: cannot write a new generation", id="no run directory"),
        pytest.param("PODTLS_SOCKET", "bad{path", 64, "PODTLS_SOCKET: 'bad{path'", id="bad socket"),
    ],
)
@pytest.mark.usefixtures("environment")
def test_command_fails_with_one_line_and_a_code(
    variable: str,
    value: str,
    status: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(variable, value)

    code = command.main(["bootstrap"])

    written = capsys.readouterr().err
    assert code == status
    assert said in written
    assert written.startswith("podtls-ca bootstrap: ")
    assert written.count("\n") == 1


def test_second_create_in_the_same_place_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command.main(["create", str(tmp_path)])

    assert command.main(["create", str(tmp_path)]) == 64
    assert "an authority is never overwritten" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["sign"], ["create"], ["bootstrap", "--forever"]])
def test_wrong_arguments_are_one_line_and_64(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        command.main(arguments)

    assert caught.value.code == 64
    assert "--help" in capsys.readouterr().err


def test_help_shows_every_command_and_variable(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        command.main(["--help"])

    said = capsys.readouterr().out
    assert caught.value.code == 0
    for word in ("bootstrap", "create", "examples:", "PODTLS_AUTHORITY", "exit codes"):
        assert word in said


def test_kept_bootstrap_renews_when_due_and_survives_trouble(
    environment: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    current = Path(environment["PODTLS_RUN"], CURRENT)
    now = datetime.now(UTC)

    served = []
    for age, log in ((0, "PODTLS_LOG"), (1, "PODTLS_LOG"), (17, "full"), (17, "PODTLS_LOG")):
        told = {**environment, "PODTLS_LOG": environment.get(log, "/dev/full")}
        command._renew_when_due(told, now + timedelta(hours=age))
        served.append(current.readlink().name)

    assert served == ["gen-000001", "gen-000001", "gen-000001", "gen-000002"]
    assert "No space left on device" in capsys.readouterr().err


def _wait_for(path: Path, process: subprocess.Popen[bytes]) -> str:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if path.is_symlink():
            return str(path.readlink())
        assert process.poll() is None, "it ended"
        time.sleep(0.02)
    raise AssertionError(f"{path} did not come")


@pytest.mark.integration
def test_kept_bootstrap_stays_and_ends_on_sigterm(environment: dict[str, str]) -> None:
    process = subprocess.Popen([sys.executable, "-m", "ca", "bootstrap", "--keep"], env={**os.environ, **environment})
    try:
        generation_name = _wait_for(Path(environment["PODTLS_RUN"], CURRENT), process)
        process.send_signal(signal.SIGTERM)

        assert generation_name == "gen-000001"
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
