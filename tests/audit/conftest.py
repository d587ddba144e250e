"""Fixtures of the evidence tests."""

from pathlib import Path

import pytest

from audit.log import EvidenceLog


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "evidence.jsonl"


@pytest.fixture
def log(path: Path) -> EvidenceLog:
    return EvidenceLog(path)
