"""The proof of the patch log: it holds for whole logs, and fails for each kind of gap."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from audit.log import EvidenceLog
from audit.record import AdmissionRecord, CertificateRecord
from contract.names import STATUS
from contract.status_annotation import InjectionStatus
from lab.demo.proofs.evidence import everything_is_recorded

PATCH_ID, OTHER_ID = "a" * 32, "b" * 32
NOW = datetime(2026, 11, 22, tzinfo=UTC)
PATCH = AdmissionRecord(
    id=PATCH_ID, time=NOW, replica="webhook-0", decision="inject", reason="enrolled", source="", caller="unverified",
    dry_run=False, uid="u", namespace="shop", name="", generate_name="payments-", owners=[], service_account="payments",
    requested_by={}, digest="sha256:00", path="mtls/port", mode="mtls", ports="", operations=[], warnings=[],
)  # fmt: skip
CERTIFICATE = CertificateRecord(
    id=OTHER_ID, time=NOW, replica="ca-0", decision="issue", reason="attested", source="", namespace="shop",
    pod="payments-1", dns=[], ignored_names=[], serial="ff", patch_record=PATCH_ID,
)  # fmt: skip
POD: dict[str, Any] = {
    "metadata": {"name": "payments-1", "annotations": {STATUS: str(InjectionStatus("0.1.0", "mtls", "", PATCH_ID))}},
}


def _verdicts(folder: Path, *records: AdmissionRecord | CertificateRecord, serials: dict[int, str]) -> list[bool]:
    path = folder / "evidence.jsonl"
    path.touch()
    for record in records:
        EvidenceLog(path).append(record)
    return [proof.held for proof in everything_is_recorded([path], [POD], serials)]


def test_whole_logs_hold(tmp_path: Path) -> None:
    assert _verdicts(tmp_path, PATCH, CERTIFICATE, serials={0xFF: "payments-1"}) == [True, True]


@pytest.mark.parametrize(
    ("records", "serials", "verdicts"),
    [
        pytest.param([CERTIFICATE], {0xFF: "payments-1"}, [False, True], id="no patch"),
        pytest.param(
            [replace(PATCH, decision="skip"), CERTIFICATE], {0xFF: "payments-1"}, [False, True], id="another decision"
        ),
        pytest.param([PATCH], {0xFF: "payments-1"}, [True, False], id="no certificate"),
        pytest.param([PATCH, CERTIFICATE], {0xFE: "payments-1"}, [True, False], id="another serial"),
        pytest.param([PATCH, CERTIFICATE], {0xFF: "checkout-1"}, [True, False], id="another pod"),
        pytest.param(
            [PATCH, replace(CERTIFICATE, patch_record=OTHER_ID)],
            {0xFF: "payments-1"},
            [True, False],
            id="another patch",
        ),
        pytest.param([PATCH, CERTIFICATE], {}, [True, False], id="nothing was served"),
    ],
)
def test_gap_in_the_logs_fails(
    tmp_path: Path, records: list[Any], serials: dict[int, str], verdicts: list[bool]
) -> None:
    assert _verdicts(tmp_path, *records, serials=serials) == verdicts


def test_line_that_is_no_record_fails(tmp_path: Path) -> None:
    (tmp_path / "evidence.jsonl").write_text('{"torn": ')

    assert _verdicts(tmp_path, PATCH, CERTIFICATE, serials={0xFF: "payments-1"}) == [False, True]
