"""`podtls audit list`: which records, in which order, in which form."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
import pytest
import yaml

from audit.log import EvidenceLog
from audit.record import encode
from tests.audit.records import admission, certificate
from tests.podtls.conftest import Run


def _ids(out: str) -> list[str]:
    return [record["id"][0] for record in json.loads(out)]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        pytest.param([], "cabe", id="all in order of time"),
        pytest.param(["--namespace", "shop"], "cab", id="namespace"),
        pytest.param(["--kind", "admission"], "abe", id="kind"),
        pytest.param(["--kind", "certificate"], "c", id="certificates"),
        pytest.param(["--decision", "deny"], "b", id="decision"),
        pytest.param(["--pod", "checkout-5d8f-x7k2p"], "cab", id="pod by name and by generateName"),
        pytest.param(["--pod", "cron"], "e", id="pod by name"),
        pytest.param(["--pod", "other"], "", id="no such pod"),
        pytest.param(["--since", "2026-11-22T11:00:00Z"], "be", id="since"),
        pytest.param(["--since", "2026-11-22T12:30:00.123456+02:00"], "cabe", id="since is included, zones count"),
        pytest.param(["--until", "2026-11-22 12:00"], "ca", id="until"),
        pytest.param(["--since", "2026-11-22", "--until", "2026-11-22"], "", id="empty span"),
        pytest.param(["--id", "BB"], "b", id="id in capitals"),
        pytest.param(["--kind", "admission", "--decision", "skip", "--namespace", "ops"], "e", id="all must match"),
    ],
)
def test_filters_choose_records(options: list[str], expected: str, run: Run, evidence: Path) -> None:
    outcome = run("audit", "list", evidence, "-o", "json", *options)

    assert outcome.code == 0
    assert "".join(_ids(outcome.out)) == expected


def test_age_counts_from_now(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "evidence.jsonl"
    for digit, age in (("a", timedelta(days=2)), ("b", timedelta(hours=1))):
        EvidenceLog(path).append(admission(id=digit * 32, time=datetime.now(UTC) - age))

    since = run("audit", "list", path, "-o", "json", "--since", "1d")
    until = run("audit", "list", path, "-o", "json", "--until", "90m")

    assert (_ids(since.out), _ids(until.out)) == (["b"], ["a"])


def test_torn_line_is_reported_and_the_rest_is_read(run: Run, evidence: Path) -> None:
    outcome = run("audit", "list", evidence, "--namespace", "ops")

    offset = len(encode(admission())) + 1
    assert outcome.err == (
        f"podtls: {evidence}/webhook-0/evidence.jsonl: line 2 (byte {offset}, 7 bytes) is not a record: "
        "not JSON: unexpected end of data: line 1 column 8 (char 7)\n"
    )
    assert "cron" in outcome.out


def test_table_in_a_pipe_is_plain_whole_and_aligned(run: Run, evidence: Path) -> None:
    outcome = run("audit", "list", evidence)

    lines = outcome.out.splitlines()
    assert lines[0].split() == ["TIME", "DECISION", "NAMESPACE", "POD", "REASON", "ID"]
    assert (
        len({line.index(record) for line, record in zip(lines[1:], ["cccc", "aaaa", "bbbb", "eeee"], strict=True)}) == 1
    )
    assert "checkout-5d8f-*" in lines[2]
    assert not any(line != line.rstrip() for line in lines)


def test_what_strangers_sent_cannot_drive_the_terminal(run: Run, evidence: Path) -> None:
    outputs = [run("audit", "list", evidence, "-o", form).out for form in ("table", "json", "yaml")]

    for out in outputs:
        assert "\x1b" not in out
        assert "\u202e" not in out or out is outputs[2]
        assert "é" in out
    assert json.loads(outputs[1])[2]["reason"] == "annotation \x1b[31mpodtls.io/ports\u202e: é"


def test_dry_run_says_so(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "evidence.jsonl"
    EvidenceLog(path).append(admission(dry_run=True))

    outcome = run("audit", "list", path)

    assert "inject (dry run)" in outcome.out


def test_json_and_yaml_hold_the_whole_record(run: Run, evidence: Path) -> None:
    as_json = run("audit", "list", evidence, "-o", "json")
    as_yaml = run("audit", "list", evidence, "-o", "yaml")

    records = json.loads(as_json.out)
    assert yaml.safe_load(as_yaml.out) == records
    assert records[0] == orjson.loads(encode(certificate()))


@pytest.mark.parametrize(("form", "out"), [("table", ""), ("json", "[]\n"), ("yaml", "[]\n")])
def test_nothing_found_is_an_empty_answer(form: str, out: str, run: Run, evidence: Path) -> None:
    outcome = run("audit", "list", evidence, "--namespace", "nowhere", "-o", form)

    assert (outcome.code, outcome.out) == (0, out)
    assert ("no record matches" in outcome.err) == (form == "table")


def test_log_of_more_than_one_batch_is_listed_whole(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "evidence.jsonl"
    path.write_bytes(b"".join(encode(admission(id=f"{number:032x}")) + b"\n" for number in range(1201)))

    table = run("audit", "list", path)
    listed = run("audit", "list", path, "-o", "json")

    assert len(table.out.splitlines()) == 1 + 1201
    assert [record["id"] for record in json.loads(listed.out)] == [f"{number:032x}" for number in range(1201)]


def test_rotated_files_are_read_and_packed_ones_are_not(run: Run, evidence: Path) -> None:
    (evidence / "ca-0.jsonl").rename(evidence / "ca-0.jsonl.1")
    (evidence / "ca-0.jsonl.2.gz").write_bytes(b"\x1f\x8b")
    (evidence / "notes.txt").write_text("no evidence")

    outcome = run("audit", "list", evidence, "-o", "json")

    assert _ids(outcome.out) == ["c", "a", "b", "e"]


def test_file_named_twice_is_read_once(run: Run, evidence: Path) -> None:
    outcome = run("audit", "list", evidence / "ca-0.jsonl", evidence / "ca-0.jsonl", "-o", "json")

    assert _ids(outcome.out) == ["c"]


def test_log_of_the_environment_is_read_when_none_is_named(
    run: Run, evidence: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PODTLS_LOG", str(evidence / "ca-0.jsonl"))

    outcome = run("audit", "list", "-o", "json")

    assert _ids(outcome.out) == ["c"]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        pytest.param(["/nowhere"], "/nowhere: no such file or directory", id="no file"),
        pytest.param(["--since", "soon"], "'--since': got 'soon', allowed: 2026-11-22, 2026-11-22T10:30", id="time"),
        pytest.param(["--until", "5w"], "'--until': got '5w', allowed:", id="unit"),
        pytest.param(["--since", "9999999d"], "'--since': got '9999999d', allowed:", id="too many digits"),
        pytest.param(["--since", "999999d"], "'--since': got '999999d', allowed:", id="before all calendars"),
        pytest.param(["--id", "xyz"], "'--id': got 'xyz', allowed: the first 1 to 32 hex digits", id="id"),
        pytest.param(["--kind", "x"], "'--kind': 'x' is not one of 'admission', 'certificate'", id="kind"),
        pytest.param(["-o", "xml"], "'xml' is not one of 'table', 'json', 'yaml'", id="output"),
    ],
)
def test_wrong_argument_is_named_with_what_is_allowed(arguments: list[str], reason: str, run: Run) -> None:
    outcome = run("audit", "list", *arguments)

    assert (outcome.code, outcome.out) == (64, "")
    assert reason in outcome.err
    assert outcome.err.count("\n") == 1


def test_directory_without_evidence_is_refused(run: Run, tmp_path: Path) -> None:
    outcome = run("audit", "list", tmp_path)

    assert outcome.err == f"podtls: {tmp_path}: no evidence in it, expected files named *.jsonl (unpacked)\n"
