"""The shipped webhook configuration: for every combination of namespace labels exactly one entry, or none."""

import base64
import itertools
from typing import Any

import kubernetes_validate
import pytest

from contract import names as contract
from lab.sandbox.apiserver.admission import WebhookEntry, choose_webhooks, parse_configuration
from lab.sandbox.errors import ManifestError
from lab.sandbox.manifests import FOLDER, load

ABSENT = ""
INJECTS = (ABSENT, "enabled", "disabled", "true", "Disabled", "no")
MODES = (ABSENT, *contract.MODES, "MTLS", "plaintext")
CAPTURES = (ABSENT, *contract.CAPTURES, "Redirect", "bogus")
SYSTEM_NAMESPACES = ("kube-system", "kube-public", "kube-node-lease", "podtls-system")


def _configuration() -> dict[str, Any]:
    (raw,) = load(FOLDER / "base" / "webhook-configuration.yaml")
    return raw


def _webhooks() -> tuple[WebhookEntry, ...]:
    raw = _configuration()
    for entry in raw["webhooks"]:
        entry["clientConfig"]["caBundle"] = base64.b64encode(b"a bundle").decode()
    return parse_configuration(raw)


WEBHOOKS = _webhooks()


def _labels(namespace: str, inject: str, mode: str, capture: str) -> dict[str, str]:
    labels = {contract.INJECT: inject, contract.MODE: mode, contract.CAPTURE: capture}
    return {"kubernetes.io/metadata.name": namespace} | {key: value for key, value in labels.items() if value}


@pytest.mark.parametrize("inject", INJECTS)
def test_every_combination_of_labels_meets_the_one_right_entry_or_none(inject: str) -> None:
    combinations = [*itertools.product(MODES, CAPTURES)]
    strict = [
        (mode if mode in contract.MODES else "mtls", capture if capture in contract.CAPTURES else "port")
        for mode, capture in combinations
    ]

    called = [choose_webhooks(WEBHOOKS, _labels("shop", inject, mode, capture)) for mode, capture in combinations]

    enrolled = inject not in {ABSENT, "disabled"}
    expected = [[f"/mutate/{mode}/{capture}"] if enrolled else [] for mode, capture in strict]
    assert [[webhook.path for webhook in each] for each in called] == expected


@pytest.mark.parametrize("namespace", SYSTEM_NAMESPACES)
def test_system_namespaces_are_never_asked_about_even_when_labelled(namespace: str) -> None:
    assert choose_webhooks(WEBHOOKS, _labels(namespace, "enabled", "mtls", "port")) == ()


def test_entries_are_named_after_mode_and_capture_and_fail_closed() -> None:
    entries = {webhook.name: webhook for webhook in WEBHOOKS}

    for mode, capture in itertools.product(contract.MODES, contract.CAPTURES):
        entry = entries.pop(f"{mode}-{capture}.podtls.io")
        assert entry.path == f"/mutate/{mode}/{capture}"
        assert entry.server_name == "podtls-webhook.podtls-system.svc"
        assert (entry.port, entry.timeout_seconds, entry.failure_policy) == (443, 5, "Fail")
    assert entries == {}


def test_configuration_keeps_the_webhook_contract_and_leaves_the_bundle_to_the_controller() -> None:
    raw = _configuration()

    kubernetes_validate.validate(raw, "1.37", strict=True)
    assert raw["metadata"]["labels"]["app.kubernetes.io/name"] == "podtls"
    for entry in raw["webhooks"]:
        assert "caBundle" not in entry["clientConfig"]
        assert not {"objectSelector", "matchConditions"} & set(entry)
        assert entry["sideEffects"] == "None"
        assert entry["reinvocationPolicy"] == "IfNeeded"
        assert entry["matchPolicy"] == "Equivalent"
        assert entry["admissionReviewVersions"] == ["v1"]


@pytest.mark.parametrize(
    "rule",
    [
        pytest.param({"operations": ["UPDATE"]}, id="another operation"),
        pytest.param({"apiGroups": ["apps"]}, id="another group"),
        pytest.param({"apiVersions": ["v2"]}, id="another version"),
        pytest.param({"resources": ["pods/exec"]}, id="a subresource"),
        pytest.param({"scope": "Cluster"}, id="cluster scope"),
    ],
)
def test_entry_whose_rule_is_for_something_else_is_not_called(rule: dict[str, Any]) -> None:
    raw = _configuration()
    (entry,) = [each for each in raw["webhooks"] if each["name"] == "mtls-port.podtls.io"]
    entry["clientConfig"]["caBundle"] = ""
    entry["rules"][0] |= rule

    webhooks = parse_configuration({"webhooks": [entry]})

    assert choose_webhooks(webhooks, _labels("shop", "enabled", ABSENT, ABSENT)) == ()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        pytest.param({}, "caBundle is not base64 of PEM", id="nobody has set the bundle"),
        pytest.param({"caBundle": "%%%"}, "caBundle is not base64 of PEM", id="not base64"),
        pytest.param({"caBundle": "/////w=="}, "caBundle is not base64 of PEM", id="not text"),
    ],
)
def test_entry_without_a_bundle_is_refused(change: dict[str, str], reason: str) -> None:
    raw = _configuration()
    raw["webhooks"][0]["clientConfig"] |= change

    with pytest.raises(ManifestError, match=reason):
        parse_configuration(raw)


def test_unknown_failure_policy_is_refused() -> None:
    raw = _configuration()
    raw["webhooks"][0] |= {"failurePolicy": "Maybe"}

    with pytest.raises(ManifestError, match="failurePolicy 'Maybe' is neither Fail nor Ignore"):
        parse_configuration(raw)
