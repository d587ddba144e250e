import pytest

from podtls.demo import sandbox


@pytest.fixture(scope="session")
def no_sandbox_because() -> str:
    """Why this machine lets us make no namespaces, "" when it does. It is tried, once."""
    return sandbox.why_not()
