import copy
from collections.abc import Callable
from typing import Any

import pytest

from contract.names import INIT_CONTAINER, INJECTED, SIDECAR_CONTAINER, STATUS, UPSTREAMS
from tests.webhook.api_server import as_sent
from tests.webhook.goldens import first_round
from tests.webhook.world import LATER_RECORD, RECORD, apply, injected, patch, pod
from webhook.managed import is_equal

Change = Callable[[dict[str, Any]], object]


def sidecar(raw: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = raw["spec"]["initContainers"][1]
    return found


def enrolled(case: str = "deployment") -> dict[str, Any]:
    return as_sent(first_round(case))


CHANGES: dict[str, Change] = {
    "image": lambda raw: sidecar(raw).update(image="evil.example.com/nginx:1"),
    "command": lambda raw: sidecar(raw).update(command=["sh"]),
    "args-added": lambda raw: sidecar(raw).update(args=["-x"]),
    "privileged": lambda raw: sidecar(raw)["securityContext"].update(privileged=True),
    "allowPrivilegeEscalation-absent": lambda raw: sidecar(raw)["securityContext"].pop("allowPrivilegeEscalation"),
    "allowPrivilegeEscalation-null": lambda raw: sidecar(raw)["securityContext"].update(allowPrivilegeEscalation=None),
    "boolean-as-number": lambda raw: sidecar(raw)["securityContext"].update(allowPrivilegeEscalation=0),
    "run-as-root": lambda raw: sidecar(raw)["securityContext"].update(runAsUser=0),
    "securityContext-absent": lambda raw: sidecar(raw).pop("securityContext"),
    "mount-added": lambda raw: sidecar(raw)["volumeMounts"].append({"name": "data", "mountPath": "/data"}),
    "env-added": lambda raw: sidecar(raw)["env"].append({"name": "LD_PRELOAD", "value": "/data/evil.so"}),
    "env-value": lambda raw: sidecar(raw)["env"][0].update(value="https://evil.example.com"),
    "env-no-list": lambda raw: sidecar(raw).update(env={"name": "x"}),
    "imagePullPolicy-Never": lambda raw: sidecar(raw).update(imagePullPolicy="Never"),
    "memory": lambda raw: sidecar(raw)["resources"]["limits"].update(memory="1Gi"),
    "limits-absent": lambda raw: sidecar(raw)["resources"].pop("limits"),
    "limits-null": lambda raw: sidecar(raw)["resources"].update(limits=None),
    "limits-no-object": lambda raw: sidecar(raw)["resources"].update(limits=["cpu"]),
    "claims-added": lambda raw: sidecar(raw)["resources"].update(claims=[{"name": "gpu"}]),
    "resources-null": lambda raw: sidecar(raw).update(resources=None),
    "resources-no-object": lambda raw: sidecar(raw).update(resources="all"),
    "probe": lambda raw: sidecar(raw)["startupProbe"].update(periodSeconds=10),
    "restartPolicy": lambda raw: sidecar(raw).pop("restartPolicy"),
    "lifecycle-added": lambda raw: sidecar(raw).update(lifecycle={"postStart": {"exec": {"command": ["sh"]}}}),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_managed_container_that_differs_is_replaced_in_place_with_a_warning(change: Change) -> None:
    first = enrolled()
    raw = copy.deepcopy(first)
    change(raw)

    operations = patch(raw, record=LATER_RECORD)

    status = "/metadata/annotations/podtls.io~1status"
    assert [(step.op, step.path) for step in operations] == [("replace", "/spec/initContainers/1"), ("replace", status)]
    assert operations[0].note == "podtls: 'podtls-nginx' differed from what podtls writes and was replaced"
    assert sidecar(apply(raw, operations)) == sidecar(first_round("deployment"))


def test_replacement_names_the_new_record() -> None:
    raw = enrolled()
    sidecar(raw)["image"] = "evil.example.com/nginx:1"

    result = injected(raw, record=LATER_RECORD)

    assert RECORD not in result["metadata"]["annotations"][STATUS]
    assert LATER_RECORD in result["metadata"]["annotations"][STATUS]


SAME: dict[str, Change] = {
    "nulls": lambda raw: sidecar(raw).update(args=None, livenessProbe=None),
    "number-as-float": lambda raw: sidecar(raw)["startupProbe"].update(periodSeconds=1.0),
    "key-order": lambda raw: raw["spec"]["initContainers"].__setitem__(1, dict(reversed(sidecar(raw).items()))),
    "pull-always": lambda raw: sidecar(raw).update(imagePullPolicy="Always"),
    "ephemeral-storage": lambda raw: sidecar(raw)["resources"]["limits"].update({"ephemeral-storage": "1Gi"}),
}


@pytest.mark.parametrize("change", SAME.values(), ids=SAME)
def test_what_only_looks_different_is_left_as_it_is(change: Change) -> None:
    raw = enrolled()
    change(raw)

    assert patch(raw, record=LATER_RECORD) == []


OURS = {"name": INIT_CONTAINER}
NGINX = {"name": SIDECAR_CONTAINER}
USERS = {"name": "users"}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param([USERS], [OURS, NGINX, USERS], id="none"),
        pytest.param([OURS, NGINX], [OURS, NGINX], id="both"),
        pytest.param([NGINX, OURS], [OURS, NGINX], id="wrong-order"),
        pytest.param([USERS, OURS, USERS, NGINX, USERS], [USERS, OURS, USERS, NGINX, USERS], id="in-between"),
        pytest.param([USERS, OURS, USERS], [USERS, OURS, NGINX, USERS], id="init-alone"),
        pytest.param([USERS, NGINX, USERS], [USERS, OURS, NGINX, USERS], id="sidecar-alone"),
        pytest.param([OURS, OURS, USERS, OURS, NGINX], [OURS, NGINX, USERS], id="doubled"),
    ],
)
def test_containers_with_reserved_names_are_never_trusted(
    before: list[dict[str, Any]], after: list[dict[str, Any]]
) -> None:
    raw = pod(initContainers=[{"image": "evil.example.com/x:1", **entry} for entry in before])

    result = apply(raw, patch(raw))

    entries = result["spec"]["initContainers"]
    assert [entry["name"] for entry in entries] == [entry["name"] for entry in after]
    ours = [entry for entry in entries if entry["name"] != "users"]
    assert ours == first_round("bare")["spec"]["initContainers"]
    assert patch(result, record=LATER_RECORD) == []


