"""SPIFFE IDs: who may be named, and how."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.errors import IdentityError
from contract.identity import TrustDomain, WorkloadIdentity

_LABEL = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", fullmatch=True)
_DOMAIN = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,63}", fullmatch=True)
_LONGEST_ACCOUNT = ".".join(["a" * 63] * 3 + ["a" * 61])  # 253 characters

# What is wrong in every part of an identity, whatever its own grammar allows besides.
_NEVER = [
    pytest.param("", id="empty"),
    pytest.param("-x", id="begins with a dash"),
    pytest.param(".x", id="begins with a dot"),
    pytest.param("_x", id="begins with an underscore"),
    pytest.param(".", id="a dot alone"),
    pytest.param("-", id="a dash alone"),
    pytest.param("_", id="an underscore alone"),
    pytest.param("Shop", id="upper case"),
    pytest.param("a/b", id="slash"),
    pytest.param("a\n", id="trailing newline"),
    pytest.param("a ", id="trailing space"),
    pytest.param("a\0", id="null"),
    pytest.param("bücher", id="foreign letter"),
    pytest.param("shop\u0661", id="foreign digit"),
    pytest.param('a";', id="quote"),
]
_NEVER_A_NAME = [
    *_NEVER,
    pytest.param("x-", id="ends with a dash"),
    pytest.param("x.", id="ends with a dot"),
    pytest.param("x_", id="ends with an underscore"),
    pytest.param("a" * 64, id="a label of 64"),
    pytest.param("a" * 65, id="a label of 65"),
]


@given(domain=_DOMAIN, namespace=_LABEL, account=_LABEL)
def test_identity_survives_its_spiffe_id(domain: str, namespace: str, account: str) -> None:
    identity = WorkloadIdentity(TrustDomain(domain), namespace, account)

    assert WorkloadIdentity.parse(str(identity)) == identity


@pytest.mark.parametrize("name", ["a", "0", "cluster.local", "a_b", "x-", "x.", "x_", "a" * 63, "a" * 64])
def test_trust_domain_is_what_spiffe_allows_as_far_as_an_organization_name_goes(name: str) -> None:
    assert str(TrustDomain(name)) == name


@pytest.mark.parametrize("name", [*_NEVER, pytest.param("a" * 65, id="65 characters")])
def test_bad_trust_domain_is_refused(name: str) -> None:
    with pytest.raises(IdentityError, match=r"trust domain .*allowed are"):
        TrustDomain(name)


@pytest.mark.parametrize("name", ["a", "0", "shop", "a-b", "a--b", "a" * 63])
def test_namespace_is_a_label(name: str) -> None:
    identity = WorkloadIdentity(TrustDomain("cluster.local"), name, "x")

    assert identity.namespace == name


@pytest.mark.parametrize("name", [*_NEVER_A_NAME, pytest.param("a.b", id="two labels")])
def test_bad_namespace_is_refused(name: str) -> None:
    with pytest.raises(IdentityError, match=r"namespace .*not an RFC 1123 label"):
        WorkloadIdentity(TrustDomain("cluster.local"), name, "x")


@pytest.mark.parametrize("name", ["a", "ci.bot", "a" * 63, _LONGEST_ACCOUNT])
def test_service_account_is_a_subdomain(name: str) -> None:
    identity = WorkloadIdentity(TrustDomain("cluster.local"), "shop", name)

    assert identity.service_account == name


@pytest.mark.parametrize(
    "name",
    [
        *_NEVER_A_NAME,
        pytest.param("a..b", id="an empty label"),
        pytest.param(f"{_LONGEST_ACCOUNT}a", id="254 characters"),
        pytest.param("a" * 254, id="one label of 254"),
    ],
)
def test_bad_service_account_is_refused(name: str) -> None:
    with pytest.raises(IdentityError, match=r"service account .*not an RFC 1123 subdomain"):
        WorkloadIdentity(TrustDomain("cluster.local"), "shop", name)


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
def test_user_that_is_not_a_service_account_has_no_identity(user: str) -> None:
    with pytest.raises(IdentityError, match="expected system:serviceaccount"):
        WorkloadIdentity.from_user(user, TrustDomain("cluster.local"))
