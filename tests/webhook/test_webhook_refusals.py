from typing import Any

import pytest

from tests.webhook.world import MTLS, annotated, pod, refusal_of
from webhook.decision import Defaults


@pytest.mark.parametrize(
    ("raw", "defaults", "reason"),
    [
        pytest.param(
            annotated(mode="permissive"),
            MTLS,
            "podtls.io/mode: permissive (annotation on the pod)",
            id="pod-permissive",
        ),
        pytest.param(
            pod(), Defaults("permissive", "port"), "podtls.io/mode: permissive (label on the namespace)", id="namespace"
        ),
        pytest.param(
            annotated(capture="redirect"),
            MTLS,
            "podtls.io/capture: redirect (annotation on the pod)",
            id="pod-redirect",
        ),
        pytest.param(
            pod(), Defaults("tls", "redirect"), "podtls.io/capture: redirect (label on the namespace)", id="ns-redirect"
        ),
        pytest.param(annotated(allow="shop/checkout"), MTLS, "annotation podtls.io/allow", id="allow"),
    ],
)
def test_what_is_not_supported_yet_is_denied_saying_so(raw: dict[str, Any], defaults: Defaults, reason: str) -> None:
    message = refusal_of(raw, defaults)

    assert message.startswith(reason)
    assert "not supported yet by podtls 0.1.0" in message


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        pytest.param(
            pod(containers=[{"name": "podtls-nginx"}]),
            "container podtls-nginx: this name is reserved for podtls; choose another one",
            id="app-container-name",
        ),
        pytest.param(
            pod(containers=[{"name": "app", "ports": [{"name": "podtls", "containerPort": 80}]}]),
            "container 'app': port name podtls is reserved for podtls; choose another one",
            id="app-port-name",
        ),
        pytest.param(
            pod(initContainers=[{"name": "mesh", "ports": [{"name": "podtls-12", "containerPort": 80}]}]),
            "container 'mesh': port name podtls-12 is reserved for podtls; choose another one",
            id="sidecar-port-name",
        ),
        pytest.param(
            pod(containers=[{"name": "app", "volumeMounts": [{"name": "podtls-run", "mountPath": "/x"}]}]),
            "container 'app': volume 'podtls-run' is reserved for podtls and cannot be mounted",
            id="mount-of-the-key",
        ),
        pytest.param(
            pod(hostAliases=[{"ip": "127.0.1.9", "hostnames": ["a"]}]),
            "hostAliases: '127.0.1.9' is in 127.0.1.0/24, which is reserved for podtls",
            id="host-alias",
        ),
        pytest.param(
            pod(hostAliases=[{"ip": "::ffff:127.000.01.9", "hostnames": ["a"]}]),
            "hostAliases: '::ffff:127.000.01.9' is in 127.0.1.0/24, which is reserved for podtls",
            id="host-alias-spelt-otherwise",
        ),
        pytest.param(
            pod(initContainers=[{"name": "podtls-init"}] * 600, volumes=[{"name": "podtls-x"}] * 10),
            "610 init containers, volumes and hostAliases carry names reserved for podtls",
            id="more-than-any-injection-leaves",
        ),
    ],
)
def test_use_of_a_reserved_name_is_denied(raw: dict[str, Any], reason: str) -> None:
    assert refusal_of(raw) == reason
