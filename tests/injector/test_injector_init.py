"""`podtls-injector init` from the environment to the generation, against a real HTTPS CA with every way to fail."""

import stat
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from contract.names import ENV_BUDGET, ENV_CA_URL, ENV_EDGE, ENV_MODE, ENV_PORTS, PATH_ENROLL, TYPE_PEM_CHAIN
from injector import generation
from injector.__main__ import main
from lab.nginx import Nginx
from tests.injector.authority import Authority
from tests.injector.est_server import Behaviour, EstServer, answer, cut, cut_politely, drip, issue, no_http
from tests.injector.processes import free_port, with_nginx


@pytest.fixture
def init(
    environ: dict[str, str],
    any_nginx: Nginx,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> Callable[..., tuple[int, str]]:
    """Run `init` with the pod's environment; answer exit code and stderr."""

    def run(**changes: str) -> tuple[int, str]:
        for name, value in with_nginx(any_nginx, {**environ, **changes}).items():
            monkeypatch.setenv(name, value)
        code = main(["init"])
        return code, capfd.readouterr().err

    return run


Init = Callable[..., tuple[int, str]]


def test_init_writes_a_generation_with_key_chain_bundle_and_nginx_conf(
    init: Init, environ: dict[str, str], authority: Authority
) -> None:
    code, said = init(**{ENV_PORTS: f"{free_port()}=8080"})

    current = Path(environ["PODTLS_RUN"], "current")
    assert (code, said.count("\n")) == (0, 1)
    assert "gen-000001: spiffe://cluster.local/ns/shop/sa/checkout until" in said
    assert str(current.readlink()) == "gen-000001"
    assert stat.S_IMODE((current / "tls.key").stat().st_mode) == 0o400
    assert (current / "ca.crt").read_text() == environ["PODTLS_TRUST_BUNDLE"]
    leaf, issuing = x509.load_pem_x509_certificates((current / "tls.crt").read_bytes())
    key = load_pem_private_key((current / "tls.key").read_bytes(), password=None)
    assert issuing == authority.issuing
    assert leaf.public_key() == key.public_key()


def test_the_token_travels_in_one_header_and_the_key_not_at_all(
    init: Init, est: EstServer, environ: dict[str, str]
) -> None:
    _, said = init()

    key = Path(environ["PODTLS_RUN"], "current", "tls.key").read_bytes()
    (request,) = est.seen
    assert (request.path, request.token) == (PATH_ENROLL, "header.payload.signature")
    assert request.headers["Content-Type"] == "application/pkcs10"
    assert request.headers["Accept"] == TYPE_PEM_CHAIN
    assert key.splitlines()[1] not in request.body
    assert "payload" not in said


@pytest.mark.parametrize(
    "first",
    [
        pytest.param(answer(202, Retry_After="0"), id="202: the pod's address is not known yet"),
        pytest.param(answer(503, Retry_After="1"), id="503 with Retry-After"),
        pytest.param(answer(429), id="429"),
        pytest.param(answer(502, b"<html>bad gateway</html>", "text/html"), id="502 of a proxy"),
        pytest.param(answer(401), id="401: the token is a second old"),
        pytest.param(answer(200, b"<html>hello</html>", "text/html"), id="another page"),
        pytest.param(answer(200, b"no chain", TYPE_PEM_CHAIN), id="garbage"),
        pytest.param(cut, id="an answer that is cut"),
        pytest.param(no_http, id="no HTTP"),
    ],
)
def test_what_may_pass_is_tried_again(init: Init, est: EstServer, first: Behaviour) -> None:
    est.behaviours = [first, issue()]

    code, said = init()

    assert code == 0, said
    assert len(est.seen) == 2


@pytest.mark.parametrize(
    ("behaviour", "expected", "reason"),
    [
        pytest.param(answer(401), 77, "answered 401 (the pod's token is not accepted)", id="401 thrice"),
        pytest.param(answer(403, b"pod\x1b[0m is\n gone"), 77, "answered 403: pod[0m is gone", id="403"),
        pytest.param(answer(400, b"bad CSR"), 77, "answered 400: bad CSR", id="400"),
        pytest.param(answer(413), 77, "answered 413", id="413"),
        pytest.param(issue(foreign_key=True), 77, "is for another key than ours", id="another's key"),
        pytest.param(
            issue(uri="spiffe://cluster.local/ns/bank/sa/checkout"),
            77,
            "ns/bank/sa/checkout', this pod is",
            id="namespace",
        ),
        pytest.param(issue(start_ago=timedelta(days=2)), 77, "the certificate is valid from", id="expired"),
        pytest.param(issue(start_ago=timedelta(hours=-2)), 77, "the certificate is valid from", id="not yet valid"),
        pytest.param(answer(200, b"\x00\xff", TYPE_PEM_CHAIN), 69, "is not a certificate chain", id="garbage for ever"),
        pytest.param(answer(200, b"", "text/html"), 69, "'text/html' instead of", id="another type for ever"),
        pytest.param(answer(302, Location="https://example.com"), 69, "answered 302", id="redirect"),
        pytest.param(answer(503, b"database down"), 69, "answered 503: database down (tried", id="503 for ever"),
        pytest.param(answer(503, Retry_After="600"), 69, "answered 503 (tried once in 1 s)", id="Retry-After too late"),
        pytest.param(drip, 69, "did not answer in time", id="drips"),
        # Builds of Python differ in how they tell a connection that ends without close_notify.
        pytest.param(cut, 69, "EOF occurred | no HTTP answer (IncompleteRead", id="cut for ever"),
        pytest.param(cut_politely, 69, "no HTTP answer (IncompleteRead", id="cut politely for ever"),
        pytest.param(no_http, 69, "no HTTP answer (BadStatusLine", id="no HTTP"),
        pytest.param(answer(200, b"-" * 70000, TYPE_PEM_CHAIN), 69, "longer than 65536 bytes", id="endless"),
    ],
)
def test_a_failure_is_one_line_and_an_exit_code_and_the_old_generation_stands(
    init: Init, est: EstServer, environ: dict[str, str], behaviour: Behaviour, expected: int, reason: str
) -> None:
    run = Path(environ["PODTLS_RUN"])
    init()
    before = generation.read(run)
    est.behaviours = [behaviour]

    code, said = init(**{ENV_BUDGET: "1"})

    assert code == expected, said
    assert any(told in said for told in reason.split(" | ")), said
    assert said.startswith("podtls init: ")
    assert said.count("\n") == 1
    assert Path(environ["PODTLS_TERMINATION_MESSAGE"]).read_text() == said
    assert generation.read(run) == before
    assert sorted(path.name for path in run.iterdir() if path.name.startswith(("gen", "current"))) == [
        "current",
        "gen-000001",
    ]


def test_a_chain_of_a_foreign_authority_is_refused(
    init: Init, est: EstServer, environ: dict[str, str], foreign: Authority
) -> None:
    est.behaviours = [issue(authority=foreign)]

    code, said = init()

    assert code == 77
    assert "does not chain to the trust bundle" in said
    assert list(Path(environ["PODTLS_RUN"]).iterdir()) == []


def test_a_server_that_the_bundle_does_not_vouch_for_never_sees_the_token(
    init: Init, est: EstServer, authority: Authority
) -> None:
    code, said = init(PODTLS_TRUST_BUNDLE=authority.bundle.decode(), **{ENV_BUDGET: "1"})

    assert code == 69
    assert "is not trusted: unable to get local issuer certificate" in said
    assert est.seen == []


def test_a_server_of_another_name_never_sees_the_token(init: Init, est: EstServer) -> None:
    code, said = init(**{ENV_CA_URL: est.url.replace("localhost", "127.0.0.1"), ENV_BUDGET: "1"})

    assert code == 69
    assert "is not trusted: IP address mismatch" in said
    assert est.seen == []


def test_a_ca_that_is_down_ends_as_unavailable(init: Init) -> None:
    code, said = init(**{ENV_CA_URL: f"https://localhost:{free_port()}", ENV_BUDGET: "1"})

    assert code == 69
    assert "Connection refused (tried" in said


def test_a_name_that_does_not_resolve_ends_as_unavailable(init: Init) -> None:
    code, said = init(**{ENV_CA_URL: "https://podtls-ca.invalid", ENV_BUDGET: "1"})

    assert code == 69
    assert "https://podtls-ca.invalid" in said


def test_a_configuration_that_nginx_refuses_is_never_flipped_to(init: Init, environ: dict[str, str]) -> None:
    run = Path(environ["PODTLS_RUN"])

    # 192.0.2.0/24 is for documentation (RFC 5737): nobody can bind it.
    code, said = init(PODTLS_LISTEN="192.0.2.1", **{ENV_PORTS: "8443=8080"})

    assert code == 64
    assert "nginx refuses the configuration: bind() to 192.0.2.1:8443 failed" in said
    assert not [path for path in run.iterdir() if path.name.startswith(("gen", "current"))]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        pytest.param({ENV_MODE: "permissive"}, "PODTLS_MODE: 'permissive' is not a mode", id="a mode to come"),
        pytest.param({"PODTLS_TOKEN_FILE": "/nonexistent"}, "/nonexistent: no readable token", id="no token"),
        pytest.param({"PODTLS_TOKEN_FILE": "/dev/null"}, "0 characters that are not a bearer token", id="empty token"),
        pytest.param({ENV_EDGE: "door"}, "PODTLS_EDGE: 'door' is not an app of ours", id="unknown edge proxy"),
    ],
)
def test_a_bad_setting_ends_as_configuration(init: Init, est: EstServer, change: dict[str, str], reason: str) -> None:
    code, said = init(**change)

    assert code == 64
    assert reason in said
    assert est.seen == []


def test_a_termination_message_that_cannot_be_written_does_not_hide_the_reason(init: Init) -> None:
    code, said = init(PODTLS_TERMINATION_MESSAGE="/nonexistent/message", **{ENV_MODE: "x"})

    assert code == 64
    assert "PODTLS_MODE: 'x'" in said
    assert "no termination message" in said


def test_a_second_init_makes_a_new_key_and_keeps_the_generation_before(init: Init, environ: dict[str, str]) -> None:
    run = Path(environ["PODTLS_RUN"])

    keys = set()
    for _ in range(3):
        init()
        keys.add(generation.read(run).key)

    assert len(keys) == 3
    assert sorted(path.name for path in run.glob("gen-*")) == ["gen-000002", "gen-000003"]


def test_a_edge_proxy_gets_an_http_configuration(init: Init, environ: dict[str, str]) -> None:
    code, said = init(**{ENV_EDGE: "webhook", "PODTLS_EDGE_PORT": str(free_port())})

    assert code == 0, said
    assert b"limit_req_zone" in generation.read(Path(environ["PODTLS_RUN"])).nginx
