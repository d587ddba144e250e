"""What the documents say is so: settings, commands, links, and what the two first commands are."""

import ast
import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from podtls.__main__ import cli

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("docs/adr/*.md")])
README = (ROOT / "README.md").read_text()
VARIABLE = re.compile(r"\b(?:PODTLS_[A-Z_]+|PROMETHEUS_MULTIPROC_DIR|KUBECONFIG)\b")


def variables_of_table(section: str) -> set[str]:
    text = README.partition(section)[2].partition("\n\n")[2].partition("\n\n")[0]
    return {name for row in text.splitlines() for name in VARIABLE.findall(row.split("|")[1])}


def variables_of_package(package: str) -> set[str]:
    """Every environment variable that a package's code names, spelt out or as a constant of the contract."""
    contract = dict(re.findall(r'^(ENV_\w+): Final = "(\w+)"', (ROOT / "contract/names.py").read_text(), re.MULTILINE))
    found = set()
    for path in (ROOT / package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and VARIABLE.fullmatch(node.value):
                found.add(node.value)
            elif isinstance(node, ast.Name) and node.id in contract:
                found.add(contract[node.id])
    return found


def test_the_table_of_the_webhook_is_what_its_settings_read() -> None:
    written_for_pods = {"PODTLS_TRUST_BUNDLE", "PODTLS_NAMESPACE", "PODTLS_SERVICE_ACCOUNT", "PODTLS_MODE"}
    written_for_pods |= {"PODTLS_PORTS", "PODTLS_UPSTREAMS", "PODTLS_BUDGET"}

    documented = variables_of_table("The webhook reads these environment variables")

    assert documented == variables_of_package("webhook") - written_for_pods


def test_the_table_of_the_ca_is_what_its_settings_read() -> None:
    documented = variables_of_table("The CA reads these")

    assert documented == variables_of_package("ca")


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_between_documents_leads_somewhere(path: Path) -> None:
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)", path.read_text())

    missing = [link for link in links if not (path.parent / link).exists()]

    assert missing == []


def test_the_first_two_commands_are_make_targets() -> None:
    makefile = (ROOT / "Makefile").read_text()

    commands = re.findall(r"^\$ make (\S+)$", README, re.MULTILINE)

    assert commands[:2] == ["demo", "test"]
    assert all(re.search(rf"^{name}:", makefile, re.MULTILINE) for name in commands)


def documented_podtls_commands() -> list[str]:
    texts = [path.read_text() for path in DOCUMENTS]
    return sorted(
        {line.split("#")[0].strip() for text in texts for line in re.findall(r"^\$ (podtls .*)$", text, re.MULTILINE)}
    )


@pytest.mark.parametrize("line", documented_podtls_commands())
def test_every_documented_podtls_command_is_one(line: str) -> None:
    words = shlex.split(line.split("|", maxsplit=1)[0].split(">", maxsplit=1)[0])[1:]

    names = [word for word in words if not word.startswith("-")]
    depth = 2 if names[0] in {"audit", "ca"} else 1
    result = CliRunner().invoke(cli, [*names[:depth], "--help"])

    assert result.exit_code == 0, result.output
    options = [word for word in words if word.startswith("-")]
    assert [option for option in options if not re.search(rf"(^|[\s,]){option}\b", result.output)] == []


def test_no_document_and_no_code_names_a_path_of_one_machine() -> None:
    texts = {path: path.read_text() for path in [*DOCUMENTS, *ROOT.glob("*/*.py"), *ROOT.glob("manifests/**/*.yaml")]}

    named = [str(path) for path, text in texts.items() if re.search(r"(?<![\w.])/(work|root|home)/\w", text)]

    assert named == []
