"""The Debian base that images are built on here, where nothing can be pulled: made by debootstrap, once."""

import re
import shutil
import subprocess
from pathlib import Path

from lab.cluster.cache import fingerprint
from lab.cluster.errors import ClusterError
from lab.cluster.images import Image, cached, commit, run_isolated

CODENAME = "bookworm"
# What the public slim images leave out as well; packages installed later leave it out, too.
EXCLUDED = ("doc", "info", "locale", "man")


def build_base() -> Image:
    """A minimal Debian, from the mirror that this machine's apt uses. ClusterError when apt knows of none."""

    def fill(folder: Path) -> None:
        root = folder / "root"
        sources = _apt_sources()
        mirror = sources[0].split()[1]
        run_isolated(["debootstrap", "--variant=minbase", CODENAME, str(root), mirror], "debootstrap")
        (root / "etc/apt/sources.list").write_text("".join(f"{line}\n" for line in sources))
        _slim(root)
        commit(name, root, target="/", setting="--cmd=/bin/sh")

    name = f"localhost/podtls-base:{CODENAME}"
    return cached(name, fill, key=fingerprint([Path(__file__)]))


def _apt_sources() -> list[str]:
    # Printed by apt itself, whatever the format and place of its source files; the first is the main archive.
    layout = "deb $(REPO_URI) $(RELEASE) $(COMPONENT)"
    command = ["apt-get", "indextargets", "--format", layout, "Created-By: Packages", "Origin: Debian"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    sources = [line for line in lines if re.search(rf" {CODENAME}\S* main$", line)]
    if not any(line.endswith(f" {CODENAME} main") for line in sources):
        raise ClusterError(f"apt knows no source of Debian {CODENAME}; add one and run apt-get update")
    return sorted(sources, key=lambda line: line.split()[2])


def _slim(root: Path) -> None:
    rules = "".join(f"path-exclude /usr/share/{name}/*\n" for name in EXCLUDED)
    (root / "etc/dpkg/dpkg.cfg.d/slim").write_text(rules)
    for name in EXCLUDED:
        shutil.rmtree(root / "usr/share" / name)
        (root / "usr/share" / name).mkdir()
    for download in [*root.glob("var/cache/apt/archives/*.deb"), *root.glob("var/lib/apt/lists/*Packages")]:
        download.unlink()
