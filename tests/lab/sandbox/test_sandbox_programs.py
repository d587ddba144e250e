"""What is found on this machine, and what is said when it is not there or refuses."""

import io
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lab.sandbox.errors import SandboxError
from lab.sandbox.linux import enclosure, kernel, launch, network, programs
from lab.sandbox.node import running_node
from tests.fakes import FakeClusterState


def a_program(folder: Path, name: str, script: str) -> Path:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="ascii")
    path.chmod(0o755)
    return path


def test_the_interpreter_has_its_folders_its_links_and_our_source() -> None:
    found = programs.find_interpreter()

    assert found.executable == Path(sys.executable)
    assert {Path(sys.prefix), Path(sys.base_prefix)} <= set(found.folders)
    assert Path(programs.__file__).parents[3] in found.source_roots
    assert all(link.is_symlink() for link, _ in found.links)


def test_packages_kept_outside_of_the_interpreter_are_seen_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = tmp_path / "site-packages"
    elsewhere.mkdir()
    monkeypatch.syspath_prepend(str(elsewhere))

    found = programs.find_interpreter()

    assert elsewhere in found.folders
    assert elsewhere in found.source_roots


def test_a_folder_that_this_user_may_not_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "gone"))

    with pytest.raises(SandboxError, match=f"{tmp_path}/gone cannot be read by user {os.getuid()}"):
        programs.find_interpreter()


def test_a_package_of_ours_that_is_not_installed_is_named() -> None:
    with pytest.raises(SandboxError, match="package podtls_of_tomorrow is not installed"):
        programs.find_interpreter(["podtls_of_tomorrow"])


@pytest.mark.parametrize(
    ("call", "asked"),
    [
        pytest.param(lambda: kernel.mount("tmpfs", "/no/such"), "mount tmpfs /no/such", id="mount"),
        pytest.param(lambda: kernel.bind("/no/such", "/no/where"), "bind /no/such to /no/where", id="bind"),
        pytest.param(lambda: kernel.make_read_only("/no/such"), "make /no/such read-only", id="read-only"),
        pytest.param(lambda: kernel.make_private("/no/such"), "make /no/such private", id="private"),
        pytest.param(lambda: kernel.unmount("/no/such"), "unmount /no/such", id="unmount"),
        pytest.param(lambda: kernel.swap_root("/no/such", "/no/such/old"), "make /no/such the root", id="root"),
        pytest.param(lambda: kernel.set_hostname("x" * 65), "set host name xxx", id="host name"),
        pytest.param(lambda: kernel.die_with_parent(999), "tie this process to its parent", id="parent"),
        pytest.param(lambda: kernel.enter(0, 1), "enter a namespace", id="namespace"),
        pytest.param(lambda: kernel.unshare(1), "unshare", id="unshare"),
        pytest.param(lambda: kernel.map_user(0, 0, outside=(0, 0)), None, id="map of users"),
    ],
)
def test_what_the_kernel_refuses_is_named(call: Callable[[], None], asked: str | None) -> None:
    with pytest.raises(OSError, match=r".") as refused:
        call()

    assert asked is None or str(refused.value.filename).startswith(asked)


def test_keeping_all_capabilities_drops_none() -> None:
    before = Path("/proc/self/status").read_text(encoding="utf-8").partition("CapBnd")[2][:30]

    kernel.limit_capabilities(frozenset(range(64)))

    assert Path("/proc/self/status").read_text(encoding="utf-8").partition("CapBnd")[2][:30] == before


@pytest.mark.parametrize("mode", ["container", "exec"])
def test_a_launcher_that_cannot_enter_says_why_and_ends_like_a_container_that_never_started(
    mode: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = {"namespaces": {"net": "/proc/0/ns/net"}}
    monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps(plan)))

    assert launch.main(mode) == 128

    assert "No such file or directory" in capsys.readouterr().err


def test_small_steps_make_what_they_say_and_leave_what_is_there(tmp_path: Path) -> None:
    steps: list[dict[str, Any]] = [
        {"do": "directory", "target": str(tmp_path / "a/b"), "mode": 0o1777},
        {"do": "file", "target": str(tmp_path / "etc/hosts"), "text": "here\n", "mode": 0o640},
        {"do": "link", "target": str(tmp_path / "c/link"), "to": "first"},
        {"do": "link", "target": str(tmp_path / "c/link"), "to": "second"},
    ]

    for step in steps:
        launch._STEPS[step["do"]](step)

    assert (tmp_path / "a/b").stat().st_mode & 0o7777 == 0o1777
    assert (tmp_path / "etc/hosts").read_text(encoding="ascii") == "here\n"
    assert (tmp_path / "etc/hosts").stat().st_mode & 0o7777 == 0o640
    assert str((tmp_path / "c/link").readlink()) == "first"


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        pytest.param("echo Operation not supported >&2; exit 2", "-batch -: Operation not supported", id="fails"),
        pytest.param("exec sleep 600", "nothing for 0.5 s", id="hangs"),
    ],
)
def test_a_network_that_cannot_be_made_is_told(
    script: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_program(tmp_path, "ip", script)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    with pytest.raises(SandboxError, match=reason):
        network._ip("link add podtls0 type bridge", seconds=0.5)


def test_a_node_outside_of_a_sandbox_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(enclosure.INSIDE, raising=False)

    with pytest.raises(SandboxError, match="a node runs in a sandbox only"), running_node(FakeClusterState()):
        signal.pause()
