from typing import Any

import pytest

from contract.grammar import Lifetime, PortPair, WantedUpstream
from contract.names import LIFETIME, MODE, PORTS, UPSTREAMS
from tests.webhook.world import annotated, decided, pod
from webhook.decision import Deny, Inject
from webhook.wishes import Wish, Wishes, parse_wishes

HUGE = "8443=8080," * 10_000


def refusal(raw: dict[str, Any]) -> str:
    decision = decided(raw)
    assert isinstance(decision, Deny), decision
    return decision.reason


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


def test_pod_without_annotations_of_ours_wishes_nothing() -> None:
    assert parse_wishes({"example.com/x": "y"}) == Wishes(None, None, None, None, None, ())


@pytest.mark.parametrize("value", BAD)
@pytest.mark.parametrize("key", VALUES)
def test_bad_value_is_denied_naming_annotation_value_and_what_is_allowed(key: str, value: str) -> None:
    message = refusal(annotated(**{key: value}))

    assert message.startswith(f"annotation podtls.io/{key}: '{value[:1].encode('unicode_escape').decode()[:2]}")
    assert "is not allowed; allowed: " in message
    assert message.isascii()
    assert message.isprintable()
    assert len(message) < 500


@pytest.mark.parametrize("wrap", ["{} ", " {}", "{}\n", "{}\x00", "{},", ",{}"])
@pytest.mark.parametrize("key", VALUES)
def test_good_value_with_anything_around_it_is_denied(key: str, wrap: str) -> None:
    message = refusal(annotated(**{key: wrap.format(VALUES[key])}))

    assert message.startswith(f"annotation podtls.io/{key}: ")


@pytest.mark.parametrize("key", VALUES)
def test_null_is_as_bad_as_empty(key: str) -> None:
    message = refusal(pod({"annotations": {f"podtls.io/{key}": None}}))

    assert message.startswith(f"annotation podtls.io/{key}: '' is not allowed")


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        pytest.param("0=8080", "but not '0=8080'", id="port-0"),
        pytest.param("65536=8080", "but not '65536=8080'", id="port-65536"),
        pytest.param("8443=65536", "but not '8443=65536'", id="app-port-65536"),
        pytest.param("99999999999999999999=8080", "but not '99999999999999999999=8080'", id="a-large-number"),
        pytest.param("08443=8080", "but not '08443=8080'", id="leading-zero"),
        pytest.param("+8443=8080", "but not '+8443=8080'", id="plus"),
        pytest.param("٨٤٤٣=8080", r"but not '\u0668\u0664\u0664\u0663=8080'", id="arabic-digits"),
        pytest.param("\uff18\uff14=8080", r"but not '\uff18\uff14=8080'", id="fullwidth-digits"),
        pytest.param("²=8080", r"but not '\xb2=8080'", id="superscript"),
        pytest.param("8443", "but not '8443'", id="no-app-port"),
        pytest.param("8443=", "but not '8443='", id="app-port-empty"),
        pytest.param("8443=8080=1", "but not '8443=8080=1'", id="two-equal-signs"),
        pytest.param("8443=8080, 8444=8080", "but not ' 8444=8080'", id="space-after-comma"),
        pytest.param("8443=8080;", "but not '8443=8080;'", id="nginx-syntax"),
        pytest.param("8443=8080,8443=8080", "no spaces; but port 8443 is listed twice", id="doubled"),
        pytest.param("8443=9999", "app ports that are TCP containerPorts of the pod (8080)", id="not-of-the-pod"),
        pytest.param("8080=8080", "but port 8080 cannot be both a TLS port and a port of the app", id="its-own"),
    ],
)
def test_bad_ports_are_denied(value: str, reason: str) -> None:
    message = refusal(annotated(ports=value))

    assert message.startswith("annotation podtls.io/ports: ")
    assert reason in message


def test_tls_port_that_a_container_uses_is_denied() -> None:
    raw = annotated(ports="9090=8080")
    raw["spec"]["containers"][0]["ports"].append({"containerPort": 9090, "protocol": "UDP"})

    assert refusal(raw).endswith("allowed: TLS ports that no container uses, but 9090 is used")


def test_ports_of_a_pod_without_ports_are_denied() -> None:
    raw = annotated(ports="8443=8080")
    raw["spec"]["containers"][0]["ports"] = None

    assert "TCP containerPorts of the pod (none)" in refusal(raw)


def test_tls_port_that_is_an_upstreams_port_is_denied() -> None:
    message = refusal(annotated(ports="8443=8080", upstreams="payments:8443"))

    assert "TLS ports that are not a port of podtls.io/upstreams, but 8443 is" in message


def test_default_tls_ports_are_those_that_nobody_in_the_pod_uses() -> None:
    raw = annotated(upstreams="payments:8443")
    raw["spec"]["initContainers"] = [{"name": "mesh", "ports": [{"containerPort": 8444, "protocol": "UDP"}]}]

    decision = decided(raw)

    assert isinstance(decision, Inject)
    assert decision.ports_text == "8445=8080"


def test_ports_that_are_none_are_left_to_the_api_server_to_refuse() -> None:
    raw = pod(containers=[{"name": "app", "ports": [{"containerPort": number} for number in (0, 65536, None)]}])

    decision = decided(raw)

    assert isinstance(decision, Inject)
    assert decision.ports_text == ""


def test_pod_with_more_ports_than_are_free_is_denied() -> None:
    taken = [{"containerPort": number, "protocol": "UDP"} for number in range(8443, 65535)]

    message = refusal(
        pod(containers=[{"name": "app", "ports": [{"containerPort": 80}, {"containerPort": 81}, *taken]}])
    )

    assert message == "the pod has 2 TCP ports, more than there are free ports for TLS"


def test_pod_with_absurdly_many_ports_is_denied_and_not_repeated_in_the_reason() -> None:
    ports = [{"containerPort": number} for number in range(2, 60_000)]
    raw = annotated(ports="8443=1")
    raw["spec"]["containers"][0]["ports"] = ports

    default = refusal(pod(containers=[{"name": "app", "ports": ports}]))
    written = refusal(raw)

    assert default.startswith("the pod has 59998 TCP ports, and at most 256 get TLS; choose some with annotation ")
    assert written.endswith("app ports that are TCP containerPorts of the pod (2, 3, 4, 5, 6, 7, 8, 9, 10, 11, ...)")


@pytest.mark.parametrize("value", ["60s", "1m", "24h", "7d", "604800s"])
def test_lifetime_within_the_bounds_is_accepted(value: str) -> None:
    assert isinstance(decided(annotated(lifetime=value)), Inject)


@pytest.mark.parametrize(
    "value", ["59s", "0h", "8d", "604801s", "24", "24H", "1h30m", "-1h", "1.5h", "٢h", "9" * 30 + "s"]
)
def test_lifetime_out_of_bounds_or_of_another_form_is_denied(value: str) -> None:
    message = refusal(annotated(lifetime=value))

    assert "allowed: a time such as 24h, from 60s to 604800s; but " in message
