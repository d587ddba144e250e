import base64
from typing import Any

import pytest

from lab.sandbox.errors import ContainerError
from lab.sandbox.kubelet import environment
from lab.sandbox.state import Manifest
from tests.fakes import FakeClusterState

PLACE = environment.Place(pod_address="10.244.0.7", node_address="10.244.0.1")


def a_pod(**spec: Any) -> Manifest:
    metadata = {
        "name": "web-0",
        "namespace": "shop",
        "uid": "u-1",
        "labels": {"app": "web", "podtls.io/injected": "true"},
        "annotations": {"note": 'a "quoted"\nline'},
    }
    return {"metadata": metadata, "spec": {"serviceAccountName": "web", "nodeName": "node-1", **spec}}


def build(container: Manifest, state: FakeClusterState | None = None) -> dict[str, str]:
    return environment.build({"name": "app", **container}, a_pod(), PLACE, state or FakeClusterState())


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        pytest.param("$(HOST):$(PORT)", "db:5432", id="known"),
        pytest.param("$(NOBODY)", "$(NOBODY)", id="unknown stays as written"),
        pytest.param("$$(HOST)", "$(HOST)", id="two dollars are one and stop it"),
        pytest.param("$$$(HOST)", "$db", id="three dollars"),
        pytest.param("$HOST ${HOST} 5$", "$HOST ${HOST} 5$", id="a shell's forms are not ours"),
        pytest.param("$(HO ST)$(", "$(HO ST)$(", id="unfinished"),
    ],
)
def test_references_are_expanded_as_kubernetes_does(text: str, expanded: str) -> None:
    assert environment.expand(text, {"HOST": "db", "PORT": "5432"}) == expanded


@pytest.mark.parametrize(
    ("path", "value"),
    [
        pytest.param("metadata.name", "web-0", id="name"),
        pytest.param("metadata.namespace", "shop", id="namespace"),
        pytest.param("metadata.uid", "u-1", id="uid"),
        pytest.param("metadata.labels['app']", "web", id="a label"),
        pytest.param("metadata.labels['nope']", "", id="no such label"),
        pytest.param("metadata.labels", 'app="web"\npodtls.io/injected="true"', id="all labels"),
        pytest.param("metadata.annotations", 'note="a \\"quoted\\"\\nline"', id="all annotations"),
        pytest.param("spec.serviceAccountName", "web", id="service account"),
        pytest.param("spec.nodeName", "node-1", id="node"),
        pytest.param("status.podIP", "10.244.0.7", id="pod address"),
        pytest.param("status.hostIP", "10.244.0.1", id="node address"),
    ],
)
def test_field_reference_gives_what_the_downward_api_gives(path: str, value: str) -> None:
    env = build({"env": [{"name": "F", "valueFrom": {"fieldRef": {"fieldPath": path}}}]})

    assert env["F"] == value


def test_later_variables_refer_to_earlier_ones_only() -> None:
    env = build(
        {"env": [{"name": "A", "value": "$(B)1"}, {"name": "B", "value": "$(A)2"}, {"name": "EMPTY", "value": None}]}
    )

    assert (env["A"], env["B"], env["EMPTY"]) == ("$(B)1", "$(B)12", "")


def test_config_maps_and_secrets_give_variables_one_by_one_and_all_at_once() -> None:
    state = FakeClusterState(
        config_maps={("shop", "conf"): {"data": {"mode": "mtls", "port": "80"}}},
        secrets={("shop", "pass"): {"data": {"key": base64.b64encode(b"s3cret").decode()}}},
    )
    container = {
        "envFrom": [{"prefix": "C_", "configMapRef": {"name": "conf"}}, {"secretRef": {"name": "pass"}}],
        "env": [
            {"name": "MODE", "valueFrom": {"configMapKeyRef": {"name": "conf", "key": "mode"}}},
            {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "pass", "key": "key"}}},
        ],
    }

    env = build(container, state)

    assert (env["C_mode"], env["C_port"], env["key"]) == ("mtls", "80", "s3cret")
    assert (env["MODE"], env["KEY"]) == ("mtls", "s3cret")


def test_what_is_optional_may_be_missing() -> None:
    container = {
        "envFrom": [{"configMapRef": {"name": "nope", "optional": True}}],
        "env": [{"name": "K", "valueFrom": {"secretKeyRef": {"name": "nope", "key": "k", "optional": True}}}],
    }

    assert "K" not in build(container)


@pytest.mark.parametrize(
    ("container", "reason"),
    [
        pytest.param(
            {"env": [{"name": "K", "valueFrom": {"configMapKeyRef": {"name": "nope", "key": "k"}}}]},
            'env K: configmaps "nope" not found',
            id="no such ConfigMap",
        ),
        pytest.param(
            {"env": [{"name": "K", "valueFrom": {"secretKeyRef": {"name": "there", "key": "k"}}}]},
            "env K: 'k' not found",
            id="no such key",
        ),
        pytest.param(
            {"env": [{"name": "K", "valueFrom": {"fieldRef": {"fieldPath": "spec.nope"}}}]},
            "env K: 'spec.nope' not found",
            id="no such field",
        ),
        pytest.param(
            {"env": [{"name": "K", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}}]},
            "resourceFieldRef is not had in the demo",
            id="resources",
        ),
        pytest.param({"envFrom": [{"secretRef": {"name": "nope"}}]}, "envFrom nope: not found", id="no such Secret"),
    ],
)
def test_what_cannot_be_had_is_refused_by_name(container: Manifest, reason: str) -> None:
    state = FakeClusterState(secrets={("shop", "there"): {}})

    with pytest.raises(ContainerError, match=reason):
        build(container, state)


def test_the_api_server_is_found_by_its_service() -> None:
    other = {"metadata": {"namespace": "shop", "name": "web"}, "spec": {}}
    api = {
        "metadata": {"namespace": "default", "name": "kubernetes"},
        "spec": {"clusterIP": "10.96.0.1", "ports": [{"port": 443}]},
    }

    env = build({}, FakeClusterState(service_objects=[other, api]))

    assert (env["KUBERNETES_SERVICE_HOST"], env["KUBERNETES_SERVICE_PORT"]) == ("10.96.0.1", "443")


def test_the_command_line_is_command_then_args_expanded() -> None:
    container = {"name": "app", "command": ["sh", "-c"], "args": ["echo $(A)"]}

    assert environment.command_line(container, {"A": "1"}) == ["sh", "-c", "echo 1"]


def test_a_container_without_command_is_refused_by_name() -> None:
    with pytest.raises(ContainerError, match=r"container app: no `command`.*'nginx:1'"):
        environment.command_line({"name": "app", "image": "nginx:1", "args": ["-g"]}, {})


def test_a_pod_is_called_by_its_hostname_before_its_name() -> None:
    assert environment.hostname(a_pod()) == "web-0"
    assert environment.hostname(a_pod(hostname="other")) == "other"
