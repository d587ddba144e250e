"""`nohup make test &` in a script starts us with signals ignored: what tests start can be interrupted all the same."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

REPOSITORY = Path(__file__).resolve().parents[1]
SECONDS = 60
AS_NOHUP_IN_A_SCRIPT = ("sh", "-c", 'trap "" INT QUIT HUP; exec "$@"', "sh")

INTERRUPTS_A_CHILD = """
import subprocess

def test_child():
    child = subprocess.Popen(["sleep", "60"])
    child.send_signal({number})
    assert child.wait(10) == -{number}
"""
SLEEPS = """
import time

def test_sleep():
    print("asleep", flush=True)
    time.sleep(60)
"""


def start_in_background(folder: Path, test: str) -> subprocess.Popen[str]:
    """pytest with our conftest on one written test, as a script starts it."""
    (folder / "test_inner.py").write_text(test)
    return subprocess.Popen(
        [*AS_NOHUP_IN_A_SCRIPT, sys.executable, "-m", "pytest", "-q", "-s", "-p", "tests.conftest", folder],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.parametrize(
    "number", [pytest.param(number, id=number.name) for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)]
)
def test_what_a_run_in_the_background_starts_can_be_interrupted(number: signal.Signals, tmp_path: Path) -> None:
    run = start_in_background(tmp_path, INTERRUPTS_A_CHILD.format(number=int(number)))

    output, _ = run.communicate(timeout=SECONDS)

    assert run.returncode == 0, output


def test_run_in_the_background_outlives_its_terminal_and_can_be_interrupted(tmp_path: Path) -> None:
    with start_in_background(tmp_path, SLEEPS) as run:
        assert run.stdout is not None
        assert "asleep\n" in iter(run.stdout.readline, "")

        run.send_signal(signal.SIGHUP)
        run.send_signal(signal.SIGINT)

        assert "KeyboardInterrupt" in run.stdout.read()
    assert run.returncode == pytest.ExitCode.INTERRUPTED
