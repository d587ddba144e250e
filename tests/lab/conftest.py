import pytest

from lab.sandbox.linux import enclosure


@pytest.fixture(scope="session")
def no_sandbox_because() -> str:
    """Why this machine lets us make no namespaces, "" when it does. It is tried, once."""
    return enclosure.why_not()
