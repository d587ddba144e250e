"""Service account tokens: bound to a pod and an audience, and refused with the reason when anything is not right."""

import base64
import json
from typing import Any

import pytest

from lab.sandbox.apiserver.tokens import ISSUER, TokenIssuer
from lab.sandbox.errors import UnauthorizedError

POD: dict[str, Any] = {"metadata": {"name": "payments-1", "namespace": "shop", "uid": "pod-uid"}}
ACCOUNT: dict[str, Any] = {"metadata": {"name": "payments", "namespace": "shop", "uid": "account-uid"}}


@pytest.fixture(scope="module")
def issuer() -> TokenIssuer:
    return TokenIssuer()


def _with_claims(token: str, **changes: Any) -> str:
    header, claims, signature = token.split(".")
    decoded = json.loads(base64.urlsafe_b64decode(claims + "==")) | changes
    encoded = base64.urlsafe_b64encode(json.dumps(decoded).encode()).rstrip(b"=").decode()
    return f"{header}.{encoded}.{signature}"


def test_token_names_its_service_account_pod_and_node(issuer: TokenIssuer) -> None:
    token = issuer.issue(POD, ACCOUNT, "podtls-ca", 600)

    caller = issuer.authenticate(token, ["podtls-ca", "other"])

    assert caller.audiences == ("podtls-ca",)
    user = caller.user_info
    assert user["username"] == "system:serviceaccount:shop:payments"
    assert user["uid"] == "account-uid"
    assert "system:serviceaccounts:shop" in user["groups"]
    extra = {key.removeprefix("authentication.kubernetes.io/"): value for key, value in user["extra"].items()}
    assert extra["pod-name"] == ["payments-1"]
    assert extra["pod-uid"] == ["pod-uid"]
    assert extra["node-name"] == ["demo-node"]
    assert extra["credential-id"][0].startswith("JTI=")
    assert set(extra) == {"pod-name", "pod-uid", "node-name", "node-uid", "credential-id"}


def test_two_tokens_have_two_ids(issuer: TokenIssuer) -> None:
    tokens = [issuer.issue(POD, ACCOUNT, "podtls-ca", 600) for _ in range(2)]

    ids = [
        issuer.authenticate(token, ["podtls-ca"]).user_info["extra"]["authentication.kubernetes.io/credential-id"][0]
        for token in tokens
    ]

    assert ids[0] != ids[1]


def test_token_without_an_audience_is_the_api_servers_own(issuer: TokenIssuer) -> None:
    caller = issuer.authenticate(issuer.issue(POD, ACCOUNT, "", 600))

    assert caller.audiences == (ISSUER,)


def test_token_of_another_audience_is_refused(issuer: TokenIssuer) -> None:
    token = issuer.issue(POD, ACCOUNT, "vault", 600)

    with pytest.raises(UnauthorizedError, match=r"token audiences \['vault'\] is invalid for the target audiences"):
        issuer.authenticate(token, ["podtls-ca"])


def test_expired_token_is_refused(issuer: TokenIssuer) -> None:
    token = issuer.issue(POD, ACCOUNT, "podtls-ca", 0)

    with pytest.raises(UnauthorizedError, match="service account token has expired"):
        issuer.authenticate(token, ["podtls-ca"])


def test_token_of_another_key_is_refused(issuer: TokenIssuer) -> None:
    token = TokenIssuer().issue(POD, ACCOUNT, "podtls-ca", 600)

    with pytest.raises(UnauthorizedError, match="invalid bearer token"):
        issuer.authenticate(token, ["podtls-ca"])


def test_token_whose_claims_were_changed_is_refused(issuer: TokenIssuer) -> None:
    token = _with_claims(issuer.issue(POD, ACCOUNT, "vault", 600), aud=["podtls-ca"])

    with pytest.raises(UnauthorizedError, match="invalid bearer token"):
        issuer.authenticate(token, ["podtls-ca"])


@pytest.mark.parametrize(
    "token",
    [
        pytest.param("", id="empty"),
        pytest.param("abc", id="no parts"),
        pytest.param("a.b.c", id="parts of nothing"),
        pytest.param("..%%%", id="not base64"),
        pytest.param("ä.b.c", id="not ASCII"),
    ],
)
def test_garbage_is_refused(issuer: TokenIssuer, token: str) -> None:
    with pytest.raises(UnauthorizedError, match="invalid bearer token"):
        issuer.authenticate(token)
