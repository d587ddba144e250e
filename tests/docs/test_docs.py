"""What the documents say is so: settings, commands, links, and what the two first commands are."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ca.api import kube
from ca.errors import ConfigurationError
from ca.settings import Settings as CASettings
from podtls.__main__ import cli
from serving.settings import ServerSettings
from webhook.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("docs/adr/*.md")])
README = (ROOT / "README.md").read_text()
VARIABLE = re.compile(r"\b(?:PODTLS_[A-Z_]+|PROMETHEUS_MULTIPROC_DIR|KUBECONFIG)\b")


def variables_of_table(section: str) -> set[str]:
    text = README.partition(section)[2].partition("\n\n")[2].partition("\n\n")[0]
    return {name for row in text.splitlines() for name in VARIABLE.findall(row.split("|")[1])}


class Environment(dict[str, str]):
    """An environment that remembers which variables somebody asked for."""

    def __init__(self, **variables: str) -> None:
        super().__init__(variables)
        self.asked: set[str] = set()

    def __getitem__(self, name: str) -> str:
        self.asked.add(name)
        return super().__getitem__(name)

    def __contains__(self, name: object) -> bool:
        self.asked.add(str(name))
        return super().__contains__(name)

    def get(self, name: str, default: Any = None) -> Any:
        self.asked.add(name)
        return super().get(name, default)


def test_the_table_of_the_webhook_is_what_its_settings_read() -> None:
    environment = Environment(PODTLS_INIT_IMAGE="podtls-init:1")

    Settings.from_env(environment)
    ServerSettings.from_env(environment)

    assert variables_of_table("The webhook reads these environment variables") == environment.asked


def test_the_table_of_the_ca_is_what_its_settings_read(tmp_path: Path) -> None:
    environment = Environment(KUBECONFIG=str(tmp_path / "missing"))

    CASettings.from_env(environment)
    ServerSettings.from_env(environment)
    with pytest.raises(ConfigurationError, match=r"^kubeconfig "):
        kube.connect(environment)

    assert variables_of_table("The CA reads these") == environment.asked


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
