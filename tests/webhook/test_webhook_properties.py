import copy
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from contract import names as contract
from tests.webhook.api_server import as_sent
from tests.webhook.world import LATER_RECORD, MTLS, NAMESPACE, SETTINGS, apply, patch
from webhook.decision import Deny, Inject, decide
from webhook.request import build_request

NAMES = st.text(st.sampled_from("abc-~/é."), min_size=1, max_size=8)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
JSON = st.recursive(st.none() | st.booleans() | st.integers(-9, 9) | TEXTS, lambda inner: st.lists(inner, max_size=3))
PORTS = st.lists(
    st.fixed_dictionaries(
        {"containerPort": st.integers(1, 65535) | st.sampled_from([80, 8080, 8443, 8444])},
        optional={"protocol": st.sampled_from(["TCP", "UDP", "SCTP"]), "name": NAMES},
    ),
    max_size=4,
)
CONTAINERS = st.fixed_dictionaries(
    {"name": NAMES, "image": st.just("example.com/web:1")},
    optional={"ports": PORTS, "future": JSON, "env": st.lists(st.fixed_dictionaries({"name": NAMES, "value": TEXTS}))},
)
MAPS = st.none() | st.dictionaries(NAMES, TEXTS, max_size=3)
VOLUMES: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {"name": NAMES}, optional={"emptyDir": st.just({}), "future": JSON}
)
ALIASES = st.fixed_dictionaries({"ip": st.sampled_from(["10.0.0.1", "127.0.0.1", "::1"]), "hostnames": st.lists(NAMES)})
UPSTREAMS = st.sampled_from(["payments:80", "payments.shop:80=8443,stock.warehouse:70", "db-0.db.data:5432"])
METADATA: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {}, optional={"name": NAMES, "labels": MAPS, "annotations": MAPS, "future": JSON}
)
SPECS = st.fixed_dictionaries(
    {"containers": st.lists(CONTAINERS, min_size=1, max_size=3)},
    optional={
        "initContainers": st.none() | st.lists(CONTAINERS, max_size=2),
        "volumes": st.none() | st.lists(VOLUMES, max_size=3),
        "hostAliases": st.none() | st.lists(ALIASES, max_size=2),
        "securityContext": st.sampled_from([None, {}, {"fsGroup": 1}, {"sysctls": [{"name": "a.b", "value": "1"}]}]),
        "resources": st.sampled_from([None, {}, {"limits": {"cpu": "1"}}]),
        "restartPolicy": st.sampled_from(["Always", "OnFailure", "Never"]),
        "future": JSON,
    },
)


@st.composite
def pods(draw: st.DrawFn) -> dict[str, Any]:
    """Pods as users write them, with upstreams or without."""
    raw: dict[str, Any] = {"apiVersion": "v1", "kind": "Pod", "spec": draw(SPECS)}
    metadata: dict[str, Any] | None = draw(st.none() | METADATA)
    if metadata is not None:
        raw["metadata"] = metadata
        if draw(st.booleans()):
            written: dict[str, Any] = metadata.get("annotations") or {}
            metadata["annotations"] = {**written, contract.UPSTREAMS: draw(UPSTREAMS)}
    return raw


def is_injectable(raw: dict[str, Any]) -> bool:
    decision = decide(build_request(raw, namespace=NAMESPACE), MTLS, SETTINGS.pods.policy)
    # An upstream's port may be one of the Pod's own, and a name may have an alias already.
    assert isinstance(decision, Inject) or (isinstance(decision, Deny) and contract.UPSTREAMS in decision.reason)
    return isinstance(decision, Inject)


def without_additions(raw: dict[str, Any]) -> dict[str, Any]:
    """The Pod without all that podtls may add; what is empty then counts as absent."""
    rest = copy.deepcopy(raw)
    spec, metadata = rest["spec"], rest.get("metadata") or {}
    for key, field in (("initContainers", "name"), ("volumes", "name"), ("hostAliases", "ip")):
        entries = spec.get(key) or []
        spec[key] = [entry for entry in entries if not str(entry.get(field)).startswith(("podtls-", "127.0.1."))]
    context = spec.get("securityContext") or {}
    sysctls = context.get("sysctls") or []
    context["sysctls"] = [entry for entry in sysctls if "unprivileged" not in entry["name"]]
    spec["securityContext"] = {key: value for key, value in context.items() if value}
    for key, ours in (("labels", contract.INJECTED), ("annotations", contract.STATUS)):
        metadata[key] = {name: value for name, value in (metadata.get(key) or {}).items() if name != ours}
    rest["metadata"] = {key: value for key, value in metadata.items() if value}
    rest["spec"] = {key: value for key, value in spec.items() if value}
    return rest


@given(raw=pods())
def test_injection_keeps_all_that_the_user_wrote(raw: dict[str, Any]) -> None:
    if not is_injectable(raw):
        return

    operations = patch(raw)

    assert {step.op for step in operations} == {"add"}
    assert without_additions(apply(raw, operations)) == without_additions(raw)


@given(raw=pods())
def test_injection_is_idempotent_also_behind_the_api_server(raw: dict[str, Any]) -> None:
    if not is_injectable(raw):
        return

    once = apply(raw, patch(raw))

    assert patch(once, record=LATER_RECORD) == []
    assert patch(as_sent(once), record=LATER_RECORD) == []


@given(value=TEXTS)
def test_any_text_in_an_annotation_is_granted_or_denied_in_one_printable_line(value: str) -> None:
    for key in (contract.MODE, contract.CAPTURE, contract.PORTS, contract.UPSTREAMS, contract.LIFETIME):
        raw = {"metadata": {"annotations": {key: value}}, "spec": {}}

        decision = decide(build_request(raw, namespace=NAMESPACE), MTLS, SETTINGS.pods.policy)

        assert decision.reason.isascii()
        assert decision.reason.isprintable()
