"""What one check found, in two lines for a person: what is so, and what to do. Values only."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

Level = Literal["ok", "warning", "problem"]


@dataclass(frozen=True, slots=True)
class CheckFinding:
    """`check` names the part that was checked; `do` is empty where there is nothing to do."""

    level: Level
    check: str
    what: str
    do: str = ""


@dataclass(frozen=True, slots=True)
class CheckReport:
    """All findings of one `podtls check`; `installed` is whether anything of podtls is in the cluster at all."""

    installed: bool
    findings: tuple[CheckFinding, ...]

    def count(self, level: Level) -> int:
        """How many findings are of this level."""
        return sum(finding.level == level for finding in self.findings)

    def to_json(self) -> dict[str, Any]:
        """As `-o json` prints it."""
        return {
            "installed": self.installed,
            "problems": self.count("problem"),
            "warnings": self.count("warning"),
            "findings": [asdict(finding) for finding in self.findings],
        }


def ok(check: str, what: str) -> CheckFinding:
    """All is well."""
    return CheckFinding("ok", check, what)


def warning(check: str, what: str, do: str) -> CheckFinding:
    """It works, but somebody should check it."""
    return CheckFinding("warning", check, what, do)


def problem(check: str, what: str, do: str) -> CheckFinding:
    """It does not work, or does not protect."""
    return CheckFinding("problem", check, what, do)


def ok_unless(found: Sequence[CheckFinding], check: str, what: str) -> list[CheckFinding]:
    """The findings; where there is none, that all is well."""
    return list(found) or [ok(check, what)]
