"""The Debian base that images are built on here, where nothing can be pulled: made by debootstrap, once."""

import re
import shutil
import subprocess
from pathlib import Path

from lab.cluster.cache import fingerprint
from lab.cluster.errors import ClusterError
from lab.cluster.images import Image, cached, commit, run_isolated

CODENAME = "trixie"
# What the public slim images leave out as well; packages installed later leave it out, too.
EXCLUDED = ("doc", "info", "locale", "man")


def build_base() -> Image:
    """A minimal Debian, from the mirror that this machine's apt uses. ClusterError when apt knows of none."""

    def fill(folder: Path) -> None:
        root = folder / "root"
        mirrors = _find_mirrors()
        # Without a keyring that knows the release debootstrap only warns, unless it is forced to check.
        options = ["--force-check-gpg", "--variant=minbase"]
        run_isolated(["debootstrap", *options, CODENAME, str(root), mirrors[""]], "debootstrap")
        sources = [f"deb {mirror} {CODENAME}{suffix} main\n" for suffix, mirror in sorted(mirrors.items())]
        (root / "etc/apt/sources.list").write_text("".join(sources))
        _slim(root)
        commit(name, root, target="/", setting="--cmd=/bin/sh")

    name = f"localhost/podtls-base:{CODENAME}"
    (image,) = cached([name], fill, key=fingerprint([Path(__file__)]))
    return image


def _find_mirrors() -> dict[str, str]:
    """Where apt takes Debian from, by the suite's suffix: "", -updates, -security. A mirror has every release."""
    # Printed by apt itself, whatever the format and place of its source files.
    targets = ["Created-By: Packages", "Origin: Debian", "Component: main"]
    command = ["apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE)", *targets]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    found = [re.fullmatch(r"(\S+) [a-z]+(|-updates|-security)", line) for line in lines]
    mirrors = {match[2]: match[1] for match in found if match}
    if "" not in mirrors:
        raise ClusterError("apt knows no mirror of Debian; add one and run apt-get update")
    return mirrors


def _slim(root: Path) -> None:
    rules = "".join(f"path-exclude /usr/share/{name}/*\n" for name in EXCLUDED)
    (root / "etc/dpkg/dpkg.cfg.d/slim").write_text(rules)
    for name in EXCLUDED:
        shutil.rmtree(root / "usr/share" / name)
        (root / "usr/share" / name).mkdir()
    for download in [*root.glob("var/cache/apt/archives/*.deb"), *root.glob("var/lib/apt/lists/*Packages")]:
        download.unlink()
