"""The environment: defaults, and a clear error for each value that cannot be."""

from pathlib import Path

import pytest

from ca.api.attest import Rules, SourceAddress
from ca.errors import ConfigurationError
from ca.settings import Settings
from contract.names import RUN_DIRECTORY
from tests.ca.world import TRUST_DOMAIN


def test_defaults_are_those_of_the_manifests() -> None:
    settings = Settings.from_env({})

    assert settings.rules == Rules(TRUST_DOMAIN, SourceAddress.REQUIRE)
    assert settings.zone == "cluster.local"
    assert settings.authority == Path("/var/run/podtls-authority")
    assert settings.log == Path("/var/log/podtls/evidence.jsonl")
    assert settings.run_directory == Path(RUN_DIRECTORY)
    assert settings.replica
    assert str(settings.identity) == "spiffe://cluster.local/ns/podtls-system/sa/podtls-ca"
    assert settings.serving_names == ("podtls-ca.podtls-system.svc", "podtls-ca.podtls-system.svc.cluster.local")
    assert settings.metrics_directory is None


def test_every_variable_is_read() -> None:
    settings = Settings.from_env(
        {
            "PODTLS_TRUST_DOMAIN": "corp.example",
            "PODTLS_ZONE": "k8s.corp.example",
            "PODTLS_AUTHORITY": "/a",
            "PODTLS_LOG": "/l",
            "PODTLS_REPLICA": "r",
            "PODTLS_SOURCE_ADDRESS": "record",
            "PODTLS_RUN": "/r",
            "PODTLS_NAMESPACE": "sec",
            "PODTLS_SERVICE_ACCOUNT": "ca",
            "PODTLS_SERVING_NAMES": "b.sec.svc,a.sec.svc,b.sec.svc",
            "PROMETHEUS_MULTIPROC_DIR": "/m",
        }
    )

    assert settings.zone == "k8s.corp.example"
    assert (settings.authority, settings.log, settings.run_directory) == (Path("/a"), Path("/l"), Path("/r"))
    assert settings.rules.source_address is SourceAddress.RECORD
    assert str(settings.identity) == "spiffe://corp.example/ns/sec/sa/ca"
    assert settings.serving_names == ("a.sec.svc", "b.sec.svc")
    assert (settings.replica, settings.metrics_directory) == ("r", "/m")


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        pytest.param("PODTLS_TRUST_DOMAIN", "Cluster/local", id="trust domain"),
        pytest.param("PODTLS_ZONE", "cluster.local.", id="zone with a dot at its end"),
        pytest.param("PODTLS_ZONE", "*.local", id="zone with a star"),
        pytest.param("PODTLS_ZONE", "svc", id="zone in which two names could be one"),
        pytest.param("PODTLS_SOURCE_ADDRESS", "maybe", id="source address"),
        pytest.param("PODTLS_NAMESPACE", "A", id="namespace"),
        pytest.param("PODTLS_SERVICE_ACCOUNT", "a/b", id="service account"),
        pytest.param("PODTLS_SERVING_NAMES", "a.svc,", id="an empty name"),
        pytest.param("PODTLS_SERVING_NAMES", "10.0.0.1:80", id="no name"),
    ],
)
def test_bad_value_names_its_variable(variable: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=variable):
        Settings.from_env({variable: value})
