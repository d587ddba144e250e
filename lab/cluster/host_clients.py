"""What this machine's pip and apt are configured to, so that the steps of an image build reach what the host reaches.

Everything is handed in by read-only mounts, so that of all this only empty mount points can stay in an image.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

# Not below /etc/ssl/certs: a build step that installs the package ca-certificates writes that folder anew.
CA_BUNDLE = Path("/etc/host-ca.crt")
PIP_CONFIG = Path("/etc/pip.conf")
APT_CONFIG = Path("/etc/apt/apt.conf.d/90host")
APT_SETTINGS = re.compile(r'^Acquire::(?:https?::Proxy|Check-\S+) "[^"]+";$', re.MULTILINE)


def client_mounts(folder: Path) -> list[str]:
    """Mounts as `buildah --volume` takes them; generated files are written to the folder."""
    return [f"{source}:{target}:ro" for source, target in _mounts(folder)]


def _mounts(folder: Path) -> Iterator[tuple[Path, Path]]:
    pip, apt = _pip_settings(), _apt_settings()
    bundle = Path(pip.get("cert") or os.environ.get("SSL_CERT_FILE") or "/etc/ssl/certs/ca-certificates.crt")
    if bundle.exists():
        yield bundle.resolve(), CA_BUNDLE
        pip["cert"] = str(CA_BUNDLE)
        apt.append(f'Acquire::https::CaInfo "{CA_BUNDLE}";')
    yield _write(folder / "pip.conf", ["[global]", *(f"{key} = {value}" for key, value in pip.items())]), PIP_CONFIG
    yield _write(folder / "apt.conf", apt), APT_CONFIG
    for path in {Path(word) for word in pip.get("find-links", "").split() if word.startswith("/")}:
        if path.is_dir() and any(path.iterdir()):
            yield path, path


def _pip_settings() -> dict[str, str]:
    # pip's own view of its files and variables; what it lists later wins. A line reads: global.cert='/a/b.pem'
    pip = [sys.executable, "-m", "pip", "config", "list"]
    lines = subprocess.run(pip, capture_output=True, text=True, check=True).stdout.splitlines()
    settings = [re.fullmatch(r"(?:global|install|:env:)\.([a-z-]+)='(.*)'", line) for line in lines]
    return {match[1]: match[2].replace("\\n", " ") for match in settings if match}


def _apt_settings() -> list[str]:
    dump = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=True).stdout
    return APT_SETTINGS.findall(dump)


def _write(path: Path, lines: list[str]) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines))
    return path
