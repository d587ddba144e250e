"""What `podtls check` says of namespaces: labels that do not mean what somebody thinks they do."""

from typing import Any

import pytest

from contract import names as contract
from podtls.check.namespaces import check_namespaces, choose_defaults
from tests.podtls.cluster_world import manifests, namespace
from webhook.decision import Defaults

INJECT, MODE, CAPTURE = contract.INJECT, contract.MODE, contract.CAPTURE
POD_SECURITY = "pod-security.kubernetes.io/enforce"


def configuration() -> dict[str, Any]:
    (found,) = [each for each in manifests() if each["kind"] == "MutatingWebhookConfiguration"]
    return found


def test_enrolled_namespaces_are_named_when_all_is_well() -> None:
    listed = [
        namespace("web", {INJECT: "enabled", MODE: "tls", CAPTURE: "port", POD_SECURITY: "restricted"}),
        namespace("shop", {INJECT: "enabled"}),
        namespace("old", {INJECT: "disabled"}),
        namespace("default"),
    ]

    (found,) = check_namespaces(listed, configuration())

    assert (found.level, found.what) == ("ok", "enrolled: shop, web")


@pytest.mark.parametrize(
    ("labels", "level", "what", "do"),
    [
        pytest.param(
            {INJECT: "Disabled"},
            *("warning", "label podtls.io/inject=Disabled is unknown: it enrolls, like any value but disabled"),
            *("write one of enabled, true, disabled",),
            id="inject",
        ),
        pytest.param(
            {INJECT: "enabled", MODE: "MTLS"},
            *("warning", "label podtls.io/mode=MTLS is unknown: it means mtls", "write one of mtls, tls, permissive"),
            id="mode",
        ),
        pytest.param(
            {INJECT: "enabled", CAPTURE: "Redirect"},
            *("warning", "label podtls.io/capture=Redirect is unknown: it means port", "write one of port, redirect"),
            id="capture",
        ),
        pytest.param(
            {INJECT: "enabled", "podtls.io/enforce": "yes"},
            *("warning", "label podtls.io/enforce=yes is unknown: it enforces nothing", "write one of true, false"),
            id="enforce",
        ),
        pytest.param(
            {"podtls.io/injct": "enabled"},
            *(
                "warning",
                "label podtls.io/injct is not one that podtls knows",
                "known are podtls.io/inject, podtls.io/mode",
            ),
            id="key",
        ),
        pytest.param(
            {MODE: "tls"},
            *("warning", "has podtls.io/mode or podtls.io/capture, but is not enrolled: its pods have no TLS"),
            *("kubectl label namespace shop podtls.io/inject=enabled",),
            id="not enrolled",
        ),
        pytest.param(
            {INJECT: "enabled", MODE: "permissive"},
            *("problem", "every pod will be refused: podtls.io/mode: permissive", "change the label"),
            id="refused",
        ),
    ],
)
def test_label_that_does_not_mean_what_it_says_is_found(labels: dict[str, str], level: str, what: str, do: str) -> None:
    (found,) = check_namespaces([namespace("shop", labels)], configuration())

    assert found.level == level
    assert found.what.startswith(f"shop: {what}")
    assert found.do.startswith(do)


def test_annotation_in_place_of_the_label_is_found() -> None:
    (found,) = check_namespaces([namespace("shop", annotations={INJECT: "enabled"})], configuration())

    assert (found.level, found.do) == ("warning", "kubectl label namespace shop podtls.io/inject=enabled")
    assert found.what == "shop: podtls.io/inject is an annotation; only the label enrolls: its pods have no TLS"


@pytest.mark.parametrize("name", ["kube-system", "kube-public", "kube-node-lease", "podtls-system"])
def test_excluded_namespace_that_carries_the_label_is_found(name: str) -> None:
    (found,) = check_namespaces([namespace(name, {INJECT: "enabled"})], configuration())

    assert (found.level, found.do) == ("warning", f"kubectl label namespace {name} podtls.io/inject-")
    assert "is labelled, but never enrolled" in found.what


@pytest.mark.parametrize(("level", "found"), [("restricted", True), ("baseline", True), ("privileged", False)])
def test_pod_security_that_forbids_what_capture_redirect_needs_is_found(level: str, *, found: bool) -> None:
    labelled = namespace("shop", {INJECT: "enabled", CAPTURE: "redirect", POD_SECURITY: level})

    findings = check_namespaces([labelled], configuration())

    needs = f"shop: capture redirect needs NET_ADMIN, which Pod Security {level} forbids: no pod will start"
    assert any(finding.what == needs and finding.level == "problem" for finding in findings) is found


@pytest.mark.parametrize(
    ("kept", "seen"),
    [
        pytest.param(0, "shop: is labelled, but its pods are seen by no entry: no TLS", id="none"),
        pytest.param(2, "shop: is labelled, but its pods are seen by 2 entries of the webhook configuration", id="two"),
    ],
)
def test_enrolled_namespace_that_not_exactly_one_entry_sees_is_a_problem(kept: int, seen: str) -> None:
    altered = configuration()
    altered["webhooks"] = altered["webhooks"][:1] * kept

    (found,) = check_namespaces([namespace("shop", {INJECT: "enabled"})], altered)

    assert (found.level, found.what) == ("problem", seen)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        pytest.param({}, Defaults("mtls", "port"), id="absent"),
        pytest.param({MODE: "tls", CAPTURE: "redirect"}, Defaults("tls", "redirect"), id="known"),
        pytest.param({MODE: "TLS", CAPTURE: "both"}, Defaults("mtls", "port"), id="unknown"),
    ],
)
def test_labels_choose_the_defaults_as_the_entries_do(labels: dict[str, str], expected: Defaults) -> None:
    assert choose_defaults(namespace("shop", labels)) == expected
