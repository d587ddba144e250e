from pathlib import Path

import pytest

from tests.webhook.bundles import bundle_pem, key_pem
from webhook.bundle import load_bundle, parse_bundle
from webhook.errors import SettingsError, TrustBundleError
from webhook.settings import PodSettings, Settings

IMAGE = {"PODTLS_INIT_IMAGE": "registry.example.com/podtls/init:0.1.0@sha256:abc"}


def test_image_alone_is_enough() -> None:
    settings = Settings.from_env(IMAGE)

    assert settings.pods == PodSettings(image=IMAGE["PODTLS_INIT_IMAGE"])
    assert settings.pods.policy.ca_host == "podtls-ca.podtls-system.svc"
    assert settings.pods.run_as_user == 64321
    assert settings.trust_bundle_file == Path("/var/run/podtls-bundle/ca.crt")
    assert settings.log == Path("/var/log/podtls/evidence.jsonl")
    assert settings.replica


def test_everything_can_be_set() -> None:
    environment = {
        **IMAGE,
        "PODTLS_CA_URL": "https://ca.example.com:8443",
        "PODTLS_TRUST_BUNDLE_FILE": "/bundle",
        "PODTLS_TRUST_DOMAIN": "example.org",
        "PODTLS_ZONE": "k8s.local",
        "PODTLS_LOG": "/log",
        "PODTLS_REPLICA": "webhook-1",
        "PODTLS_RUN_AS_USER": "none",
        "PODTLS_ACCEPT_IMAGE_REWRITE": "true",
    }

    settings = Settings.from_env(environment)

    pods = PodSettings(
        image=IMAGE["PODTLS_INIT_IMAGE"],
        ca_url="https://ca.example.com:8443",
        trust_domain="example.org",
        zone="k8s.local",
        run_as_user=None,
        accept_image_rewrite=True,
    )
    assert settings == Settings(pods, Path("/bundle"), Path("/log"), "webhook-1")


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        pytest.param("PODTLS_INIT_IMAGE", "", id="no-image"),
        pytest.param("PODTLS_INIT_IMAGE", "a b", id="image-with-space"),
        pytest.param("PODTLS_CA_URL", "http://ca", id="plain-http"),
        pytest.param("PODTLS_CA_URL", "https://ca/$(X)", id="url-that-kubelet-would-expand"),
        pytest.param("PODTLS_CA_URL", "https://ca\n", id="url-with-newline"),
        pytest.param("PODTLS_CA_URL", "https://ca/est", id="url-with-a-path-that-the-injector-refuses"),
        pytest.param("PODTLS_CA_URL", "https://ca:65536", id="url-with-a-port-that-is-none"),
        pytest.param("PODTLS_CA_URL", "https://a..b", id="url-with-an-empty-label"),
        pytest.param("PODTLS_TRUST_DOMAIN", "a/b", id="trust-domain"),
        pytest.param("PODTLS_TRUST_DOMAIN", "a" * 65, id="trust-domain-longer-than-the-CA-takes"),
        pytest.param("PODTLS_ZONE", "svc", id="zone-svc"),
        pytest.param("PODTLS_ZONE", "a..b", id="zone-with-an-empty-label"),
        pytest.param("PODTLS_ZONE", "a.", id="zone-with-a-dot-at-its-end"),
        pytest.param("PODTLS_ZONE", "cluster.local;", id="zone"),
        pytest.param("PODTLS_RUN_AS_USER", "0", id="root"),
        pytest.param("PODTLS_RUN_AS_USER", "2147483648", id="large-uid"),
        pytest.param("PODTLS_RUN_AS_USER", "nobody", id="user-name"),
        pytest.param("PODTLS_RUN_AS_USER", "٦", id="foreign-digit"),
        pytest.param("PODTLS_ACCEPT_IMAGE_REWRITE", "yes", id="boolean"),
    ],
)
def test_wrong_setting_is_an_error_naming_the_variable(variable: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"^{variable}: "):
        Settings.from_env({**IMAGE, variable: value})


def test_bundle_is_its_certificates_and_nothing_else() -> None:
    pem = b"# our roots\n" + bundle_pem("one") + key_pem() + bundle_pem("two")

    bundle = parse_bundle(pem)

    assert bundle.count("BEGIN CERTIFICATE") == 2
    assert "PRIVATE" not in bundle
    assert "our roots" not in bundle


@pytest.mark.parametrize(
    ("pem", "reason"),
    [
        pytest.param(b"", "expected PEM certificates", id="empty"),
        pytest.param(b"hello", "expected PEM certificates", id="no-pem"),
        pytest.param(key_pem(), "expected PEM certificates", id="key-alone"),
        pytest.param(
            b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "expected PEM certificates", id="garbage"
        ),
        pytest.param(b"x" * 65537, "65537 bytes, expected at most 65536", id="too-large"),
    ],
)
def test_what_is_not_a_bundle_is_refused(pem: bytes, reason: str) -> None:
    with pytest.raises(TrustBundleError, match=reason) as caught:
        parse_bundle(pem)

    assert caught.value.http_status == 503


def test_pods_carry_the_bundle_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_bytes(bundle_pem("root"))

    bundle = load_bundle(tmp_path / "ca.crt")

    assert bundle == (tmp_path / "ca.crt").read_text("ascii")


def test_missing_bundle_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrustBundleError, match=f"^trust bundle {tmp_path}/ca.crt: No such file or directory$"):
        load_bundle(tmp_path / "ca.crt")
