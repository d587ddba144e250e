"""sidecar.sh as tests run it: a process of its own, unprivileged, with a log and a way in."""

import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.injector.processes import eventually
from tests.injector.unprivileged import ROOT, command, user

SIDECAR = ROOT / "injector" / "sidecar.sh"


@dataclass
class Sidecar:
    """A sidecar that runs, and the way in."""

    shell: subprocess.Popen[bytes]
    port: int
    run: Path
    log: Path
    environ: dict[str, str]
    context: ssl.SSLContext

    def ready(self) -> bool:
        return call(["sh", SIDECAR, "ready"], self.environ) == 0

    def master(self) -> int:
        return int((self.run / "nginx.pid").read_text())

    def logged(self, text: str) -> None:
        eventually(lambda: text in self.log.read_text(), self.log)

    def ends(self) -> int:
        eventually(lambda: self.shell.poll() is not None, self.log)
        return self.shell.wait(timeout=1)


def call(arguments: list[str | Path], environ: dict[str, str]) -> int:
    """Run to the end, unprivileged."""
    return subprocess.run(
        command(arguments), env=environ, check=False, timeout=60, capture_output=True, **user()
    ).returncode
