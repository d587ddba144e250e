"""nginx.conf: equal to its golden, accepted by both builds of Nginx, and with what the design asks for in it."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from contract.names import RUN_DIRECTORY
from injector.edge.errors import EDGE_ERRORS, EdgeError, encode_body
from lab.nginx import Nginx
from tests.injector.authority import Authority
from tests.injector.est_server import write_leaf
from tests.injector.goldens import DIRECTORY, cases
from tests.injector.unprivileged import command, own, user


@pytest.mark.parametrize("name", cases())
def test_the_configuration_is_the_golden_one(name: str) -> None:
    golden = (DIRECTORY / f"{name}.conf").read_text()

    assert cases()[name] == golden, "rewrite with: make goldens"


def test_every_golden_has_its_case() -> None:
    assert sorted(path.stem for path in DIRECTORY.iterdir()) == sorted(cases())


@pytest.mark.parametrize("name", cases())
def test_nginx_accepts_the_golden(name: str, nginx: Nginx, authority: Authority, workshop: Path) -> None:
    certificate, key = write_leaf(authority.leaf(), workshop)
    certificate.rename(workshop / "tls.crt")
    key.rename(workshop / "tls.key")
    (workshop / "ca.crt").write_bytes(authority.bundle)
    (workshop / "nginx.conf").write_text(_at_home((DIRECTORY / f"{name}.conf").read_text(), workshop, nginx))
    own(workshop)

    result = subprocess.run(
        command([nginx.program, "-t", "-p", workshop, "-e", "stderr", "-c", workshop / "nginx.conf"]),
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
        **user(),
    )

    assert result.returncode == 0, result.stderr
    assert "[warn]" not in result.stderr


def _at_home(text: str, home: Path, nginx: Nginx) -> str:
    """Paths, addresses and ports of a pod -> those that a test may use; the module of this very build."""
    text = re.sub(r"^load_module .*\n", "", text, flags=re.MULTILINE)
    if nginx.stream_module and "stream {" in text:
        text = f'load_module "{nginx.stream_module}";\n{text}'
    text = re.sub(r":([0-9]{2,3}) so_keepalive", lambda port: f":{20000 + int(port[1])} so_keepalive", text)
    text = text.replace("0.0.0.0:", "127.0.0.1:").replace("[::]:", "127.0.0.2:")
    return text.replace("/etc/podtls/client-ca.crt", str(home / "ca.crt")).replace(RUN_DIRECTORY, str(home))


def test_always_on_settings_stand_in_every_configuration() -> None:
    for name, text in cases().items():
        for line in (
            "ssl_protocols TLSv1.2 TLSv1.3;",
            "ssl_session_cache off;",
            "ssl_session_tickets off;",
            "worker_processes 1;",
            "worker_shutdown_timeout 1h;",
            "map_hash_bucket_size 1024;",
            "error_log stderr",
        ):
            assert line in text, f"{name}: {line}"
        assert not re.search(r"ssl_certificate(_key)? \$", text)


def test_the_map_of_clients_refuses_by_default() -> None:
    text = cases()["mtls-two-ports"]

    assert re.search(r'map "\$ssl_client_verify:\$ssl_client_s_dn" \$podtls_client \{\s+default refused;', text)
    assert text.count("ssl_verify_client on;") == 2
    assert "ssl_verify_client" not in cases()["tls-one-port"]


@pytest.mark.parametrize("error", EDGE_ERRORS, ids=lambda error: str(error.code))
def test_a_response_of_the_edge_proxy_is_a_status_that_fits_into_quotes(error: EdgeError) -> None:
    body = encode_body(error, 10)

    assert not set(body) & set("'$\\\n")
    status = json.loads(body)
    assert (status["kind"], status["apiVersion"], status["status"]) == ("Status", "v1", "Failure")
    assert status["message"].startswith("podtls: ")
