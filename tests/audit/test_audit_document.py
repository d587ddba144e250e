"""docs/evidence-format.md says what the code does."""

import re
from pathlib import Path

import pytest

from audit.record import SCHEMA, AdmissionRecord, CertificateRecord, Record, keys

DOCUMENT = Path(__file__).parents[2] / "docs" / "evidence-format.md"


def _documented(section: str) -> list[str]:
    text = DOCUMENT.read_text()
    part = text.split(f"### Kind `{section}`", 1)[1].split("\n## ", 1)[0].split("\n### ", 1)[0]
    return re.findall(r"^\| `(\w+)` \|", part, re.MULTILINE)


@pytest.mark.parametrize("kind", [AdmissionRecord, CertificateRecord])
def test_document_has_every_field_in_the_order_of_the_line_and_no_other(kind: type[Record]) -> None:
    documented = _documented(kind.kind)

    assert documented == list(keys(kind).values())


def test_document_is_about_this_version() -> None:
    assert f"This is schema version {SCHEMA}." in DOCUMENT.read_text()
