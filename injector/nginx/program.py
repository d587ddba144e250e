"""The Nginx program: what its build can do, and whether it accepts a configuration. The only place that runs it."""

import os
import re
import subprocess
from pathlib import Path
from typing import Final

from contract.names import NGINX_FILE, PREFIX
from injector.errors import NginxError

OLDEST: Final = (1, 26)  # The release of Debian 13 and of our image; nothing here is tried with an older one.

_SECONDS: Final = 30  # `nginx -t` takes 10 ms; one that takes this long hangs


def stream_module() -> Path | None:
    """The stream module to load, None where it is built in. Raises NginxError when Nginx is too old or has none."""
    return find_stream_module(_run("-V").stderr)


def find_stream_module(version: str) -> Path | None:
    """Read the same out of what `nginx -V` prints."""
    _check_version(version)
    options = version.split()
    if "--with-stream" in options:
        return None
    path = re.search(r"--modules-path=(/[\w./-]+)", version)
    if "--with-stream=dynamic" not in options or path is None:
        raise NginxError("this nginx has no stream module; on Debian: apt-get install libnginx-mod-stream")
    return Path(path[1]) / "ngx_stream_module.so"


def _check_version(version: str) -> None:
    found = re.search(r"nginx version: \S+?/((\d+)\.(\d+)\S*)", version)
    if found is None or (int(found[2]), int(found[3])) < OLDEST:
        oldest, release = ".".join(map(str, OLDEST)), found[1] if found else "of no known version"
        raise NginxError(f"nginx {oldest} or newer is needed; this one is {release}")


def test(directory: Path) -> None:
    """Have Nginx test the generation in this directory (`nginx -t`); raise NginxError with its own words."""
    run = directory.parent
    result = _run("-t", "-q", "-p", str(run), "-e", "stderr", "-c", str(directory / NGINX_FILE))
    if result.returncode != 0:
        complaint = re.search(r"\[(?:emerg|alert)\] (?:[0-9#]+: )?(.*)", result.stderr)
        said = complaint[1][:600] if complaint else f"exit code {result.returncode}"
        raise NginxError(f"nginx refuses the configuration: {said}")


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    path = f"{PREFIX}/bin{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    try:
        return subprocess.run(
            ["nginx", *arguments],
            env={**os.environ, "PATH": path},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NginxError(f"nginx cannot be run: {error}") from error
