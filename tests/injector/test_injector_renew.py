"""`renew` and `check`: when a new certificate is made, and that a failure keeps the old one."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from contract.names import (
    CERTIFICATE_FILE,
    ENV_BUDGET,
    ENV_EDGE,
    ENV_TRUST_BUNDLE,
    ENV_TRUST_BUNDLE_FILE,
    EXIT_CONFIGURATION,
    KEY_FILE,
    PATH_NAMES,
)
from injector import generation
from injector.__main__ import main
from injector.enroll.certificate import encode_chain, encode_key, make_key
from injector.enroll.est import fetch_names
from injector.enroll.https import HTTPRequest, HTTPResponse
from injector.errors import UnavailableError
from lab.nginx import Nginx
from tests.injector.authority import Authority
from tests.injector.est_server import EstServer, answer, issue
from tests.injector.processes import with_nginx

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(
    environ: dict[str, str],
    any_nginx: Nginx,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> Run:
    """Run a command; answer exit code, stdout and stderr."""
    environ[ENV_BUDGET] = "1"

    def run(*arguments: str, **changes: str) -> tuple[int, str, str]:
        for name, value in with_nginx(any_nginx, {**environ, **changes}).items():
            monkeypatch.setenv(name, value)
        code = main(arguments)
        out, err = capfd.readouterr()
        return code, out, err

    return run


@pytest.fixture
def directory(environ: dict[str, str]) -> Path:
    return Path(environ["PODTLS_RUN"])


def test_the_first_look_asks_nobody(run: Run, est: EstServer) -> None:
    run("init")

    code, out, _ = run("renew", "0", "0")

    assert (code, out) == (10, "3\n")
    assert len(est.seen) == 1


def test_equal_names_need_no_renewal(run: Run, est: EstServer) -> None:
    run("init")

    code, out, _ = run("renew", "1", "0")

    assert (code, out) == (10, "12\n")
    assert est.seen[-1].path == PATH_NAMES
    assert est.seen[-1].token == "header.payload.signature"


def test_a_service_that_came_later_renews_with_a_new_key(run: Run, est: EstServer, directory: Path) -> None:
    run("init")
    before = generation.read(directory)
    est.dns.append("checkout-2.shop.svc")

    code, out, err = run("renew", "2")

    assert (code, out) == (0, "45\n")
    assert "gen-000002: spiffe://" in err
    assert "checkout-2.shop.svc" in err
    assert generation.read(directory).key != before.key


def test_a_certificate_beyond_two_thirds_of_its_life_is_renewed_at_the_first_look(
    run: Run, est: EstServer, directory: Path
) -> None:
    est.behaviours = [issue(start_ago=timedelta(hours=20)), issue()]
    run("init")

    code, out, _ = run("renew")

    assert (code, out) == (0, "3\n")
    assert str((directory / "current").readlink()) == "gen-000002"


def test_a_root_that_was_replaced_renews_at_the_first_look(
    run: Run, est: EstServer, environ: dict[str, str], foreign: Authority, directory: Path, tmp_path: Path
) -> None:
    bundle = tmp_path / "bundle.crt"
    bundle.write_text(environ[ENV_TRUST_BUNDLE])
    run("init", **{ENV_TRUST_BUNDLE: "", ENV_TRUST_BUNDLE_FILE: str(bundle)})
    tls_authority = environ[ENV_TRUST_BUNDLE].encode().removeprefix(est.authority.bundle)
    est.authority = foreign
    bundle.write_bytes(foreign.bundle + tls_authority)

    code, _, err = run("renew")

    assert (code, "gen-000002: spiffe://" in err) == (0, True)
    assert encode_chain((foreign.issuing,)) in generation.read(directory).certificate


def test_a_bundle_file_that_cannot_be_read_is_named(run: Run, tmp_path: Path) -> None:
    code, _, err = run("init", **{ENV_TRUST_BUNDLE_FILE: str(tmp_path / "none")})

    assert code == EXIT_CONFIGURATION
    assert f"PODTLS_TRUST_BUNDLE_FILE='{tmp_path / 'none'}': no readable PEM file: " in err


def test_the_sidecar_of_a_webhook_pod_polls_every_minute(run: Run, tmp_path: Path) -> None:
    edge = {ENV_EDGE: "webhook", "PODTLS_SOCKET": str(tmp_path / "app.sock")}
    run("init", **edge)

    assert run("renew", "9", **edge)[:2] == (10, "60\n")


@pytest.mark.parametrize(
    ("change", "expected", "reason"),
    [
        pytest.param({"behaviours": [answer(503)]}, 69, "answered 503", id="CA down"),
        pytest.param({"behaviours": [answer(403)]}, 77, "answered 403", id="refused"),
        pytest.param({"behaviours": [issue(foreign_key=True)]}, 77, "for another key", id="another's key"),
        pytest.param({"uri": "spiffe://cluster.local/ns/a/sa/b"}, 77, "the CA says that this pod is", id="identity"),
    ],
)
def test_a_failure_keeps_the_old_generation_and_says_when_it_tries_again(
    run: Run, est: EstServer, directory: Path, change: dict[str, object], expected: int, reason: str
) -> None:
    run("init")
    before = generation.read(directory)
    est.dns.append("checkout-2.shop.svc")
    for name, value in change.items():
        setattr(est, name, value)

    code, out, err = run("renew", "1", "2")

    assert code == expected
    assert 10 <= int(out) <= 20
    assert reason in err
    assert f"the certificate before stays, next try in {out.strip()} s" in err
    assert generation.read(directory) == before


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"no JSON", id="no JSON"),
        pytest.param(b"[]", id="a list"),
        pytest.param(b'{"dns": 7, "uri": "x"}', id="a number"),
        pytest.param(b'{"dns": []}', id="no URI"),
        pytest.param(b"\xff", id="no text"),
    ],
)
def test_names_that_are_none_are_unavailable(body: bytes) -> None:
    def exchange(request: HTTPRequest, *, deadline: float) -> HTTPResponse:
        assert (request.method, deadline) == ("GET", 1)
        return HTTPResponse(status=200, content_type="application/json; charset=utf-8", retry_after="", body=body)

    with pytest.raises(UnavailableError, match="the CA's names response is malformed"):
        fetch_names(exchange, token="t", deadline=1)


def test_the_sidecar_of_a_ca_pod_asks_nobody(run: Run, est: EstServer) -> None:
    code, out, _ = run("renew", "1", **{ENV_EDGE: "ca"})

    assert (code, out) == (10, "15\n")
    assert est.seen == []


def test_a_current_certificate_that_is_none_is_said(run: Run, directory: Path) -> None:
    run("init")
    _overwrite(directory / "current" / CERTIFICATE_FILE, b"nothing")

    code, _, err = run("renew")

    assert code == 64
    assert "the current certificate cannot be read" in err


def test_check_says_whose_certificate_it_is_and_until_when(run: Run) -> None:
    run("init")

    code, out, _ = run("check")

    assert code == 0
    assert out.startswith("podtls check: spiffe://cluster.local/ns/shop/sa/checkout until 20")
    assert out.count("\n") == 1


def test_check_finds_no_generation(run: Run) -> None:
    assert run("check")[:2][0] == 1


@pytest.mark.parametrize(
    ("file", "content", "reason"),
    [
        pytest.param(KEY_FILE, encode_key(make_key()), "for another key", id="another key"),
        pytest.param(KEY_FILE, b"nothing", "Unable to load PEM", id="no key"),
        pytest.param(CERTIFICATE_FILE, b"nothing", "Unable to load PEM", id="no certificate"),
    ],
)
def test_check_finds_what_is_wrong(run: Run, directory: Path, file: str, content: bytes, reason: str) -> None:
    run("init")
    _overwrite(directory / "current" / file, content)

    code, out, _ = run("check")

    assert code == 1
    assert reason in out


def test_check_finds_an_expired_certificate(run: Run, directory: Path, authority: Authority) -> None:
    old = authority.leaf(valid=timedelta(seconds=-50))
    run("init")
    _overwrite(directory / "current" / CERTIFICATE_FILE, encode_chain(old.chain))
    _overwrite(directory / "current" / KEY_FILE, encode_key(old.key))

    code, out, _ = run("check")

    assert code == 1
    assert "the certificate is valid from" in out


@pytest.mark.parametrize(
    "arguments", [[], ["start"], ["init", "now"], ["renew", "-1"], ["renew", "1", "2", "3"], ["renew", "x"]]
)
def test_a_command_that_is_none_shows_the_usage(run: Run, arguments: list[str]) -> None:
    code, out, err = run(*arguments)

    assert (code, out) == (EXIT_CONFIGURATION, "")
    assert err.startswith("podtls-injector init ")


def test_help_names_the_exit_codes(run: Run) -> None:
    code, out, _ = run("--help")

    assert code == 0
    assert "69" in out


def _overwrite(path: Path, content: bytes) -> None:
    path.unlink()
    path.write_bytes(content)
