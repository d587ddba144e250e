"""The wheel and the sdist: what is in them, and that the installed commands work outside of the repository."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pytest

from contract.names import VERSION
from tests.webhook.bundles import bundle_pem

REPOSITORY = Path(__file__).parents[2]
# What is made in a working copy and is not part of it.
MADE = shutil.ignore_patterns(
    ".*cache", ".git", ".venv", ".hypothesis", ".coverage*", "__pycache__", "build", "*.egg-info"
)
SHIPPED = {"audit", "ca", "contract", "documents", "injector", "manifests", "podtls", "serving", "webhook"}
WAYS = "podtls: no kubeconfig: give --kubeconfig FILE, set KUBECONFIG, or write ~/.kube/config\n"
DEPLOYMENT = """\
# The shop's front page.
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  template:
    spec:
      containers:
        - name: web
          image: "example.test/web:1"  # Built every night.
"""
IMPORT_ALL = """\
import importlib, pkgutil, sys
for name in sys.argv[1:]:
    package = importlib.import_module(name)
    for module in pkgutil.walk_packages(package.__path__, f"{name}."):
        print(importlib.import_module(module.name).__file__)
print(sorted(name for name in sys.modules if name.partition(".")[0] in {"lab", "tests"}))
"""


@dataclass(frozen=True)
class Installed:
    """A fresh environment with the wheel, and an empty folder to work in."""

    scripts: Path
    folder: Path

    def run(self, *command: str | Path, text: str = "") -> subprocess.CompletedProcess[str]:
        """Run one of its programs in the empty folder, as somebody without any cluster."""
        program, *arguments = command
        return subprocess.run(
            [self.scripts / program, *arguments],
            capture_output=True,
            text=True,
            input=text,
            check=False,
            timeout=60,
            cwd=self.folder,
            env={"HOME": str(self.folder), "PATH": os.environ["PATH"]},
        )


def build(source: Path, target: Path) -> Path:
    """A wheel of a source folder, made by pip without network, as the images do it."""
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check", "--quiet"]
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", *options, "--wheel-dir", target, source], check=True, timeout=100
    )
    (wheel,) = target.glob("*.whl")
    return wheel


def names(wheel: Path) -> list[PurePosixPath]:
    with zipfile.ZipFile(wheel) as opened:
        return [PurePosixPath(name) for name in opened.namelist()]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository, so that building leaves nothing in it, and nothing made here gets in."""
    return Path(shutil.copytree(REPOSITORY, tmp_path_factory.mktemp("source") / "podtls", ignore=MADE))


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(source, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def sdist(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sdist, unpacked."""
    made, unpacked = tmp_path_factory.mktemp("sdist"), tmp_path_factory.mktemp("unpacked")
    program = f"from setuptools import build_meta; build_meta.build_sdist({str(made)!r})"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=100, cwd=source, capture_output=True)
    # By tar, since the safe filter of tarfile came with Python 3.11.4 only.
    archive = made / f"podtls-{VERSION}.tar.gz"
    subprocess.run(["tar", "--extract", "--gzip", "--file", archive, "--directory", unpacked], check=True, timeout=100)
    return unpacked / f"podtls-{VERSION}"


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with the wheel. What the wheel needs is taken from this one, but for podtls itself.

    A folder that a .pth file names is searched, but .pth files in it are not read: the editable podtls stays unseen.
    """
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False, symlinks=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "needed.pth").write_text(sysconfig.get_path("purelib"))
    options = ["--no-deps", "--no-index", "--disable-pip-version-check", "--quiet", "--ignore-installed"]
    python = folder / "bin/python"
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", python, "install", *options, wheel], check=True, timeout=100
    )
    return folder


@pytest.fixture
def installed(environment: Path, tmp_path: Path) -> Installed:
    return Installed(environment / "bin", tmp_path)


def test_wheel_has_the_rooms_that_are_shipped_and_neither_lab_nor_tests(wheel: Path) -> None:
    (metadata,) = {name.parts[0] for name in names(wheel)} - SHIPPED

    assert metadata == f"podtls-{VERSION}.dist-info"


