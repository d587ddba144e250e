"""ServerSettings: what an administrator chooses about the server itself, the same for every app of ours."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from contract.names import APP_SOCKET, ENV_SOCKET, ENV_THREADS, ENV_WORKERS
from serving.errors import SettingsError

# Where the workers of one app share their counters; prometheus_client reads this variable. gunicorn.py sets it.
ENV_METRICS_DIRECTORY: Final = "PROMETHEUS_MULTIPROC_DIR"


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """How gunicorn serves one app."""

    socket: Path
    workers: int
    threads: int

    @classmethod
    def from_env(cls, environment: Mapping[str, str]) -> Self:
        """Reads PODTLS_SOCKET, PODTLS_WORKERS and PODTLS_THREADS; raises SettingsError naming the wrong one."""
        return cls(
            socket=Path(environment.get(ENV_SOCKET, APP_SOCKET)),
            workers=_parse_count(environment, ENV_WORKERS, default=2),
            threads=_parse_count(environment, ENV_THREADS, default=8),
        )


def _parse_count(environment: Mapping[str, str], name: str, *, default: int) -> int:
    text = environment.get(name, str(default))
    if not re.fullmatch("[1-9][0-9]?", text):
        raise SettingsError(f"{name}: got {text!r}, expected a number from 1 to 99")
    return int(text)
