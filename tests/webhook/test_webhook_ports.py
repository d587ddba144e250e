import pytest

from tests.webhook.world import annotated, decided, plan_of, pod, refusal_of
from webhook.decision import Inject


def test_port_name_that_only_begins_with_the_reserved_one_belongs_to_the_user() -> None:
    raw = pod(containers=[{"name": "app", "ports": [{"name": "podtls-web", "containerPort": 80}]}])

    assert plan_of(raw).ports_text == "8443=80"


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
    message = refusal_of(annotated(ports=value))

    assert message.startswith("annotation podtls.io/ports: ")
    assert reason in message


def test_tls_port_that_a_container_uses_is_denied() -> None:
    raw = annotated(ports="9090=8080")
    raw["spec"]["containers"][0]["ports"].append({"containerPort": 9090, "protocol": "UDP"})

    assert refusal_of(raw).endswith("allowed: TLS ports that no container uses, but 9090 is used")


def test_ports_of_a_pod_without_ports_are_denied() -> None:
    raw = annotated(ports="8443=8080")
    raw["spec"]["containers"][0]["ports"] = None

    assert "TCP containerPorts of the pod (none)" in refusal_of(raw)


def test_tls_port_that_is_an_upstreams_port_is_denied() -> None:
    message = refusal_of(annotated(ports="8443=8080", upstreams="payments:8443"))

    assert "TLS ports that are not a port of podtls.io/upstreams, but 8443 is" in message


def test_default_tls_ports_are_those_that_no_container_uses() -> None:
    raw = annotated(upstreams="payments:8443")
    raw["spec"]["initContainers"] = [{"name": "mesh", "ports": [{"containerPort": 8444, "protocol": "UDP"}]}]

    decision = decided(raw)

    assert isinstance(decision, Inject)
    assert decision.ports_text == "8445=8080"


def test_invalid_container_ports_are_left_to_the_api_server_to_refuse() -> None:
    raw = pod(containers=[{"name": "app", "ports": [{"containerPort": number} for number in (0, 65536, None)]}])

    decision = decided(raw)

    assert isinstance(decision, Inject)
    assert decision.ports_text == ""


def test_pod_with_more_ports_than_are_free_is_denied() -> None:
    taken = [{"containerPort": number, "protocol": "UDP"} for number in range(8443, 65535)]

    message = refusal_of(
        pod(containers=[{"name": "app", "ports": [{"containerPort": 80}, {"containerPort": 81}, *taken]}])
    )

    assert message == "the pod has 2 TCP ports, more than there are free ports for TLS"


def test_pod_with_absurdly_many_ports_is_denied_and_not_repeated_in_the_reason() -> None:
    ports = [{"containerPort": number} for number in range(2, 60_000)]
    raw = annotated(ports="8443=1")
    raw["spec"]["containers"][0]["ports"] = ports

    default = refusal_of(pod(containers=[{"name": "app", "ports": ports}]))
    written = refusal_of(raw)

    assert default.startswith("the pod has 59998 TCP ports, and at most 256 get TLS; choose some with annotation ")
    assert written.endswith("app ports that are TCP containerPorts of the pod (2, 3, 4, 5, 6, 7, 8, 9, 10, 11, ...)")
