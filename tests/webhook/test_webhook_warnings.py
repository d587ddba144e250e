from typing import Any

import pytest

from contract.names import INJECT
from tests.webhook.api_server import as_sent, debug_copy
from tests.webhook.goldens import first_round, load
from tests.webhook.world import SETTINGS, annotated, decided, patch, plan_of, pod, with_pod_settings
from webhook.decision import Defaults


@pytest.mark.parametrize(
    ("mode", "default", "warnings"),
    [
        pytest.param(
            "tls", "mtls", ("podtls: mode tls of the pod is weaker than mode mtls of its namespace",), id="down"
        ),
        pytest.param("mtls", "tls", (), id="up"),
        pytest.param("tls", "permissive", (), id="stronger-than-permissive"),
        pytest.param("tls", "tls", (), id="same"),
    ],
)
def test_mode_weaker_than_the_namespaces_is_allowed_with_a_warning(
    mode: str, default: str, warnings: tuple[str, ...]
) -> None:
    decision = plan_of(annotated(mode=mode), Defaults(default, "port"))

    assert decision.mode == mode
    assert decision.warnings == warnings


@pytest.mark.parametrize(
    ("raw", "warning"),
    [
        pytest.param(
            pod(dnsPolicy="Default"),
            "podtls: dnsPolicy Default: the CA's name podtls-ca.podtls-system.svc may not resolve",
            id="dnsPolicy-Default",
        ),
        pytest.param(
            pod(dnsPolicy="None"),
            "podtls: dnsPolicy None: the CA's name podtls-ca.podtls-system.svc may not resolve",
            id="dnsPolicy-None",
        ),
        pytest.param(
            pod({"labels": {INJECT: "Disabled"}}),
            "podtls: label podtls.io/inject: 'Disabled' does not opt out; only disabled does",
            id="misspelt-opt-out",
        ),
        pytest.param(
            annotated(upstream="payments:80"),
            "podtls: annotation 'podtls.io/upstream' is unknown and means nothing",
            id="misspelt-annotation",
        ),
        pytest.param(
            annotated(inject="disabled"),
            "podtls: annotation 'podtls.io/inject' is unknown and means nothing",
            id="label-as-annotation",
        ),
    ],
)
def test_what_works_otherwise_than_expected_is_a_warning(raw: dict[str, Any], warning: str) -> None:
    assert plan_of(raw).warnings == (warning,)


def test_foreign_init_container_before_podtls_init_is_warned_of() -> None:
    decision = plan_of(load("foreign-init-first"))

    assert decision.warnings == ("podtls: init container 'mesh-init' runs before podtls-init and has no upstreams",)


def test_copy_by_kubectl_debug_is_warned_of_and_follows_its_namespace() -> None:
    raw = as_sent(annotated(mode="tls"))
    operations = patch(as_sent(debug_copy(first_round("annotations"))))

    decision = plan_of(load("debug-copy"))

    assert "--keep-labels --keep-annotations" in decision.warnings[0]
    assert raw["metadata"]["annotations"]["podtls.io/mode"] == "tls"
    assert any(operation.note.startswith("podtls: 'podtls-nginx' differed") for operation in operations)


def test_image_of_a_mirror_is_accepted_with_a_warning_where_the_setting_allows_it() -> None:
    raw = mirrored("mirror.example.com/cache/podtls/init:0.1.0")
    settings = with_pod_settings(accept_image_rewrite=True)

    decision = decided(raw, settings=settings)

    assert patch(raw, settings=settings) == []
    assert decision.warnings == (
        f"podtls: image 'mirror.example.com/cache/podtls/init:0.1.0' accepted in place of {SETTINGS.pods.image}",
    )


@pytest.mark.parametrize(
    ("image", "accept"),
    [
        pytest.param("mirror.example.com/podtls/init:0.1.0", False, id="not-allowed"),
        pytest.param("mirror.example.com/podtls/init:0.0.9", True, id="another-tag"),
        pytest.param("mirror.example.com/evil:0.1.0", True, id="another-name"),
    ],
)
def test_any_other_image_is_replaced(image: str, *, accept: bool) -> None:
    raw = mirrored(image)

    operations = patch(raw, settings=with_pod_settings(accept_image_rewrite=accept))

    images = [operation.value["image"] for operation in operations if operation.path.startswith("/spec/initContainers")]
    assert images == [SETTINGS.pods.image, SETTINGS.pods.image]


def mirrored(image: str) -> dict[str, Any]:
    raw = as_sent(first_round("bare"))
    for container in raw["spec"]["initContainers"]:
        container["image"] = image
    return raw
