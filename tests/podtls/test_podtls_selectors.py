"""Label selectors: the table of the Kubernetes documentation, and what the API server refuses."""

from typing import Any

import pytest

from podtls.errors import SelectorError
from podtls.kubernetes.selectors import matches

LABELS = {"app": "payments", "tier": "back"}


def _expression(key: str, operator: str, *values: str) -> dict[str, Any]:
    return {"matchExpressions": [{"key": key, "operator": operator, **({"values": list(values)} if values else {})}]}


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        pytest.param(None, False, id="absent selector chooses nothing"),
        pytest.param({}, True, id="empty selector chooses everything"),
        pytest.param({"matchLabels": {}}, True, id="empty matchLabels choose everything"),
        pytest.param({"matchLabels": {"app": "payments"}}, True, id="equal label"),
        pytest.param({"matchLabels": {"app": "checkout"}}, False, id="other value"),
        pytest.param({"matchLabels": {"app": "payments", "tier": "front"}}, False, id="all labels must be equal"),
        pytest.param(_expression("app", "In", "checkout", "payments"), True, id="In with the value"),
        pytest.param(_expression("app", "In", "checkout"), False, id="In without the value"),
        pytest.param(_expression("zone", "In", "a"), False, id="In of an absent label"),
        pytest.param(_expression("app", "NotIn", "checkout"), True, id="NotIn without the value"),
        pytest.param(_expression("app", "NotIn", "payments"), False, id="NotIn with the value"),
        pytest.param(_expression("zone", "NotIn", "a"), True, id="NotIn of an absent label"),
        pytest.param(_expression("app", "Exists"), True, id="Exists"),
        pytest.param(_expression("zone", "Exists"), False, id="Exists of an absent label"),
        pytest.param(_expression("zone", "DoesNotExist"), True, id="DoesNotExist"),
        pytest.param(_expression("app", "DoesNotExist"), False, id="DoesNotExist of a present label"),
        pytest.param({"matchLabels": {"app": "payments"}} | _expression("zone", "Exists"), False, id="both must hold"),
    ],
)
def test_selector_chooses_as_the_documentation_says(selector: dict[str, Any] | None, expected: bool) -> None:
    assert matches(selector, LABELS) is expected


@pytest.mark.parametrize(
    ("selector", "reason"),
    [
        pytest.param(_expression("app", "Equals", "x"), "'Equals' is none of In, NotIn", id="unknown operator"),
        pytest.param(_expression("app", "In"), "In of app needs at least one value", id="In without values"),
        pytest.param(_expression("app", "NotIn"), "NotIn of app needs at least one value", id="NotIn without values"),
        pytest.param(_expression("app", "Exists", "x"), "Exists of app takes no values", id="Exists with values"),
        pytest.param(
            {"matchLabels": {"app": "other"}} | _expression("app", "Exists", "x"),
            "takes no values",
            id="a bad expression behind a false label",
        ),
    ],
)
def test_selector_that_the_api_server_refuses_is_an_error(selector: dict[str, Any], reason: str) -> None:
    with pytest.raises(SelectorError, match=reason):
        matches(selector, LABELS)
