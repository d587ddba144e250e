"""podtls.io/status: written by the webhook, read by everybody else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.errors import StatusAnnotationError
from contract.status_annotation import InjectionStatus, read_record_id

RECORD = "0123456789abcdef" * 2
_RECORDS = st.one_of(st.just(""), st.from_regex(r"[0-9a-f]{32}", fullmatch=True))


@given(version=st.text(), mode=st.text(), ports=st.text(), record=_RECORDS)
def test_status_survives_its_annotation(version: str, mode: str, ports: str, record: str) -> None:
    status = InjectionStatus(version, mode, ports, record)

    assert InjectionStatus.parse(str(status)) == status


def test_annotation_is_written_in_one_way() -> None:
    status = InjectionStatus("0.1.0", "mtls", "8443=8080", RECORD)

    assert str(status) == f'{{"version":"0.1.0","mode":"mtls","ports":"8443=8080","record":"{RECORD}"}}'


def test_members_of_a_later_version_are_left_out() -> None:
    written = f'{{"version":"9.0","mode":"new","ports":"","record":"{RECORD}","more":[1]}}'

    assert InjectionStatus.parse(written) == InjectionStatus("9.0", "new", "", RECORD)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("{", id="not JSON"),
        pytest.param("null", id="null"),
        pytest.param("[]", id="a list"),
        pytest.param('"version"', id="a string"),
        pytest.param("[" * 100_000, id="deep"),
        pytest.param(f'{{"record":"{RECORD}"}}', id="a record alone"),
        pytest.param('{"version":"0.1.0","mode":"mtls","ports":""}', id="no record"),
        pytest.param('{"version":"0.1.0","mode":"mtls","ports":"","record":7}', id="a number"),
        pytest.param('{"version":"0.1.0","mode":"mtls","ports":"","record":"../x"}', id="another id"),
    ],
)
def test_broken_annotation_is_refused_and_names_no_record(text: str) -> None:
    with pytest.raises(StatusAnnotationError, match="expected"):
        InjectionStatus.parse(text)

    assert read_record_id(text) == ""


def test_record_id_is_read() -> None:
    assert read_record_id(str(InjectionStatus("0.1.0", "tls", "", RECORD))) == RECORD


def test_missing_annotation_names_no_record() -> None:
    assert read_record_id(None) == ""
