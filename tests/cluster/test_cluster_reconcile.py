"""`podtls audit reconcile` beside a real API server: what its audit log says of our records, and no false finding."""

import json
from pathlib import Path

import pytest

from contract.names import STATUS
from lab.cluster.installation import NAMESPACE
from lab.cluster.podtls_local import Podtls
from lab.cluster.processes import wait_until
from tests.cluster.adding_webhook import ADDED, adding_webhook
from tests.cluster.api import Object, audited, create, pod
from tests.cluster.auditor import reconciled
from tests.cluster.conftest import Namespaces

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

ENTRY = "mtls-port.podtls.io"


def record_of(raw: Object) -> str:
    return str(json.loads(raw["metadata"]["annotations"][STATUS])["record"])


def is_added(raw: Object) -> bool:
    return ADDED["name"] in [container["name"] for container in raw["spec"]["containers"]]


@pytest.mark.parametrize("added", [pytest.param(ADDED["ports"], id="with a port"), pytest.param([], id="without")])
def test_both_records_of_a_reinvocation_are_stored_and_nothing_is_a_finding(
    podtls: Podtls, enrolled: Namespaces, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, added: list[Object]
) -> None:
    """A port of the later webhook's container makes the second round replace our patch; without one it adds nothing."""
    monkeypatch.setitem(ADDED, "ports", added)
    namespace = enrolled()

    with adding_webhook(podtls.cluster, namespace, tmp_path):
        wait_until(
            "the other webhook is called", lambda: is_added(create(podtls.cluster, namespace, pod(), dry_run=True))
        )
        stored = create(podtls.cluster, namespace, pod())

    annotations = audited(podtls.cluster, stored["metadata"]["uid"])["annotations"]
    first, second = annotations[f"{ENTRY}/record"], annotations[f"{ENTRY}/later-record"]
    assert record_of(stored) == (second if added else first)
    code, told = reconciled(podtls, "-n", namespace)
    assert (code, told["findings"]) == (0, [])
    assert {each["id"]: each["outcome"] for each in told["records"]} == {first: "stored", second: "stored"}


def test_pod_with_a_copied_record_id_is_found_with_the_pod_that_it_was_copied_from(
    podtls: Podtls, enrolled: Namespaces
) -> None:
    """`kubectl get pod -o yaml`, another name, `kubectl create`: the webhook finds nothing to add and keeps the id."""
    namespace = enrolled()
    stored = create(podtls.cluster, namespace, pod(metadata={"generateName": "web-"}))
    copy = {**stored, "metadata": {key: stored["metadata"][key] for key in ("labels", "annotations")}}
    create(podtls.cluster, namespace, {**copy, "metadata": {**copy["metadata"], "name": "web-copy"}})

    code, told = reconciled(podtls, "-n", namespace)

    assert code == 1
    assert {(each["pod"], each["finding"]) for each in told["findings"]} == {
        ("web", "two pods name one record"),
        ("web-copy", "two pods name one record"),
        ("web-copy", "record of another pod"),
    }


def test_pods_of_podtls_itself_are_told_apart(podtls: Podtls) -> None:
    code, told = reconciled(podtls, "-n", NAMESPACE)

    assert (code, told["findings"], told["pods"]) == (0, [], {"compared": 0, "own": 2})
