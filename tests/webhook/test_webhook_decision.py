from typing import Any

import pytest

from contract.names import INJECT
from tests.webhook.goldens import cases, first_round, load
from tests.webhook.world import annotated, decided, plan_of, pod
from webhook.decision import Defaults, Skip


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        pytest.param(pod({"labels": {INJECT: "disabled"}}), "label podtls.io/inject=disabled opts out", id="opt-out"),
        pytest.param(pod(hostNetwork=True), "hostNetwork pods share the node's ports and addresses", id="hostNetwork"),
        pytest.param(pod(os={"name": "windows"}), "Windows pods are not supported", id="windows"),
        pytest.param(
            pod(nodeSelector={"kubernetes.io/os": "windows"}), "Windows pods are not supported", id="windows-selector"
        ),
        pytest.param(
            pod({"annotations": {"kubernetes.io/config.mirror": "5d4"}}), "mirror pods cannot be changed", id="mirror"
        ),
    ],
)
def test_pod_that_cannot_or_will_not_be_enrolled_is_skipped_with_the_reason(raw: dict[str, Any], reason: str) -> None:
    decision = decided(raw)

    assert decision == Skip(reason, (f"podtls: not injected: {reason}",))


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(pod(hostNetwork=False), id="hostNetwork-false"),
        pytest.param(pod(os={"name": "linux"}, nodeSelector={"kubernetes.io/os": "windows"}), id="os-linux-wins"),
        pytest.param(pod({"labels": {INJECT: "enabled"}}), id="enabled"),
        pytest.param(pod(restartPolicy=None, dnsPolicy=None, os=None, nodeSelector=None), id="nulls"),
    ],
)
def test_ordinary_pod_is_injected_without_warnings(raw: dict[str, Any]) -> None:
    decision = plan_of(raw)

    assert decision.reason == "enrolled: mode mtls, capture port"
    assert decision.warnings == ()


def test_skipped_pod_that_has_managed_containers_keeps_them_with_a_warning() -> None:
    raw = first_round("deployment")
    raw["metadata"]["labels"][INJECT] = "disabled"

    decision = decided(raw)

    assert isinstance(decision, Skip)
    assert decision.warnings[1:] == ("podtls: its containers named podtls-... are left as they are",)


def test_opt_out_wins_over_annotations_that_would_be_denied() -> None:
    raw = annotated(mode="nonsense")
    raw["metadata"]["labels"] = {INJECT: "disabled"}

    assert isinstance(decided(raw), Skip)


def test_annotation_on_the_pod_overrides_the_namespace() -> None:
    decision = plan_of(annotated(mode="mtls", capture="port"), Defaults("permissive", "redirect"))

    assert decision.mode == "mtls"


@pytest.mark.parametrize(
    ("policy", "seconds"),
    [("Always", 60), ("OnFailure", 60), ("Never", 600)],
)
def test_pod_that_has_one_chance_only_gets_a_longer_budget(policy: str, seconds: int) -> None:
    assert plan_of(pod(restartPolicy=policy)).budget_seconds == seconds


@pytest.mark.parametrize("case", cases())
def test_no_golden_is_denied_and_warnings_fit_what_the_api_server_shows(case: str) -> None:
    decision = plan_of(load(case))

    assert all(len(warning) <= 256 and warning.isascii() and warning.isprintable() for warning in decision.warnings)
