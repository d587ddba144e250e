"""kubectl reads what `podtls inject` and `uninject` write, and of the user's own what it read before."""

from pathlib import Path
from typing import Any

import pytest

from documents.stream import join_documents
from tests.podtls.conftest import Run
from tests.podtls.kubectl import read_by_kubectl
from tests.webhook.world import GOLDEN

_POD = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: web\nspec:\n  containers:\n  - {name: app, image: 'a:1'}\n"
_FLOW_POD = "{apiVersion: v1, kind: Pod, metadata: {name: web}, spec: {containers: [{name: app, image: 'a:1'}]}}\n"
_JSON_POD = (
    '{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"}, '
    '"spec": {"containers": [{"name": "app", "image": "a:1"}]}}\n'
)
_FLOW_SERVICE = "{apiVersion: v1, kind: Service, metadata: {name: s}, spec: {ports: [{port: 80}]}}\n"
_JSON_SERVICE = (
    '{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}}\n'
)
_LIST = "apiVersion: v1\nkind: List\nitems:\n- &pod\n" + "".join(f"  {line}\n" for line in _POD.splitlines())


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(f"{_POD}---\n", id="empty document at the end"),
        pytest.param(f"---\n---\n{_POD}--- # nothing\n# comment\n", id="comments only"),
        pytest.param(f"{_FLOW_SERVICE}---\n{_POD}---\n{_FLOW_POD}", id="flow"),
        pytest.param(f"{_JSON_SERVICE}---\n{_JSON_POD}---\n{_POD}", id="JSON between markers"),
        pytest.param(f"{_JSON_POD}{_JSON_SERVICE}{_JSON_POD}", id="JSON one after another"),
        pytest.param(f"{_POD}---\nnull\n---\n{_POD}", id="null"),
        pytest.param(f"{_POD.replace('spec:', 'kind: Pod' + chr(10) + 'spec:')}", id="duplicate key"),
        pytest.param(f"{_POD}...\n---\n{_POD}".replace("\n", "\r\n"), id="CRLF"),
        pytest.param(f"\ufeff{_POD}", id="byte order mark"),
        pytest.param(f"{_LIST}- *pod\n", id="list with an alias"),
        pytest.param(f"x: &spec\n  terminationGracePeriodSeconds: 0o36\n{_POD}  <<: *spec\n", id="merge"),
        pytest.param("apiVersion:\tv1\t\n" + _POD.partition("\n")[2], id="tabs"),
    ],
)
def test_kubectl_reads_before_in_between_and_after_what_the_user_wrote(
    text: str, run: Run, options: list[str], tmp_path: Path
) -> None:
    file = tmp_path / "file.yaml"
    file.write_bytes(text.encode())
    before = read_by_kubectl(text)

    injected = run("inject", "-f", file, *options)
    file.write_bytes(injected.out.encode())
    back = run("uninject", "-f", file)

    assert (injected.code, back.code) == (0, 0)
    assert read_by_kubectl(back.out) == before
    pods = [each for each in read_by_kubectl(injected.out) if each["kind"] == "Pod"]
    assert len(pods) == sum(each["kind"] == "Pod" for each in before) > 0
    assert all(_is_injected(each) for each in pods)


def test_kubectl_reads_all_goldens(run: Run, options: list[str], tmp_path: Path) -> None:
    cases = sorted(case for case in GOLDEN.glob("*/") if _comes_back(case))
    text, file = join_documents((case / "pod.yaml").read_text() for case in cases), tmp_path / "file.yaml"
    file.write_text(text)
    before = read_by_kubectl(text)

    injected = run("inject", "-f", file, "--namespace", "shop", *options)
    file.write_text(injected.out)
    back = run("uninject", "-f", file)

    assert len(before) == len(cases) > 20
    assert read_by_kubectl(back.out) == before
    assert all(_is_injected(each) for each in read_by_kubectl(injected.out))


def test_warning_names_the_line_of_a_duplicate_key(run: Run, options: list[str]) -> None:
    outcome = run("inject", "-f", "-", *options, text=f"---\n{_POD}kind: Pod\n")

    assert outcome.code == 0
    assert "podtls: stdin: line 9: duplicate key 'kind'; the last one counts, as for kubectl\n" in outcome.err


def _is_injected(pod: dict[str, Any]) -> bool:
    template = pod.get("spec", {}).get("jobTemplate", pod)["spec"].get("template", pod)
    names = [container["name"] for container in template["spec"]["initContainers"]]
    return {"podtls-init", "podtls-nginx"} < {*names, ""} and "podtls.io/status" in template["metadata"]["annotations"]


def _comes_back(case: Path) -> bool:
    """Not what had ours before, nor a sysctl now; nor null and empty lists, which come back absent (the same to Go)."""
    files = case / "pod.yaml", case / "injected.yaml"
    before, after = (file.read_text() if file.exists() else "sysctls" for file in files)
    is_written = case.name in {"written-null", "written-empty"}
    return "podtls-init" not in before and "sysctls" not in after and not is_written
