"""Fixtures of the tests that cross packages: those of the injector's, and the webhook behind its real edge proxy."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from operator import attrgetter
from pathlib import Path

import pytest

from lab.nginx import Nginx, find_nginx
from tests.injector.authority import Authority
from tests.injector.processes import usable_builds
from tests.injector.unprivileged import own


@pytest.fixture(scope="session")
def authority() -> Authority:
    """Who signs the edge proxy's certificate."""
    return Authority.create()


@pytest.fixture
def workshop() -> Iterator[Path]:
    """A folder that the unprivileged user can reach and owns; its path is short enough for a unix socket."""
    with _folder() as path:
        yield path


@pytest.fixture(scope="module")
def lasting_workshop() -> Iterator[Path]:
    """The same, for what all tests of a module share."""
    with _folder() as path:
        yield path


@contextmanager
def _folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="podtls-test-"))
    path.chmod(0o755)
    own(path)
    yield path
    shutil.rmtree(path)


@pytest.fixture(params=usable_builds(), ids=attrgetter("origin"))
def nginx(request: pytest.FixtureRequest) -> Nginx:
    """Each Nginx of this machine that can carry app traffic."""
    found: Nginx = request.param
    return found


@pytest.fixture(scope="session")
def any_nginx() -> Nginx:
    """One build, for tests that do not depend on which one it is."""
    return find_nginx()
