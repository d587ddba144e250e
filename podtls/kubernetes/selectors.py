"""Label selectors as the API server evaluates them. Pure; knows nothing of what carries the labels.

Source: Kubernetes API, LabelSelector v1 meta, and "Labels and Selectors" (set-based requirements).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from podtls.errors import SelectorError

Labels = Mapping[str, str]


def matches(selector: Mapping[str, Any] | None, labels: Labels) -> bool:
    """Whether a LabelSelector chooses what has these labels: all of its requirements must hold.

    An absent selector chooses nothing, an empty one everything.
    Raises SelectorError for an operator or a list of values that the API server would refuse.
    """
    if selector is None:
        return False
    exact = all(labels.get(key) == value for key, value in (selector.get("matchLabels") or {}).items())
    # Every expression is looked at, even when the answer is known: a bad one must not hide behind a false one.
    expressions = [_holds(expression, labels) for expression in selector.get("matchExpressions") or []]
    return exact and all(expressions)


def _holds(expression: Mapping[str, Any], labels: Labels) -> bool:
    operator = expression.get("operator", "")
    requirement = _REQUIREMENTS.get(operator)
    if requirement is None:
        raise SelectorError(f"operator {operator!r} is none of {', '.join(_REQUIREMENTS)}")
    wants_values, holds = requirement
    key, values = expression["key"], expression.get("values") or []
    if bool(values) != wants_values:
        rule = "needs at least one value" if wants_values else "takes no values"
        raise SelectorError(f"operator {operator} of {key} {rule}, got {values!r}")
    return holds(labels.get(key), values)


def _is_in(value: str | None, values: Sequence[str]) -> bool:
    return value is not None and value in values


def _is_not_in(value: str | None, values: Sequence[str]) -> bool:
    # An absent label is in no list: NotIn chooses it. This is what makes our defaults strict.
    return not _is_in(value, values)


def _exists(value: str | None, _values: Sequence[str]) -> bool:
    return value is not None


def _does_not_exist(value: str | None, _values: Sequence[str]) -> bool:
    return value is None


_REQUIREMENTS: Final[Mapping[str, tuple[bool, Callable[[str | None, Sequence[str]], bool]]]] = {
    "In": (True, _is_in),
    "NotIn": (True, _is_not_in),
    "Exists": (False, _exists),
    "DoesNotExist": (False, _does_not_exist),
}