def test_wheel_has_every_file_of_the_rooms(wheel: Path, source: Path) -> None:
    there = {path.relative_to(source).as_posix() for room in SHIPPED for path in (source / room).rglob("*.*")}

    assert {str(name) for name in names(wheel) if name.parts[0] in SHIPPED} == there


def test_metadata_names_version_licence_and_the_pythons_of_ci(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as opened:
        metadata = opened.read(f"podtls-{VERSION}.dist-info/METADATA").decode()

    fields = dict(re.findall(r"^(Version|License-Expression|Requires-Python): (.*)$", metadata, re.MULTILINE))
    pythons = re.findall(r"^Classifier: Programming Language :: Python :: (3\.\d+)$", metadata, re.MULTILINE)
    assert fields == {"Version": VERSION, "License-Expression": "Apache-2.0", "Requires-Python": ">=3.11"}
    assert pythons == ["3.11", "3.13"]


def test_every_module_of_the_wheel_is_imported_without_the_repository(installed: Installed) -> None:
    done = installed.run("python", "-c", IMPORT_ALL, *sorted(SHIPPED))

    *files, strangers = done.stdout.splitlines()
    assert (done.returncode, strangers) == (0, "[]"), done.stderr
    assert {Path(file).is_relative_to(installed.scripts.parent) for file in files} == {True}
    assert len(files) > 100


def test_sdist_has_tests_manifests_and_lab_and_makes_the_same_wheel(
    sdist: Path, source: Path, wheel: Path, tmp_path: Path
) -> None:
    assert {*_files(sdist)} == {*_files(source), "PKG-INFO"}
    assert {"tests/packaging/test_wheel.py", "manifests/base/ca.yaml", "lab/__init__.py", "Makefile"} <= {
        *_files(sdist)
    }
    assert sorted(names(build(sdist, tmp_path))) == sorted(names(wheel))


def _files(folder: Path) -> Iterator[str]:
    paths = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return (path.as_posix() for path in paths if not path.parts[0].endswith(".egg-info") and path.parts[0] != "build")


@pytest.mark.parametrize(
    ("command", "printed"),
    [
        pytest.param(["podtls", "--help"], "Usage: podtls", id="help"),
        pytest.param(["podtls", "--version"], f"podtls, version {VERSION}\n", id="version"),
        pytest.param(["podtls-ca", "--help"], "podtls-ca", id="ca"),
        pytest.param(["podtls-injector", "--help"], "podtls-injector init", id="injector"),
    ],
)
def test_commands_of_the_wheel_start(installed: Installed, command: Sequence[str], printed: str) -> None:
    done = installed.run(*command)

    assert (done.returncode, done.stderr) == (0, "")
    assert printed in done.stdout


def test_inject_of_the_wheel_injects_a_manifest_with_comments(installed: Installed) -> None:
    (installed.folder / "ca.crt").write_bytes(bundle_pem())
    options = ["--image", "example.test/podtls-init:1", "--bundle", "ca.crt"]

    done = installed.run("podtls", "inject", "-f", "-", *options, text=DEPLOYMENT)

    assert (done.returncode, done.stderr) == (0, "")
    assert "podtls-nginx" in done.stdout
    assert [line for line in DEPLOYMENT.splitlines() if line not in done.stdout.splitlines()] == []


@pytest.mark.parametrize("command", ["check", "status"])
def test_commands_that_need_a_cluster_say_how_to_name_one(installed: Installed, command: str) -> None:
    done = installed.run("podtls", command)

    assert (done.returncode, done.stdout, done.stderr) == (64, "", WAYS)


def test_audit_list_of_the_wheel_reads_a_log(installed: Installed) -> None:
    (installed.folder / "evidence.jsonl").touch()

    done = installed.run("podtls", "audit", "list", "evidence.jsonl")

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "podtls: no record matches\n")


def test_manifests_of_the_wheel_are_written(installed: Installed, source: Path) -> None:
    done = installed.run("podtls", "manifests", "here", "--registry", "example.test")

    assert (done.returncode, done.stderr) == (0, "")
    assert "  kubectl apply -k here/overlays/default\n" in done.stdout
    written = installed.folder / "here/base/ca.yaml"
    assert written.read_bytes() == (source / "manifests/base/ca.yaml").read_bytes()