def test_volumes_with_reserved_names_are_replaced_or_removed_and_others_keep_their_places() -> None:
    volumes = [
        {"name": "podtls-old", "emptyDir": {}},
        {"name": "podtls-run", "hostPath": {"path": "/"}},
        {"name": "data", "emptyDir": {}},
        {"name": "podtls-run", "emptyDir": {}},
        {"name": None, "emptyDir": {}},
    ]
    raw = pod(volumes=volumes)

    operations = patch(raw)

    result = apply(raw, operations)["spec"]["volumes"]
    assert [volume["name"] for volume in result] == ["podtls-run", "data", None, "podtls-token", "podtls-no-api"]
    assert result[0] == {"name": "podtls-run", "emptyDir": {"medium": "Memory", "sizeLimit": "16Mi"}}
    assert [step.note for step in operations if step.note] == [
        "podtls: 'podtls-run' differed from what podtls writes and was replaced",
        "podtls: removed 'podtls-run' from /spec/volumes",
        "podtls: removed 'podtls-old' from /spec/volumes",
    ]


def test_host_aliases_of_an_earlier_round_follow_the_annotation() -> None:
    raw = enrolled("host-aliases")
    raw["metadata"]["annotations"][UPSTREAMS] = "stock.warehouse:8080"
    raw["spec"]["hostAliases"].append({"ip": "127.0.1.77", "hostnames": ["squatter"]})

    result = injected(raw)

    assert result["spec"]["hostAliases"] == [
        {"ip": "10.1.2.3", "hostnames": ["legacy.example.com"]},
        {"ip": "127.0.10.1", "hostnames": ["local.example.com"]},
        {
            "ip": "127.0.1.1",
            "hostnames": ["stock.warehouse", "stock.warehouse.svc", "stock.warehouse.svc.cluster.local"],
        },
    ]


@pytest.mark.parametrize(
    "status",
    [
        pytest.param("", id="empty"),
        pytest.param("{}", id="no-members"),
        pytest.param("[]", id="list"),
        pytest.param("nonsense", id="no-json"),
        pytest.param("[" * 100_000, id="deep"),
        pytest.param('{"version":"0.1.0","mode":"mtls","ports":"8443=8080","record":7}', id="record-number"),
        pytest.param('{"version":"0.1.0","mode":"mtls","ports":"8443=8080","record":"x"}', id="record-no-id"),
        pytest.param(f'{{"version":"0.1.0","mode":"tls","ports":"8443=8080","record":"{RECORD}"}}', id="mode"),
        pytest.param(f'{{"version":"0.1.0","mode":"mtls","ports":"","record":"{RECORD}"}}', id="ports"),
        pytest.param(
            f'{{"version":"0.1.0","mode":"mtls","ports":"8443=8080","record":"{RECORD}","x":1}}', id="more-members"
        ),
    ],
)
def test_status_that_is_not_what_we_wrote_is_replaced(status: str) -> None:
    raw = enrolled()
    raw["metadata"]["annotations"][STATUS] = status

    operations = patch(raw, record=LATER_RECORD)

    assert [step.op for step in operations] == ["replace"]
    assert LATER_RECORD in operations[0].value
    assert operations[0].note == "podtls: 'podtls.io/status' differed from what podtls writes and was replaced"


def test_pod_injected_without_a_record_is_injected_once_and_gets_one_from_the_webhook() -> None:
    raw = apply(pod(), patch(pod(), record=""))

    again = patch(raw, record="")
    by_webhook = patch(raw, record=LATER_RECORD)

    assert again == []
    assert [(step.op, step.path) for step in by_webhook] == [("replace", "/metadata/annotations/podtls.io~1status")]
    assert LATER_RECORD in by_webhook[0].value


def test_forged_status_on_a_pod_without_managed_containers_is_replaced() -> None:
    status = f'{{"version":"0.1.0","mode":"mtls","ports":"8443=8080","record":"{RECORD}"}}'
    raw = pod({"annotations": {STATUS: status}, "labels": {INJECTED: "true"}})

    result = injected(raw, record=LATER_RECORD)

    assert LATER_RECORD in result["metadata"]["annotations"][STATUS]


def test_label_of_another_value_is_replaced() -> None:
    raw = enrolled()
    raw["metadata"]["labels"][INJECTED] = "false"

    operations = patch(raw, record=LATER_RECORD)

    assert operations[0].to_json() == {"op": "replace", "path": "/metadata/labels/podtls.io~1injected", "value": "true"}


def test_comparison_does_not_go_deeper_than_what_we_wrote() -> None:
    deep: dict[str, Any] = {}
    for _ in range(100_000):
        deep = {"name": deep}

    equal = is_equal(deep, {"name": "podtls-run", "emptyDir": {}})

    assert not equal
