"""Service account tokens: bound to a pod and an audience. What makes a JWT valid is PyJWT's."""

from typing import Any

import pytest

from lab.sandbox.apiserver.tokens import ISSUER, TokenIssuer
from lab.sandbox.errors import UnauthorizedError

POD: dict[str, Any] = {
    "metadata": {"name": "payments-1", "namespace": "shop", "uid": "pod-uid"},
    "spec": {"nodeName": "demo-node"},
}
ACCOUNT: dict[str, Any] = {"metadata": {"name": "payments", "namespace": "shop", "uid": "account-uid"}}


@pytest.fixture(scope="module")
def issuer() -> TokenIssuer:
    return TokenIssuer()


def test_token_names_its_service_account_pod_and_node(issuer: TokenIssuer) -> None:
    caller = issuer.authenticate(issuer.issue(POD, ACCOUNT, "podtls-ca", 600), ["podtls-ca", "other"])

    assert caller.audiences == ("podtls-ca",)
    user = caller.user_info
    assert (user["username"], user["uid"]) == ("system:serviceaccount:shop:payments", "account-uid")
    extra = {key.removeprefix("authentication.kubernetes.io/"): value for key, value in user["extra"].items()}
    assert (extra["pod-name"], extra["pod-uid"], extra["node-name"]) == (["payments-1"], ["pod-uid"], ["demo-node"])
    assert extra["credential-id"][0].startswith("JTI=")


def test_token_without_an_audience_is_the_api_servers_own(issuer: TokenIssuer) -> None:
    assert issuer.authenticate(issuer.issue(POD, ACCOUNT, "", 600)).audiences == (ISSUER,)


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        pytest.param(lambda own: own.issue(POD, ACCOUNT, "vault", 600), "token audiences are invalid", id="audience"),
        pytest.param(lambda own: own.issue(POD, ACCOUNT, "podtls-ca", -1), "has expired", id="expired"),
        pytest.param(
            lambda _: TokenIssuer().issue(POD, ACCOUNT, "podtls-ca", 600), "invalid bearer token", id="another key"
        ),
        pytest.param(lambda _: "ä.b.c", "invalid bearer token", id="garbage"),
    ],
)
def test_token_that_is_not_right_is_refused_with_the_reason(issuer: TokenIssuer, token: Any, reason: str) -> None:
    with pytest.raises(UnauthorizedError, match=reason):
        issuer.authenticate(token(issuer), ["podtls-ca"])
