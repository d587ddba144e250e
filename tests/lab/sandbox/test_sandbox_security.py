from typing import Any

import pytest

from lab.sandbox.errors import ContainerError
from lab.sandbox.kubelet.security import parse_security
from lab.sandbox.state import Manifest

NET_ADMIN, NET_BIND_SERVICE = 12, 10


def parse(own: Manifest | None = None, pod: Manifest | None = None) -> dict[str, Any]:
    security = parse_security({"name": "app", "securityContext": own}, {"spec": {"securityContext": pod}})
    return security.plan()


def test_root_is_refused_where_nobody_may_be_root() -> None:
    with pytest.raises(ContainerError, match="container app: runAsNonRoot without a runAsUser other than 0"):
        parse({"runAsNonRoot": True})


@pytest.mark.parametrize(
    ("own", "has", "has_not"),
    [
        pytest.param({}, {NET_BIND_SERVICE}, {NET_ADMIN}, id="default"),
        pytest.param({"capabilities": {"drop": ["ALL"]}}, set(), {NET_BIND_SERVICE, NET_ADMIN}, id="all dropped"),
        pytest.param(
            {"capabilities": {"drop": ["all"], "add": ["NET_ADMIN"]}}, {NET_ADMIN}, {NET_BIND_SERVICE}, id="one added"
        ),
        pytest.param(
            {"capabilities": {"add": ["CAP_NET_ADMIN"]}}, {NET_ADMIN, NET_BIND_SERVICE}, set(), id="long name"
        ),
        pytest.param({"privileged": True}, {NET_ADMIN, NET_BIND_SERVICE}, set(), id="privileged"),
    ],
)
def test_capabilities_are_those_of_the_runtime_less_drop_plus_add(
    own: Manifest, has: set[int], has_not: set[int]
) -> None:
    capabilities = set(parse(own)["capabilities"])

    assert has <= capabilities
    assert not has_not & capabilities
