"""Every golden Pod goes through a real kube-apiserver: what is stored is what the golden says, and nothing else."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from contract.names import INJECT, STATUS
from lab.cluster.errors import KubectlError
from lab.cluster.podtls_local import Podtls
from tests.cluster.api import create
from tests.webhook.goldens import cases, load
from tests.webhook.world import GOLDEN, NAMESPACE, SETTINGS

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

VERDICTS: dict[str, str | bool] = yaml.safe_load((GOLDEN / "admitted.yaml").read_text())
ADMITTED = [case for case in cases() if VERDICTS.get(case, True) is True]
REFUSED = [case for case in cases() if case not in ADMITTED]
# Of one creation only: who it is, when it was, and the name that the API server drew for the token's volume.
FLEETING = ("uid", "creationTimestamp", "resourceVersion", "namespace", "name", "generateName", "managedFields")
API_VOLUME = re.compile(r"kube-api-access-[a-z0-9]{5}")


@pytest.fixture(scope="module")
def plain(podtls: Podtls) -> Iterator[str]:
    """A namespace that is not enrolled, beside the enrolled one that the goldens were made for."""
    cluster = podtls.cluster
    labels = {INJECT: "enabled"}
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": labels}})
    name = cluster.create_namespace("plain")
    accounts = {load(case)["spec"].get("serviceAccountName", "default") for case in cases()}
    for namespace in (NAMESPACE, name):
        for account in accounts:
            cluster.apply(
                {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": account, "namespace": namespace}}
            )
    yield name
    cluster.kubectl("delete", "namespace", NAMESPACE, name, "--wait=false")


def test_no_verdict_names_a_golden_that_is_gone() -> None:
    assert set(VERDICTS) <= set(cases())
    assert len(ADMITTED) > 30


@pytest.mark.parametrize("case", ADMITTED)
def test_stored_pod_is_the_golden_with_exactly_our_additions(podtls: Podtls, plain: str, case: str) -> None:
    stored = create(podtls.cluster, NAMESPACE, alone(load(case), case))

    # What the API server itself makes of the injected golden, where nobody injects.
    expected = create(podtls.cluster, plain, alone(as_shipped(load(case, "injected"), podtls), case), dry_run=True)

    assert comparable(stored) == comparable(expected)


@pytest.mark.parametrize("case", REFUSED)
def test_golden_that_no_api_server_takes_is_refused_with_the_message_it_names(
    podtls: Podtls, plain: str, case: str
) -> None:
    for namespace in (NAMESPACE, plain):
        with pytest.raises(KubectlError) as refused:
            create(podtls.cluster, namespace, load(case))

        assert str(VERDICTS[case]) in str(refused.value)


def alone(raw: dict[str, Any], case: str) -> dict[str, Any]:
    """Named after its case, and without owners that are not in this cluster: it would be collected as garbage."""
    metadata = {key: value for key, value in raw["metadata"].items() if key not in {"ownerReferences", "generateName"}}
    return {**raw, "metadata": {**metadata, "name": case}}


def as_shipped(golden: dict[str, Any], podtls: Podtls) -> dict[str, Any]:
    """The golden with the image and the bundle of this installation."""
    text = json.dumps(golden).replace(SETTINGS.pods.image, podtls.init_image)
    replaced = json.loads(text.replace(json.dumps(SETTINGS.trust_bundle), json.dumps(podtls.bundle.decode())))
    assert isinstance(replaced, dict)
    return replaced


def comparable(raw: dict[str, Any]) -> dict[str, Any]:
    """The Pod without what differs between two creations; volumes by name, since plugins and we append in turn."""
    pod = json.loads(API_VOLUME.sub("kube-api-access", json.dumps(raw)))
    metadata = {key: value for key, value in pod["metadata"].items() if key not in FLEETING}
    status = json.loads(metadata.get("annotations", {}).get(STATUS, "{}"))
    assert re.fullmatch("[0-9a-f]{32}", status.pop("record"))
    metadata["annotations"][STATUS] = status
    spec = pod["spec"] | {"volumes": {volume["name"]: volume for volume in pod["spec"]["volumes"]}}
    assert isinstance(spec, dict)
    return {"metadata": metadata, "spec": spec}
