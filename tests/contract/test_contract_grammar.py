"""DNS names, ports, upstreams, the CA's URL, lifetimes: what is accepted, what is refused and in which words."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.dns import is_dns_name, is_label, parse_zone
from contract.errors import GrammarError
from contract.grammar import (
    CAEndpoint,
    Lifetime,
    PortPair,
    Upstream,
    WantedUpstream,
    is_record_id,
    parse_port,
    parse_port_pairs,
    parse_upstreams,
)
from contract.names import LIFETIME_MAX_SECONDS, LIFETIME_MIN_SECONDS

_PORTS = st.integers(1, 65535)
_LABELS = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)
_HOSTS = st.lists(_LABELS, min_size=3, max_size=6).map(".".join)
_LONGEST_NAME = ".".join(["a" * 63] * 3 + ["a" * 61])  # 253 characters

_BAD_LABELS = [
    pytest.param("", id="empty"),
    pytest.param("a" * 64, id="64 characters"),
    pytest.param("a" * 65, id="65 characters"),
    *(pytest.param(f"{sign}a", id=f"leading {sign}") for sign in "-._"),
    *(pytest.param(f"a{sign}", id=f"trailing {sign}") for sign in "-._"),
    pytest.param("Shop", id="upper case"),
    pytest.param("a\n", id="trailing newline"),
    pytest.param("a\u0661", id="foreign digit"),
    pytest.param("\u017f", id="a letter that folds to s"),
]


@given(tls=_PORTS, app=_PORTS)
def test_port_pair_survives_its_text(tls: int, app: int) -> None:
    pair = PortPair(tls, app)

    assert PortPair.parse(str(pair)) == pair


@given(host=_HOSTS, port=_PORTS, remote=_PORTS)
def test_wanted_upstream_survives_its_text(host: str, port: int, remote: int) -> None:
    upstream = WantedUpstream(host, port, remote)

    assert WantedUpstream.parse(str(upstream)) == upstream


@given(last=st.integers(1, 254), port=_PORTS, host=_HOSTS, remote=_PORTS)
def test_upstream_survives_its_text(last: int, port: int, host: str, remote: int) -> None:
    upstream = Upstream(f"127.0.1.{last}", port, host, remote)

    assert Upstream.parse(str(upstream)) == upstream


@given(host=st.one_of(_HOSTS, st.ip_addresses().map(str)), port=_PORTS)
def test_ca_endpoint_survives_its_text(host: str, port: int) -> None:
    endpoint = CAEndpoint(host, port)

    assert CAEndpoint.parse(str(endpoint)) == endpoint


@given(seconds=st.integers(LIFETIME_MIN_SECONDS, LIFETIME_MAX_SECONDS))
def test_lifetime_survives_its_text(seconds: int) -> None:
    lifetime = Lifetime(seconds)

    assert Lifetime.parse(str(lifetime)) == lifetime


@pytest.mark.parametrize("text", ["a", "0", "a-b", "a" * 62, "a" * 63])
def test_label_has_up_to_63_letters_digits_and_dashes(text: str) -> None:
    assert is_label(text)


@pytest.mark.parametrize("text", [*_BAD_LABELS, pytest.param("a.b", id="a dot")])
def test_bad_label_is_seen(text: str) -> None:
    assert not is_label(text)


@pytest.mark.parametrize("text", ["a", "a.b", "0.0", _LONGEST_NAME])
def test_dns_name_has_up_to_253_characters(text: str) -> None:
    assert is_dns_name(text)


@pytest.mark.parametrize(
    "text", [*_BAD_LABELS, pytest.param("a..b", id="empty label"), pytest.param(f"{_LONGEST_NAME}a", id="254")]
)
def test_bad_dns_name_is_seen(text: str) -> None:
    assert not is_dns_name(text)


@pytest.mark.parametrize("text", ["cluster.local", "local", "svc.example", ".".join(["a" * 49] * 4)])
def test_zone_is_a_dns_name(text: str) -> None:
    assert parse_zone(text) == text


@pytest.mark.parametrize(
    "text", [*_BAD_LABELS, pytest.param("svc", id="svc"), pytest.param(".".join(["a" * 50] * 4), id="203 characters")]
)
def test_bad_zone_is_refused(text: str) -> None:
    with pytest.raises(GrammarError, match=r"^zone '.*': expected a DNS name in lower case .*, and not svc$"):
        parse_zone(text)


@pytest.mark.parametrize("text", ["1", "80", "65535"])
def test_port_is_a_number_in_plain_digits(text: str) -> None:
    assert parse_port(text) == int(text)


@pytest.mark.parametrize(
    "text",
    ["", "0", "65536", "99999", "123456", "08443", "+80", "-1", " 80", "80\n", "8_0", "0x50", "\u0668\u0660", "80.0"],
)
def test_bad_port_is_refused(text: str) -> None:
    with pytest.raises(GrammarError, match=r"is not a port: expected 1 to 65535 in plain digits"):
        parse_port(text)


def test_port_pairs_keep_their_order() -> None:
    pairs = parse_port_pairs("8444=9090,8443=8080")

    assert pairs == (PortPair(8444, 9090), PortPair(8443, 8080))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param("", "'' is not a TLS=app pair of ports such as 8443=8080", id="empty"),
        pytest.param("8443", "'8443' is not a TLS=app pair", id="no pair"),
        pytest.param("8443=8080,", "'' is not a TLS=app pair", id="trailing comma"),
        pytest.param("8443=8080, 8444=8081", "' 8444' is not a port", id="space"),
        pytest.param("8443=8080=1", "'8080=1' is not a port", id="three"),
        pytest.param("8443=1,8443=2", "port 8443 is listed twice", id="doubled"),
        pytest.param("8443=8443", "port 8443 cannot be both a TLS port and a port of the app", id="itself"),
        pytest.param("8443=80,80=81", "port 80 cannot be both", id="another one"),
    ],
)
def test_bad_port_pairs_are_refused(text: str, reason: str) -> None:
    with pytest.raises(GrammarError) as refusal:
        parse_port_pairs(text)

    assert reason in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "upstream"),
    [
        pytest.param("payments:80", WantedUpstream("payments", 80, 443), id="bare name"),
        pytest.param("payments.shop:80=8443", WantedUpstream("payments.shop", 80, 8443), id="remote port"),
        pytest.param("db-0.db.shop.svc:5432=5432", WantedUpstream("db-0.db.shop.svc", 5432, 5432), id="one pod"),
    ],
)
def test_wanted_upstream_is_read(text: str, upstream: WantedUpstream) -> None:
    assert WantedUpstream.parse(text) == upstream


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param("payments", "'payments' is not of the form host:port or host:port=remote port", id="no port"),
        pytest.param("", "'' is not of the form host:port", id="empty"),
        pytest.param(":80", "'' is not a DNS name", id="no host"),
        pytest.param("Payments:80", "'Payments' is not a DNS name in lower case", id="upper case"),
        pytest.param("payments.:80", "'payments.' is not a DNS name", id="dot at the end"),
        pytest.param("payments:0", "'0' is not a port", id="port 0"),
        pytest.param("payments:80=", "'' is not a port", id="no remote port"),
        pytest.param("payments:80=443=1", "'443=1' is not a port", id="three ports"),
        pytest.param("payments:80:90", "'80:90' is not a port", id="two colons"),
    ],
)
def test_bad_wanted_upstream_is_refused(text: str, reason: str) -> None:
    with pytest.raises(GrammarError) as refusal:
        WantedUpstream.parse(text)

    assert reason in str(refusal.value)


def test_upstreams_are_read() -> None:
    upstreams = parse_upstreams("127.0.1.1:80=payments.shop.svc:443,127.0.1.1:81=payments.shop.svc:444")

    assert upstreams == (
        Upstream("127.0.1.1", 80, "payments.shop.svc", 443),
        Upstream("127.0.1.1", 81, "payments.shop.svc", 444),
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param("", "is not of the form 127.0.1.N:port=host:port", id="empty"),
        pytest.param("127.0.1.1:80", "'127.0.1.1:80' is not of the form", id="no target"),
        pytest.param("127.0.0.1:80=a.b.svc:443", "'127.0.0.1' is not an address of a host in 127.0.1.0/24", id="other"),
        pytest.param("127.0.1.0:80=a.b.svc:443", "'127.0.1.0' is not an address", id="the network"),
        pytest.param("127.0.1.255:80=a.b.svc:443", "'127.0.1.255' is not an address", id="broadcast"),
        pytest.param("127.0.1.01:80=a.b.svc:443", "'127.0.1.01' is not an address", id="leading zero"),
        pytest.param("127.0.1.1:80=a.svc:443", "'a.svc' is not the full name of a Service", id="two labels"),
        pytest.param("127.0.1.1:80=a.b.svc;:443", "'a.b.svc;' is not a DNS name", id="semicolon"),
        pytest.param(f"127.0.1.1:80={'a.' * 127}svc:443", "is not a DNS name", id="long name"),
        pytest.param("127.0.1.1:80=a.b.svc:70000", "'70000' is not a port", id="far port"),
        pytest.param("127.0.1.1:80=a.b.svc:1,127.0.1.1:80=c.d.svc:1", "127.0.1.1:80 is listed twice", id="doubled"),
    ],
)
def test_bad_upstreams_are_refused(text: str, reason: str) -> None:
    with pytest.raises(GrammarError) as refusal:
        parse_upstreams(text)

    assert reason in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        pytest.param("https://podtls-ca.podtls-system.svc", CAEndpoint("podtls-ca.podtls-system.svc", 443), id="name"),
        pytest.param("https://ca:8443/", CAEndpoint("ca", 8443), id="port"),
        pytest.param("https://127.0.0.1", CAEndpoint("127.0.0.1", 443), id="IPv4"),
        pytest.param("https://[fd00::1]:8443", CAEndpoint("fd00::1", 8443), id="IPv6"),
    ],
)
def test_ca_endpoint_is_read(text: str, endpoint: CAEndpoint) -> None:
    assert CAEndpoint.parse(text) == endpoint


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param("", "is not of the form https://host[:port]", id="empty"),
        pytest.param("http://ca.svc", "'http://ca.svc' is not of the form https://host[:port]", id="plain HTTP"),
        pytest.param("https://ca.svc/est", "is not of the form", id="a path"),
        pytest.param("https://me@ca.svc", "'me@ca.svc' is not a DNS name", id="a user"),
        pytest.param("https://", "'' is not a DNS name", id="no host"),
        pytest.param("https://CA.svc", "'CA.svc' is not a DNS name in lower case", id="upper case"),
        pytest.param("https://ca.svc:", "'' is not a port", id="empty port"),
        pytest.param("https://ca.svc:65536", "'65536' is not a port", id="port too large"),
        pytest.param("https://ca.svc\r\nX: y", "is not", id="line break"),
        pytest.param("https://ca.svc\n", "is not", id="trailing newline"),
        pytest.param("https://[::1%eth0]", "'[::1%eth0]' is not an IPv6 address", id="scope"),
        pytest.param("https://[ca.svc]", "'[ca.svc]' is not an IPv6 address", id="name in brackets"),
        pytest.param("https://fd00::1", "is not a port", id="IPv6 without brackets"),
    ],
)
def test_bad_ca_endpoint_is_refused(text: str, reason: str) -> None:
    with pytest.raises(GrammarError) as refusal:
        CAEndpoint.parse(text)

    assert reason in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "seconds"), [("60s", 60), ("1m", 60), ("24h", 86400), ("7d", 604800), ("604800s", 604800)]
)
def test_lifetime_is_read(text: str, seconds: int) -> None:
    assert Lifetime.parse(text).seconds == seconds


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param("59s", "59s is not within 60s to 604800s", id="too short"),
        pytest.param("604801s", "604801s is not within", id="too long"),
        pytest.param("999999999d", "is not within", id="far too long"),
        pytest.param("0h", "'0h' is not a whole number and s, m, h or d, such as 24h", id="zero"),
        pytest.param("24", "'24' is not a whole number", id="no unit"),
        pytest.param("h", "'h' is not a whole number", id="no number"),
        pytest.param("1.5h", "'1.5h' is not", id="fraction"),
        pytest.param("24H", "'24H' is not", id="upper case"),
        pytest.param("1h30m", "'1h30m' is not", id="two units"),
        pytest.param("24h\n", "'24h\\n' is not", id="trailing newline"),
        pytest.param("\u0662\u0664h", "is not a whole number", id="foreign digits"),
    ],
)
def test_bad_lifetime_is_refused(text: str, reason: str) -> None:
    with pytest.raises(GrammarError) as refusal:
        Lifetime.parse(text)

    assert reason in str(refusal.value)


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: PortPair(0, 80), id="port 0"),
        pytest.param(lambda: PortPair(8443, 65536), id="port 65536"),
        pytest.param(lambda: WantedUpstream("Payments", 80), id="host"),
        pytest.param(lambda: Upstream("127.0.1.1", 80, "a.b.svc", -1), id="remote port"),
        pytest.param(lambda: CAEndpoint("fd00::1%eth0"), id="scope"),
        pytest.param(lambda: CAEndpoint("a:b"), id="not an address"),
        pytest.param(lambda: CAEndpoint("1::2::3"), id="nearly an address"),
    ],
)
def test_value_made_without_parsing_is_checked_as_well(make: Callable[[], object]) -> None:
    with pytest.raises(GrammarError):
        make()


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0123456789abcdef" * 2, True), ("0" * 31, False), ("0" * 33, False), ("A" * 32, False), ("0" * 32 + "\n", False)],
)
def test_record_id_is_32_hexadecimal_digits(text: str, expected: bool) -> None:
    assert is_record_id(text) is expected
