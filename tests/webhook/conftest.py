from pathlib import Path

import pytest
from flask.testing import FlaskClient
from hypothesis import settings as hypothesis_settings

from tests.fakes import FakeEvidenceLog
from tests.webhook.bundles import bundle_pem
from tests.webhook.world import SETTINGS
from webhook.app import create_app
from webhook.settings import Settings

# No test measures time.
hypothesis_settings.register_profile("untimed", deadline=None)
hypothesis_settings.load_profile("untimed")


@pytest.fixture
def log() -> FakeEvidenceLog:
    return FakeEvidenceLog()


@pytest.fixture
def bundle_file(tmp_path: Path) -> Path:
    path = tmp_path / "ca.crt"
    path.write_bytes(bundle_pem())
    return path


@pytest.fixture
def client(log: FakeEvidenceLog, bundle_file: Path, tmp_path: Path) -> FlaskClient:
    settings = Settings(
        pods=SETTINGS.pods, trust_bundle_file=bundle_file, log=tmp_path / "evidence.jsonl", replica="podtls-webhook-0"
    )
    return create_app(settings, log).test_client()
