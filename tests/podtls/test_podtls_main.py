"""The command itself: help, version, start-up, how errors end; as a real process where that matters."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from contract.names import VERSION
from podtls.__main__ import cli
from tests.podtls.conftest import Run


def _process(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "podtls", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, **environment},
    )


def _commands() -> Iterator[tuple[str, click.Command]]:
    """Every command by its words."""
    yield "", cli
    context = click.Context(cli)
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        if command is not None:
            yield name, command
        if isinstance(command, click.Group):
            yield from ((f"{name} {inner}", found) for inner, found in command.commands.items())


def _examples() -> list[str]:
    lines = [line.strip() for _, command in _commands() for line in (command.epilog or "").splitlines()]
    return [line for line in lines if "podtls " in line]


def test_version_and_help_of_a_real_process() -> None:
    version, shown, bare = _process("--version"), _process("--help"), _process()

    assert (version.returncode, version.stdout) == (0, f"podtls, version {VERSION}\n")
    assert shown.returncode == 0
    assert bare.stdout == shown.stdout
    assert bare.returncode == 64
    assert [line.split()[0] for line in shown.stdout.split("Commands:\n")[1].split("\n\n")[0].splitlines()] == [
        "inject",
        "uninject",
        "check",
        "status",
        "manifests",
        "audit",
    ]


@pytest.mark.parametrize(("words", "command"), list(_commands()))
def test_every_command_has_help_and_those_that_do_something_have_examples(
    words: str, command: click.Command, run: Run
) -> None:
    outcome = run(*words.split(), "--help")

    assert outcome.code == 0
    assert outcome.out.startswith(f"Usage: podtls{' ' * bool(words)}{words}")
    assert words == "audit" or "Examples:" in outcome.out
    assert command.help


@pytest.mark.parametrize("example", _examples())
def test_example_of_the_help_parses(example: str) -> None:
    (part,) = [part for part in example.split("|") if part.strip().startswith("podtls ")]
    _, *arguments = shlex.split(part)

    command: click.Command = cli
    context = click.Context(cli)
    while isinstance(command, click.Group):
        found = command.get_command(context, arguments.pop(0))
        assert found is not None
        command = found
    parsed = command.make_context(command.name, list(arguments))

    assert parsed.params


def test_help_loads_none_of_the_subcommands() -> None:
    program = (
        "import sys; from podtls.__main__ import main; main(['--help']); "
        "print([name for name in ('rich', 'webhook', 'yaml', 'jsonpatch', 'cryptography') if name in sys.modules])"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)

    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["frobnicate"], "No such command 'frobnicate'", id="command"),
        pytest.param(["audit", "lst"], "No such command 'lst'", id="subcommand"),
        pytest.param(["--frobnicate"], "No such option", id="option"),
        pytest.param(["inject"], "Missing option '-f'", id="missing option"),
        pytest.param(["audit", "show"], "Missing argument 'ID'", id="missing argument"),
    ],
)
def test_wrong_usage_is_one_line_and_64(arguments: list[str], message: str, run: Run) -> None:
    outcome = run(*arguments)

    assert (outcome.code, outcome.out) == (64, "")
    assert outcome.err.startswith("podtls: ")
    assert message in outcome.err
    assert outcome.err.count("\n") == 1


def test_group_without_a_command_shows_its_help(run: Run) -> None:
    outcome = run("audit")

    assert outcome.code == 64
    assert outcome.out.startswith("Usage: podtls audit")


def test_part_that_is_not_installed_ends_with_69_and_its_name(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "podtls.check.command", None)

    outcome = run("check")

    assert outcome.code == 69
    assert outcome.err.startswith("podtls: check: not installed here, podtls.check.command is missing")


def test_wrong_import_of_our_own_is_a_bug_and_not_a_missing_part(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "podtls.check.command", raising=False)
    monkeypatch.setitem(sys.modules, "podtls.check.checks", None)

    with pytest.raises(ModuleNotFoundError, match=r"podtls\.check\.checks"):
        run("check")


def test_package_of_others_that_is_not_installed_is_a_missing_part(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    # The command and what it imports are loaded anew.
    for name in [name for name in sys.modules if name.startswith(("podtls.inject", "jsonpatch"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "jsonpatch", None)

    outcome = run("inject", "--help")

    assert (outcome.code, outcome.err) == (69, "podtls: inject: not installed here, jsonpatch is missing\n")


def test_log_that_cannot_be_read_is_one_line_and_64(tmp_path: Path) -> None:
    # Opens, and then fails to read at address 0, for root as well.
    broken = tmp_path / "broken.jsonl"
    broken.symlink_to("/proc/self/mem")

    done = _process("audit", "list", broken)

    assert (done.returncode, done.stdout) == (64, "")
    assert re.fullmatch(rf"podtls: {re.escape(str(broken))}: .+\n", done.stderr)


def test_reader_that_stops_reading_causes_no_noise(evidence: Path) -> None:
    # The log's torn line goes to stderr; nothing else may.
    script = '"$0" -m podtls audit list "$1" -o json | true'

    done = subprocess.run(
        ["bash", "-c", script, sys.executable, str(evidence)], capture_output=True, text=True, timeout=60, check=False
    )

    assert "is not a record" in done.stderr
    assert done.stderr.count("\n") == 1


def _on_a_terminal(arguments: list[str], **environment: str) -> str:
    """What a person sees: the command on a pseudo terminal."""
    master, slave = os.openpty()
    plain = {name: value for name, value in os.environ.items() if name not in {"NO_COLOR", "FORCE_COLOR"}}
    process = subprocess.Popen(
        [sys.executable, "-m", "podtls", *arguments],
        stdout=slave,
        stderr=slave,
        env={**plain, "TERM": "xterm-256color", "COLUMNS": "80", **environment},
    )
    os.close(slave)
    shown = b""
    with os.fdopen(master, "rb", buffering=0) as terminal:
        try:
            while chunk := terminal.read(65536):
                shown += chunk
        except OSError:  # The other side is closed: the end, on Linux.
            pass
    assert process.wait(60) == 0
    return shown.decode()


def test_terminal_gets_colours_and_no_color_takes_them_away(evidence: Path) -> None:
    coloured = _on_a_terminal(["audit", "show", "a", str(evidence)])
    plain = _on_a_terminal(["audit", "show", "a", str(evidence)], NO_COLOR="1")

    assert "\x1b[32m" in coloured
    assert "\x1b[32m" not in plain


def test_narrow_terminal_folds_and_loses_nothing(evidence: Path) -> None:
    shown = _on_a_terminal(["audit", "list", str(evidence), "--decision", "deny"], NO_COLOR="1")

    lines = [line for line in shown.splitlines() if not line.startswith("podtls:")]
    assert all(len(re.sub(r"\x1b\[[0-9;]*m", "", line)) <= 80 for line in lines)
    assert "b" * 12 in shown.replace("\r\n", "").replace(" ", "")
