"""What the pod's network and its Nginx are: read from files and from `nginx -V`."""

from pathlib import Path

import pytest

from injector.errors import NginxError, SettingsError
from injector.nginx import program
from injector.nginx.network import listen_addresses, resolvers
from lab.nginx import Nginx


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("search shop.svc.cluster.local\nnameserver 10.96.0.10\n", ("10.96.0.10",), id="a cluster"),
        pytest.param("nameserver 10.0.0.1\nnameserver\tfd00::a\n", ("10.0.0.1", "[fd00::a]"), id="two families"),
        pytest.param("nameserver [127.0.0.1]:5353\n", ("127.0.0.1:5353",), id="a port, as BSD spells it"),
        pytest.param("nameserver fe80::1%eth0\nnameserver 10.0.0.1\n", ("10.0.0.1",), id="scoped"),
        pytest.param("nameserver 10.0.0.1;\n# nameserver 1.1.1.1\nnameserver\n", ("127.0.0.1",), id="none usable"),
        pytest.param("", ("127.0.0.1",), id="empty"),
    ],
)
def test_name_servers_are_spelt_for_nginx(tmp_path: Path, text: str, expected: tuple[str, ...]) -> None:
    file = tmp_path / "resolv.conf"
    file.write_text(text)

    assert resolvers(file) == expected


def test_a_resolv_conf_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"absent: cannot be read: No such file"):
        resolvers(tmp_path / "absent")


def test_ipv6_is_listened_on_where_the_kernel_has_it(tmp_path: Path) -> None:
    file = tmp_path / "if_inet6"
    without_file = listen_addresses(file)
    file.write_text("")
    disabled = listen_addresses(file)
    file.write_text("00000000000000000000000000000001 01 80 10 80 lo\n")

    assert without_file == disabled == ("0.0.0.0",)  # noqa: S104 - nobody binds it
    assert listen_addresses(file) == ("0.0.0.0", "[::]")  # noqa: S104 - as above


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        pytest.param("--with-stream --with-stream_ssl_module", None, id="built in"),
        pytest.param(
            "--modules-path=/usr/lib/nginx/modules --with-stream=dynamic",
            Path("/usr/lib/nginx/modules/ngx_stream_module.so"),
            id="a module",
        ),
    ],
)
def test_the_stream_module_is_loaded_only_where_it_is_one(options: str, expected: Path | None) -> None:
    assert program.find_stream_module(version("nginx/1.26.0", options)) == expected


def test_an_nginx_without_stream_is_refused() -> None:
    with pytest.raises(NginxError, match="has no stream module"):
        program.find_stream_module(version("nginx/1.26.3", "--with-stream_ssl_module --modules-path=/x"))


@pytest.mark.parametrize(
    ("release", "found"),
    [
        pytest.param("nginx/1.25.5", "this one is 1.25.5", id="a minor release too old"),
        pytest.param("nginx/1.9.15", "this one is 1.9.15", id="numbers and not text are compared"),
        pytest.param("1", "this one is of no known version", id="no version that we know"),
    ],
)
def test_an_nginx_that_is_too_old_is_refused(release: str, found: str) -> None:
    with pytest.raises(NginxError, match=f"nginx 1.26 or newer is needed; {found}"):
        program.find_stream_module(version(release, "--with-stream"))


@pytest.mark.parametrize("release", ["nginx/2.0.0", "openresty/1.27.1.2"])
def test_a_newer_nginx_of_any_maker_is_accepted(release: str) -> None:
    assert program.find_stream_module(version(release, "--with-stream")) is None


def test_the_builds_of_this_machine_are_understood(nginx: Nginx, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(nginx.program.parent))

    assert program.stream_module() == nginx.stream_module


def test_no_nginx_at_all_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(NginxError, match=r"nginx cannot be run: .*No such file"):
        program.stream_module()


def test_an_nginx_that_dies_without_a_word_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake = tmp_path / "nginx"
    fake.write_text("#!/bin/sh\nexit 3\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")

    with pytest.raises(NginxError, match="refuses the configuration: exit code 3"):
        program.test(tmp_path)


def version(release: str, options: str) -> str:
    """What `nginx -V` prints."""
    return f"nginx version: {release}\nbuilt with OpenSSL 3.5.7 9 Jun 2026\nconfigure arguments: {options}\n"
