"""Every lock installs on any day: with an old pip and the newest one, while the index has newer versions of everything.

pip 23 asked the index for `coverage[toml]` although the lock pins coverage, found a newer version there and refused it
for want of a hash. `make install-lock` is run as it is, so what protects us from that is tested, not copied.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.packaging.package_index import serve_index
from tests.packaging.wheels import DownloadError, can_download, locked_wheels, newest_pip_wheel, pip_wheel

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

REPOSITORY = Path(__file__).resolve().parents[2]
LOCKS = sorted((REPOSITORY / "requirements").glob("*.txt"))
# The pip of `python3 -m venv` on Debian 12. It runs on no Python after 3.11.
OLD_PIP = "23.0.1"
OLD_PYTHON = "3.11"
THIS_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


@dataclass(frozen=True)
class Installer:
    """A pip, and the Python that it runs on."""

    wheel: Path
    interpreter: str
    python: str


@pytest.fixture(scope="module", params=[OLD_PIP, "newest"])
def installer(request: pytest.FixtureRequest) -> Installer:
    try:
        if request.param == "newest":
            return Installer(newest_pip_wheel(), sys.executable, THIS_PYTHON)
        return Installer(pip_wheel(OLD_PIP), _old_interpreter(), OLD_PYTHON)
    except DownloadError as error:
        return pytest.skip(f"pip {request.param} is neither in the cache nor can it be downloaded: {error}")


@pytest.fixture(scope="module")
def index(installer: Installer) -> Iterator[str]:
    try:
        wheels = locked_wheels(LOCKS, installer.python)
    except DownloadError as error:
        if can_download():
            raise
        pytest.skip(f"the wheels of the locks are not in the cache, and the index cannot be reached: {error}")
    with serve_index(wheels) as url:
        yield url


@pytest.fixture
def environment() -> Iterator[Path]:
    # Not pytest's tmp_path, which keeps the last three.
    with tempfile.TemporaryDirectory(dir=_memory()) as folder:
        yield Path(folder, "environment")


@pytest.mark.parametrize("lock", [pytest.param(lock, id=lock.stem) for lock in LOCKS])
def test_lock_installs_while_the_index_has_newer_versions_of_all_packages(
    lock: Path, installer: Installer, index: str, environment: Path
) -> None:
    packages = _make_environment(environment, installer)

    done = subprocess.run(
        ["make", "install-lock", f"LOCK={lock.stem}", f"VENV={environment}"],
        cwd=REPOSITORY,
        env=_environment_variables(index),
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert _installed(packages) == _pinned(lock, installer.python)


@pytest.mark.parametrize("lock", [pytest.param(lock, id=lock.stem) for lock in LOCKS if lock.stem != "dev"])
def test_images_install_their_locks_as_the_makefile_does(lock: Path) -> None:
    dockerfiles = [(REPOSITORY / f"Dockerfile.{image}").read_text() for image in ("init", "webhook")]
    commands = [
        command
        for text in dockerfiles
        for command in re.split(r"&&|;|\n(?! )", text.replace("\\\n", " "))
        if re.search(rf"\binstall\b.* -r \S*requirements/{lock.stem}\.txt", command)
    ]

    assert commands
    assert [command for command in commands if not {"--require-hashes", "--no-deps"} <= set(command.split())] == []
    assert all("pip check" in text for text in dockerfiles)


def _old_interpreter() -> str:
    if THIS_PYTHON == OLD_PYTHON:
        return sys.executable
    interpreter = shutil.which(f"python{OLD_PYTHON}")
    if interpreter is None or subprocess.run([interpreter, "-c", ""], capture_output=True, check=False).returncode:
        pytest.skip(f"pip {OLD_PIP} needs Python {OLD_PYTHON}, which is not on this machine")
    return interpreter


def _memory() -> Path | None:
    """A file system in memory if there is one with room: an environment has up to 26,000 files."""
    memory = Path("/dev/shm")
    return memory if os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 2**30 else None


def _make_environment(folder: Path, installer: Installer) -> Path:
    """A virtual environment with this pip alone; its site-packages."""
    subprocess.run([installer.interpreter, "-m", "venv", "--without-pip", folder], check=True)
    packages = folder / "lib" / f"python{installer.python}" / "site-packages"
    with zipfile.ZipFile(installer.wheel) as wheel:
        wheel.extractall(packages)
    return packages


def _environment_variables(index: str) -> Mapping[str, str]:
    """As a stranger's shell has them: neither this machine's settings of pip nor those of a make that runs us."""
    ours = re.compile(r"PIP_|MAKE|MFLAGS|GNUMAKEFLAGS|PYTHON|VIRTUAL_ENV|.*_proxy$", re.IGNORECASE)
    inherited = {name: value for name, value in os.environ.items() if not ours.match(name)}
    # Not compiled: these packages are not run, and it takes half of the time.
    settings = {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_CACHE_DIR": "1", "PIP_COMPILE": "0", "PIP_INDEX_URL": index}
    return inherited | settings


def _pinned(lock: Path, python: str) -> dict[str, str]:
    """What the lock pins for this machine and a Python of this version: project and version."""
    lines = [line.removesuffix("\\") for line in lock.read_text().splitlines() if re.match(r"\w", line)]
    requirements = [Requirement(line.strip()) for line in lines]
    target = {"python_version": python, "python_full_version": f"{python}.0"}
    return {
        canonicalize_name(requirement.name): str(requirement.specifier).removeprefix("==")
        for requirement in requirements
        if requirement.marker is None or requirement.marker.evaluate(target)
    }


def _installed(packages: Path) -> dict[str, str]:
    found = {canonicalize_name(package.name): package.version for package in distributions(path=[str(packages)])}
    return {name: version for name, version in found.items() if name != "pip"}
