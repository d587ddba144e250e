"""`podtls uninject`: the inverse of inject, which takes away ours and nothing else."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.podtls.conftest import Run
from tests.webhook.world import GOLDEN


def _comes_back(case: Path) -> bool:
    """Not what had ours before, nor a sysctl now; nor null and empty lists, which come back absent (the same to Go)."""
    before, after = (case / "pod.yaml").read_text(), (case / "injected.yaml").read_text()
    return "podtls-init" not in before and "sysctls" not in after and case.name not in {"written-null", "written-empty"}


_SAME = sorted(path.name for path in GOLDEN.glob("*/") if _comes_back(path))


@pytest.mark.parametrize("case", _SAME)
def test_injected_golden_comes_back_as_it_was(case: str, run: Run) -> None:
    before = yaml.safe_load((GOLDEN / case / "pod.yaml").read_text())

    outcome = run("uninject", "-f", GOLDEN / case / "injected.yaml")

    assert len(_SAME) > 15
    assert yaml.safe_load(outcome.out) == before


def test_file_that_was_injected_comes_back_to_the_letter(run: Run, options: list[str]) -> None:
    text = (
        "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: web\nspec:\n  template:\n    spec:\n"
        "      volumes:\n      - {name: 'mine', emptyDir: {}}\n"
        "      containers:\n      - name: app\n        image: a:1\n        args: ['on', 0o7]\n"
    )
    injected = run("inject", "-f", "-", *options, text=text)

    outcome = run("uninject", "-f", "-", text=injected.out)

    assert "podtls" in injected.out
    assert outcome.out == text


def test_sysctl_that_upstreams_need_stays_with_a_warning(run: Run) -> None:
    outcome = run("uninject", "-f", GOLDEN / "upstreams" / "injected.yaml")

    spec: dict[str, Any] = yaml.safe_load(outcome.out)["spec"]
    assert "sysctl net.ipv4.ip_unprivileged_port_start stays, it may be yours" in outcome.err
    assert spec["securityContext"]["sysctls"][0]["name"] == "net.ipv4.ip_unprivileged_port_start"
    assert not any(alias["ip"].startswith("127.0.1.") for alias in spec.get("hostAliases", []))


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(
            "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {hostAliases: [{ip: 127.0.1.1}]}\n",
            id="alias without our containers",
        ),
        pytest.param("apiVersion: v1\nkind: Pod\nspec: {volumes: [1, {name: mine}]}\n", id="no metadata"),
        pytest.param("apiVersion: v1\nkind: ConfigMap\ndata: {podtls.io/status: mine}\n", id="no workload"),
        pytest.param(
            "apiVersion: v1\nkind: Pod\nmetadata: {annotations: {podtls.io/mode: tls}, labels: null}\nspec: {}\n",
            id="the user's annotation",
        ),
    ],
)
def test_what_is_not_ours_stays(text: str, run: Run) -> None:
    outcome = run("uninject", "-f", "-", text=text)

    assert outcome.out == text


def test_diff_shows_what_is_taken_away(run: Run) -> None:
    outcome = run("uninject", "-f", GOLDEN / "bare" / "injected.yaml", "--diff")

    assert "-  - name: podtls-init" in outcome.out
    assert not any(line.startswith("+") for line in outcome.out.splitlines()[2:])
