import pytest

from contract.grammar import Lifetime, PortPair, WantedUpstream
from contract.names import LIFETIME, MODE, PORTS, UPSTREAMS
from tests.webhook.world import annotated, decided, pod, refusal_of
from webhook.decision import Inject
from webhook.wishes import Wish, Wishes, parse_wishes

HUGE = "8443=8080," * 10_000


BAD = [
    pytest.param("", id="empty"),
    pytest.param(" ", id="space"),
    pytest.param("\n", id="newline"),
    pytest.param("\x00", id="nul"),
    pytest.param("\x1b", id="escape"),
    pytest.param("\x7f", id="delete"),
    pytest.param("\u2028", id="line-separator"),
    pytest.param("\u202e", id="bidirectional"),
    pytest.param("x", id="word"),
    pytest.param(HUGE, id="100-kB"),
]
VALUES = {"mode": "mtls", "capture": "port", "ports": "8443=8080", "upstreams": "payments:80", "lifetime": "24h"}


def test_wishes_are_values_that_remember_their_text() -> None:
    wishes = parse_wishes(
        {
            MODE: "tls",
            LIFETIME: "1h",
            PORTS: "8443=8080",
            UPSTREAMS: "payments.shop:80",
            "podtls.io/port": "8443",
            "example.com/x": None,
        }
    )

    assert wishes == Wishes(
        mode="tls",
        capture=None,
        lifetime=Lifetime(3600),
        ports=Wish(PORTS, "8443=8080", (PortPair(8443, 8080),)),
        upstreams=Wish(UPSTREAMS, "payments.shop:80", (WantedUpstream("payments.shop", 80, 443),)),
        unknown=("podtls.io/port",),
    )


def test_pod_without_our_annotations_wishes_nothing() -> None:
    assert parse_wishes({"example.com/x": "y"}) == Wishes(None, None, None, None, None, ())


@pytest.mark.parametrize("value", BAD)
@pytest.mark.parametrize("key", VALUES)
def test_bad_value_is_denied_naming_annotation_value_and_what_is_allowed(key: str, value: str) -> None:
    message = refusal_of(annotated(**{key: value}))

    assert message.startswith(f"annotation podtls.io/{key}: '{value[:1].encode('unicode_escape').decode()[:2]}")
    assert "is not allowed; allowed: " in message
    assert message.isascii()
    assert message.isprintable()
    assert len(message) < 500


@pytest.mark.parametrize("wrap", ["{} ", " {}", "{}\n", "{}\x00", "{},", ",{}"])
@pytest.mark.parametrize("key", VALUES)
def test_good_value_with_anything_around_it_is_denied(key: str, wrap: str) -> None:
    message = refusal_of(annotated(**{key: wrap.format(VALUES[key])}))

    assert message.startswith(f"annotation podtls.io/{key}: ")


@pytest.mark.parametrize("key", VALUES)
def test_null_is_as_bad_as_empty(key: str) -> None:
    message = refusal_of(pod({"annotations": {f"podtls.io/{key}": None}}))

    assert message.startswith(f"annotation podtls.io/{key}: '' is not allowed")


@pytest.mark.parametrize("value", ["60s", "1m", "24h", "7d", "604800s"])
def test_lifetime_within_the_bounds_is_accepted(value: str) -> None:
    assert isinstance(decided(annotated(lifetime=value)), Inject)


@pytest.mark.parametrize(
    "value", ["59s", "0h", "8d", "604801s", "24", "24H", "1h30m", "-1h", "1.5h", "٢h", "9" * 30 + "s"]
)
def test_lifetime_out_of_bounds_or_of_another_form_is_denied(value: str) -> None:
    message = refusal_of(annotated(lifetime=value))

    assert "allowed: a time such as 24h, from 60s to 604800s; but " in message
