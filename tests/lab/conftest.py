import os
import subprocess
import sys

import pytest

from lab.sandbox.linux import enclosure

_SECONDS = 20


@pytest.fixture(scope="session")
def no_sandbox_because() -> str:
    """Why this machine lets us make no namespaces, "" when it does. It is tried, once."""
    command = [sys.executable, "-m", enclosure.__name__, "-c", "pass"]
    environment = {**os.environ, **enclosure.importable()}
    tried = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_SECONDS, env=environment)
    return "" if tried.returncode == 0 else tried.stderr.strip()
