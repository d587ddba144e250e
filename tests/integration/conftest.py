"""Fixtures of the tests that cross packages: those of the injector's, and the webhook behind its real front."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.injector.authority import Authority
from tests.injector.processes import Nginx, builds
from tests.injector.unprivileged import own


@pytest.fixture(scope="session")
def authority() -> Authority:
    """Who signs the front's certificate."""
    return Authority.create()


@pytest.fixture
def workshop() -> Iterator[Path]:
    """A folder that the unprivileged user can reach and owns; its path is short enough for a unix socket."""
    path = Path(tempfile.mkdtemp(prefix="podtls-test-"))
    path.chmod(0o755)
    own(path)
    yield path
    shutil.rmtree(path)


@pytest.fixture(params=["system", "static"])
def nginx(request: pytest.FixtureRequest) -> Nginx:
    """Each build of Nginx that is there; one that is not is skipped aloud."""
    found = builds().get(request.param)
    if found is None:
        pytest.skip(f"no {request.param} nginx with a stream module on this machine")
    return found
