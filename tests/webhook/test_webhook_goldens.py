from typing import Any

import kubernetes_validate
import pytest

from contract.names import INIT_CONTAINER, SIDECAR_CONTAINER
from tests.webhook.api_server import always_pull_images, as_sent, limit_range
from tests.webhook.goldens import DERIVED, cases, expected, load
from tests.webhook.world import LATER_RECORD, MTLS, apply, injected, patch, validate, with_pod_settings
from webhook.decision import Defaults

FROM_THE_FUTURE = "future-fields"
FIRST_ROUNDS = [case for case in cases() if case not in DERIVED and not case.startswith("written-")]


@pytest.mark.parametrize("case", cases())
def test_injected_pod_is_as_its_golden(case: str) -> None:
    golden = load(case, "injected")

    result = expected(case)

    assert result == golden


@pytest.mark.parametrize("case", [case for case in cases() if case != FROM_THE_FUTURE])
def test_injected_pod_passes_the_schema_and_a_second_injection_changes_nothing(case: str) -> None:
    raw = load(case)

    injected(raw)


def test_fields_from_the_future_stay_and_are_all_that_the_schema_objects_to() -> None:
    result = expected(FROM_THE_FUTURE)

    assert result["metadata"].pop("moonPhase") == "waxing"
    assert result["spec"].pop("gravity") == {"direction": ["down", {"sideways": 0.5}]}
    assert result["spec"]["containers"][0].pop("telepathy") is True
    with pytest.raises(kubernetes_validate.ValidationError, match="'flavour' was unexpected"):
        validate(result)
    assert result["spec"]["containers"][0]["ports"][0].pop("flavour") == "sweet"
    validate(result)


@pytest.mark.parametrize("case", DERIVED)
def test_pods_of_later_rounds_are_what_the_earlier_round_made(case: str) -> None:
    raw = load(case)

    made = DERIVED[case]()

    assert made == raw


@pytest.mark.parametrize("defaults", [MTLS, Defaults("tls", "port")], ids=lambda defaults: defaults.mode)
@pytest.mark.parametrize("case", FIRST_ROUNDS)
def test_second_round_as_the_api_server_sends_it_gets_no_operations(case: str, defaults: Defaults) -> None:
    raw = as_sent(load(case))

    second = as_sent(apply(raw, patch(raw, defaults)))

    assert patch(second, defaults, record=LATER_RECORD) == []


@pytest.mark.parametrize("case", ["deployment", "guaranteed", "pod-resources"])
def test_second_round_after_in_tree_plugins_gets_no_operations(case: str) -> None:
    raw = as_sent(load(case))
    once = apply(raw, patch(raw))

    second = always_pull_images(limit_range(as_sent(once), cpu="1", memory="1Gi", **{"ephemeral-storage": "1Gi"}))

    assert patch(second, record=LATER_RECORD) == []


def test_api_server_mounts_no_api_token_into_managed_containers() -> None:
    raw = as_sent(load("deployment"))

    second = as_sent(apply(raw, patch(raw)))

    mounts = {
        container["name"]: [mount["name"] for mount in container["volumeMounts"]]
        for container in [*second["spec"]["initContainers"], *second["spec"]["containers"]]
    }
    assert mounts["payments"] == ["kube-api-access-x7k2p"]
    assert mounts[INIT_CONTAINER] == ["podtls-run", "podtls-token", "podtls-no-api"]
    assert mounts[SIDECAR_CONTAINER] == ["podtls-run", "podtls-token", "podtls-no-api"]


def test_equal_round_keeps_the_first_record_id() -> None:
    first = load("second-round")

    result = injected(first, record=LATER_RECORD)

    assert result["metadata"]["annotations"] == first["metadata"]["annotations"]


def test_injected_pod_of_a_guaranteed_pod_stays_guaranteed() -> None:
    result = injected(load("guaranteed"))

    containers = [*result["spec"]["initContainers"], *result["spec"]["containers"]]
    assert all(container["resources"]["limits"] == container["resources"]["requests"] for container in containers)
    assert all(container["resources"]["limits"].keys() == {"cpu", "memory"} for container in containers)


def test_managed_containers_fulfil_pod_security_restricted() -> None:
    result = injected(load("restricted"))

    for container in result["spec"]["initContainers"]:
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert context["runAsNonRoot"] is True
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert result["spec"]["securityContext"] == load("restricted")["spec"]["securityContext"]


def test_without_a_configured_uid_the_platform_chooses_one() -> None:
    settings = with_pod_settings(run_as_user=None)

    result = injected(load("bare"), settings=settings)

    contexts: list[dict[str, Any]] = [entry["securityContext"] for entry in result["spec"]["initContainers"]]
    assert all(context["runAsNonRoot"] is True for context in contexts)
    assert not any(context.keys() & {"runAsUser", "runAsGroup"} for context in contexts)
