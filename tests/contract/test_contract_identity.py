"""SPIFFE IDs: who may be named, and how."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.errors import IdentityError
from contract.identity import TrustDomain, WorkloadIdentity

_LABEL = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", fullmatch=True)
_DOMAIN = st.from_regex(r"[a-z0-9._-]{1,64}", fullmatch=True)


@given(domain=_DOMAIN, namespace=_LABEL, account=_LABEL)
def test_identity_survives_its_spiffe_id(domain: str, namespace: str, account: str) -> None:
    identity = WorkloadIdentity(TrustDomain(domain), namespace, account)

    assert WorkloadIdentity.parse(str(identity)) == identity


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("", id="empty"),
        pytest.param("Cluster.local", id="upper case"),
        pytest.param("a/b", id="slash"),
        pytest.param("x" * 65, id="longer than an O may be"),
        pytest.param("a\n", id="newline"),
        pytest.param("bücher", id="foreign letter"),
    ],
)
def test_bad_trust_domain_is_refused(name: str) -> None:
    with pytest.raises(IdentityError, match=r"trust domain .*allowed are"):
        TrustDomain(name)


@pytest.mark.parametrize(
    ("namespace", "account", "reason"),
    [
        pytest.param("shop/sa", "x", "namespace", id="a path in the namespace"),
        pytest.param("Shop", "x", "namespace", id="upper case"),
        pytest.param("x" * 64, "x", "namespace", id="namespace too long"),
        pytest.param("shop", "", "service account", id="no account"),
        pytest.param("shop", "a/b", "service account", id="a path in the account"),
        pytest.param("shop", "x" * 254, "service account", id="account too long"),
    ],
)
def test_bad_names_of_kubernetes_are_refused(namespace: str, account: str, reason: str) -> None:
    with pytest.raises(IdentityError, match=reason):
        WorkloadIdentity(TrustDomain("cluster.local"), namespace, account)


@pytest.mark.parametrize(
    "spiffe_id",
    [
        pytest.param("https://cluster.local/ns/shop/sa/x", id="another scheme"),
        pytest.param("spiffe://cluster.local/ns/shop", id="no account"),
        pytest.param("spiffe://cluster.local/ns/shop/sa/x/y", id="one part more"),
        pytest.param("spiffe://cluster.local/sa/shop/ns/x", id="another order"),
    ],
)
def test_spiffe_id_of_another_form_is_refused(spiffe_id: str) -> None:
    with pytest.raises(IdentityError, match="expected spiffe://"):
        WorkloadIdentity.parse(spiffe_id)


def test_service_account_with_dots_is_an_identity() -> None:
    identity = WorkloadIdentity.from_user("system:serviceaccount:shop:ci.bot", TrustDomain("corp.example"))

    assert str(identity) == "spiffe://corp.example/ns/shop/sa/ci.bot"


@pytest.mark.parametrize(
    "user", ["admin", "system:node:node-1", "system:serviceaccount:shop", "x:system:serviceaccount:a:b"]
)
def test_user_that_is_no_service_account_has_no_identity(user: str) -> None:
    with pytest.raises(IdentityError, match="expected system:serviceaccount"):
        WorkloadIdentity.from_user(user, TrustDomain("cluster.local"))
