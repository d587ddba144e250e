from typing import Any

import pytest

from contract.names import INJECT
from tests.webhook.api_server import as_sent, debug_copy
from tests.webhook.goldens import cases, first_round, load
from tests.webhook.world import MTLS, SETTINGS, annotated, decided, patch, pod, with_pod_settings
from webhook.decision import Defaults, Deny, Inject, Skip


def inject_of(raw: dict[str, Any], defaults: Defaults = MTLS) -> Inject:
    decision = decided(raw, defaults)
    assert isinstance(decision, Inject), decision
    return decision


def refusal(raw: dict[str, Any], defaults: Defaults = MTLS) -> str:
    decision = decided(raw, defaults)
    assert isinstance(decision, Deny), decision
    return decision.reason


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        pytest.param(pod({"labels": {INJECT: "disabled"}}), "label podtls.io/inject=disabled opts out", id="opt-out"),
        pytest.param(pod(hostNetwork=True), "hostNetwork pods share the node's ports and addresses", id="hostNetwork"),
        pytest.param(pod(os={"name": "windows"}), "Windows pods are not supported", id="windows"),
        pytest.param(
            pod(nodeSelector={"kubernetes.io/os": "windows"}), "Windows pods are not supported", id="windows-selector"
        ),
        pytest.param(
            pod({"annotations": {"kubernetes.io/config.mirror": "5d4"}}), "mirror pods cannot be changed", id="mirror"
        ),
    ],
)
def test_pod_that_cannot_or_will_not_be_enrolled_is_skipped_with_the_reason(raw: dict[str, Any], reason: str) -> None:
    decision = decided(raw)

    assert decision == Skip(reason, (f"podtls: not injected: {reason}",))


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(pod(hostNetwork=False), id="hostNetwork-false"),
        pytest.param(pod(os={"name": "linux"}, nodeSelector={"kubernetes.io/os": "windows"}), id="os-linux-wins"),
        pytest.param(pod({"labels": {INJECT: "enabled"}}), id="enabled"),
        pytest.param(pod(restartPolicy=None, dnsPolicy=None, os=None, nodeSelector=None), id="nulls"),
    ],
)
def test_ordinary_pod_is_injected_without_warnings(raw: dict[str, Any]) -> None:
    decision = inject_of(raw)

    assert decision.reason == "enrolled: mode mtls, capture port"
    assert decision.warnings == ()


def test_skipped_pod_that_has_our_containers_keeps_them_with_a_warning() -> None:
    raw = first_round("deployment")
    raw["metadata"]["labels"][INJECT] = "disabled"

    decision = decided(raw)

    assert isinstance(decision, Skip)
    assert decision.warnings[1:] == ("podtls: its containers named podtls-... are left as they are",)


def test_opt_out_wins_over_annotations_that_would_be_denied() -> None:
    raw = annotated(mode="nonsense")
    raw["metadata"]["labels"] = {INJECT: "disabled"}

    assert isinstance(decided(raw), Skip)


def test_annotation_on_the_pod_overrides_the_namespace() -> None:
    decision = inject_of(annotated(mode="mtls", capture="port"), Defaults("permissive", "redirect"))

    assert decision.mode == "mtls"


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
    message = refusal(raw, defaults)

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
    assert refusal(raw) == reason


def test_port_name_that_only_begins_like_ours_is_the_users() -> None:
    raw = pod(containers=[{"name": "app", "ports": [{"name": "podtls-web", "containerPort": 80}]}])

    assert inject_of(raw).ports_text == "8443=80"


@pytest.mark.parametrize(
    ("policy", "seconds"),
    [("Always", 60), ("OnFailure", 60), ("Never", 600)],
)
def test_pod_that_has_one_chance_only_gets_a_longer_budget(policy: str, seconds: int) -> None:
    assert inject_of(pod(restartPolicy=policy)).budget_seconds == seconds


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
    decision = inject_of(annotated(mode=mode), Defaults(default, "port"))

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
    assert inject_of(raw).warnings == (warning,)


def test_foreign_init_container_before_ours_is_warned_of() -> None:
    decision = inject_of(load("foreign-init-first"))

    assert decision.warnings == ("podtls: init container 'mesh-init' runs before podtls-init and has no upstreams",)


def test_copy_by_kubectl_debug_is_warned_of_and_follows_its_namespace() -> None:
    raw = as_sent(annotated(mode="tls"))
    operations = patch(as_sent(debug_copy(first_round("annotations"))))

    decision = inject_of(load("debug-copy"))

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
def test_any_other_image_is_replaced_by_ours(image: str, *, accept: bool) -> None:
    raw = mirrored(image)

    operations = patch(raw, settings=with_pod_settings(accept_image_rewrite=accept))

    images = [operation.value["image"] for operation in operations if operation.path.startswith("/spec/initContainers")]
    assert images == [SETTINGS.pods.image, SETTINGS.pods.image]


def mirrored(image: str) -> dict[str, Any]:
    raw = as_sent(first_round("bare"))
    for container in raw["spec"]["initContainers"]:
        container["image"] = image
    return raw


@pytest.mark.parametrize("case", cases())
def test_no_golden_is_denied_and_warnings_fit_what_the_api_server_shows(case: str) -> None:
    decision = inject_of(load(case))

    assert all(len(warning) <= 256 and warning.isascii() and warning.isprintable() for warning in decision.warnings)
