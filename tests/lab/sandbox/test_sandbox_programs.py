"""What is found on this machine, and what is said when it is not there or refuses."""

import os
import signal
import sys
from pathlib import Path

import pytest

from lab.sandbox.errors import SandboxError
from lab.sandbox.linux import enclosure, programs
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


def test_a_folder_that_this_user_may_not_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "gone"))

    with pytest.raises(SandboxError, match=f"{tmp_path}/gone cannot be read by user {os.getuid()}"):
        programs.find_interpreter()


def test_a_package_of_ours_that_is_not_installed_is_named() -> None:
    with pytest.raises(SandboxError, match="package podtls_of_tomorrow is not installed"):
        programs.find_interpreter(["podtls_of_tomorrow"])


def test_a_node_outside_of_a_sandbox_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(enclosure.INSIDE, raising=False)

    with pytest.raises(SandboxError, match="a node runs in a sandbox only"), running_node(FakeClusterState()):
        signal.pause()
