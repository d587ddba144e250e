"""What `python -m lab.cluster up` leaves and prints: commands that work when pasted."""

import os
import subprocess

import pytest

from lab.cluster import __main__ as command
from lab.cluster import podtls
from lab.cluster.node import Node

pytestmark = [pytest.mark.node, pytest.mark.timeout(600)]


def test_commands_that_up_prints_work_when_pasted(enrolled_node: Node, capfd: pytest.CaptureFixture[str]) -> None:
    podtls.open_shop(enrolled_node)
    command.print_use(enrolled_node.cluster.run)
    printed = capfd.readouterr().out

    # As pasted: nothing of our own environment, in another folder.
    plain = {"PATH": os.environ["PATH"], "HOME": str(enrolled_node.cluster.run.folder)}
    answer = subprocess.run(
        ["bash", "-eu"], input=printed, env=plain, cwd="/", capture_output=True, text=True, check=False, timeout=120
    )

    assert (answer.returncode, answer.stderr.replace("podtls: no record matches\n", "")) == (0, "")
    assert "200 payments: 42.00 EUR received, thank you" in answer.stdout
    assert "spiffe://cluster.local/ns/shop/sa/payments" in answer.stdout
    assert "inject" in answer.stdout
