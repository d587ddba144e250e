"""What tests of the CA API do with it: enroll, and read what the evidence log then holds."""

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from audit.log import EvidenceLog, TornLine, read
from audit.record import CertificateRecord
from contract.names import PATH_ENROLL


def enroll(client: FlaskClient, headers: dict[str, str], body: bytes) -> TestResponse:
    """Ask for a certificate."""
    return client.post(PATH_ENROLL, headers=headers, data=body)


def read_records(log: EvidenceLog) -> list[CertificateRecord]:
    """All certificate records, none of them torn."""
    if not log.path.exists():
        return []
    found = list(read(log.path))
    assert not any(isinstance(each, TornLine) for each in found)
    return [each for each in found if isinstance(each, CertificateRecord)]
