"""`podtls check` where pods really run: webhook and CA are reached through the API server."""

import pytest

from lab.cluster.node import Node
from tests.cluster.operator_command import says

pytestmark = [pytest.mark.node, pytest.mark.timeout(600)]


def test_check_of_a_real_installation_finds_every_part_of_it_well(enrolled_node: Node) -> None:
    found = says(enrolled_node.cluster, "check")["findings"]

    # What other tests do to namespaces of this cluster is theirs.
    ours = [each for each in found if each["check"] != "namespaces"]
    assert [each for each in ours if each["level"] != "ok"] == []
    said = [each["what"] for each in ours]
    assert "podtls-ca answers through the API server, and is ready" in said
    assert "podtls-webhook answers through the API server, and is ready" in said
    assert len([what for what in said if what.startswith('issuing CA "podtls issuing CA ')]) == 1
