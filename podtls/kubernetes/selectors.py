"""Label selectors as the API server evaluates them. Pure; knows nothing of what carries the labels.

Source: Kubernetes API, LabelSelector v1 meta, and "Labels and Selectors" (set-based requirements).
"""

from collections.abc import Mapping
from typing import Any, Final

from podtls.errors import SelectorError

Labels = Mapping[str, str]

_WITH_VALUES: Final = ("In", "NotIn")
_WITHOUT_VALUES: Final = ("Exists", "DoesNotExist")
_NEGATIVE: Final = ("NotIn", "DoesNotExist")


def matches(selector: Mapping[str, Any] | None, labels: Labels) -> bool:
    """Whether a LabelSelector chooses what has these labels: all of its requirements must hold.

    An absent selector chooses nothing, an empty one everything.
    Raises SelectorError for an operator or a list of values that the API server would refuse.
    """
    if selector is None:
        return False
    exact = all(labels.get(key) == value for key, value in (selector.get("matchLabels") or {}).items())
    # Every expression is evaluated, so that a bad one is not hidden by a false one before it.
    expressions = [_holds(expression, labels) for expression in selector.get("matchExpressions") or []]
    return exact and all(expressions)


def _holds(expression: Mapping[str, Any], labels: Labels) -> bool:
    operator, key, values = expression.get("operator", ""), expression["key"], expression.get("values") or []
    if operator not in {*_WITH_VALUES, *_WITHOUT_VALUES}:
        raise SelectorError(f"operator {operator!r} is none of {', '.join((*_WITH_VALUES, *_WITHOUT_VALUES))}")
    if bool(values) != (operator in _WITH_VALUES):
        rule = "takes no values" if values else "needs at least one value"
        raise SelectorError(f"operator {operator} of {key} {rule}, got {values!r}")
    # An absent label is in no list, so NotIn chooses it. This is what makes our defaults strict.
    holds = labels.get(key) in values if values else key in labels
    return holds != (operator in _NEGATIVE)
