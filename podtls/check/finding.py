"""What one check found, in two lines for a person: what is so, and what to do. Values only."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

Level = Literal["ok", "warning", "problem"]


@dataclass(frozen=True, slots=True)
class Finding:
    """`check` names the part that was looked at; `do` is empty where there is nothing to do."""

    level: Level
    check: str
    what: str
    do: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """All findings of one `podtls check`; `installed` is whether anything of podtls is in the cluster at all."""

    installed: bool
    findings: tuple[Finding, ...]

    def count(self, level: Level) -> int:
        """How many findings are of this level."""
        return sum(finding.level == level for finding in self.findings)

    def to_json(self) -> dict[str, Any]:
        """As `-o json` prints it."""
        findings = [asdict(finding) for finding in self.findings]
        return {
            "installed": self.installed,
            "problems": self.count("problem"),
            "warnings": self.count("warning"),
            "findings": findings,
        }


def ok(check: str, what: str) -> Finding:
    """All is well."""
    return Finding("ok", check, what)


def warning(check: str, what: str, do: str) -> Finding:
    """It works, but somebody should look at it."""
    return Finding("warning", check, what, do)


def problem(check: str, what: str, do: str) -> Finding:
    """It does not work, or does not protect."""
    return Finding("problem", check, what, do)


def unless(found: Sequence[Finding], check: str, what: str) -> list[Finding]:
    """The findings; where there is none, that all is well."""
    return list(found) or [ok(check, what)]
