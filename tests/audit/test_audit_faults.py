"""Faults with real processes: killed writers, full disks, many writers at once."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from audit.log import EvidenceLog, TornLine, read
from audit.record import Record
from tests.audit.records import admission

# Coverage would measure the children too, and be killed or run out of disk with them.
_ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}

_BIG = 256 * 1024 * 1024
_WRITE_BIG = f"""
import sys
from pathlib import Path
from audit.log import EvidenceLog
from tests.audit.records import admission
log = EvidenceLog(Path(sys.argv[1]))
big = admission(reason="x" * {_BIG})
print("go", flush=True)
log.append(big)
"""


def test_log_reads_on_after_kill_9_in_the_middle_of_a_record(log: EvidenceLog, path: Path) -> None:
    log.append(admission(id="1" * 32))
    start = path.stat().st_size

    _kill_in_the_middle_of_a_record(path)

    assert start < path.stat().st_size < start + _BIG
    log.append(admission(id="2" * 32))
    one, torn, two = read(path)
    assert (one, two) == (admission(id="1" * 32), admission(id="2" * 32))
    assert isinstance(torn, TornLine)
    assert (torn.number, torn.offset) == (2, start)
    assert torn.reason.startswith("not JSON")


def _kill_in_the_middle_of_a_record(path: Path) -> None:
    """A kernel looks for SIGKILL between the pages of one write; a record of many pages makes that a wide target."""
    start = path.stat().st_size
    for _ in range(10):
        writer = subprocess.Popen(
            [sys.executable, "-c", _WRITE_BIG, str(path)], stdout=subprocess.PIPE, env=_ENVIRONMENT
        )
        assert writer.stdout is not None
        with writer.stdout:
            writer.stdout.readline()
            deadline = time.monotonic() + 60
            while path.stat().st_size == start and time.monotonic() < deadline:
                pass
            writer.send_signal(signal.SIGKILL)
            writer.wait(60)
        if start < path.stat().st_size < start + _BIG:
            return
        os.truncate(path, start)
    pytest.fail("the writer was never caught in the middle")


_FILL = """
import resource, sys
from pathlib import Path
from audit.errors import LogWriteError
from audit.log import EvidenceLog
from tests.audit.records import admission
path, limit = Path(sys.argv[1]), int(sys.argv[2])
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
log = EvidenceLog(path)
for number in range(1000):
    before = path.stat().st_size if path.exists() else 0
    try:
        log.append(admission(id=f"{number:032x}"))
    except LogWriteError as error:
        print(error)
        print("truncated" if path.stat().st_size == before else "torn")
        break
try:
    log.check_writable()
except LogWriteError as error:
    print(error)
if sys.argv[3:]:
    import shutil
    shutil.copy(path, sys.argv[3])
"""


def test_record_that_does_not_fit_is_refused_and_leaves_no_trace(path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _FILL, str(path), "10000"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env=_ENVIRONMENT,
    )

    assert f"evidence log {path}: File too large; nothing is answered unrecorded\ntruncated\n" in done.stdout
    records = list(read(path))
    assert 5 < len(records) < 20
    assert not any(isinstance(record, TornLine) for record in records)


def test_full_device_is_refused_with_its_reason() -> None:
    log = EvidenceLog(Path("/dev/full"))

    with pytest.raises(Exception, match="evidence log /dev/full: No space left on device") as refusal:
        log.append(admission())

    assert type(refusal.value).__name__ == "LogWriteError"


@pytest.mark.namespaces
def test_full_disk_is_refused_with_its_reason_and_leaves_no_trace(tmp_path: Path) -> None:
    _require_namespaces()
    disk, copy = tmp_path / "disk", tmp_path / "copy.jsonl"
    disk.mkdir()
    script = 'mount -t tmpfs -o size=64k podtls "$1" && exec "$2" -c "$3" "$1/evidence.jsonl" 0 "$4"'

    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", script, "sh", str(disk), sys.executable, _FILL, str(copy)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env=_ENVIRONMENT,
    )

    lines = done.stdout.splitlines()
    assert lines[0] == f"evidence log {disk}/evidence.jsonl: No space left on device; nothing is answered unrecorded"
    assert lines[1] == "truncated"
    assert lines[2] == f"evidence log {disk}/evidence.jsonl: less than 1048576 bytes free on its disk"
    records = list(read(copy))
    assert len(records) > 20
    assert not any(isinstance(record, TornLine) for record in records)


def _require_namespaces() -> None:
    unshare = shutil.which("unshare")
    tried = unshare and subprocess.run(
        [unshare, "-rm", "mount", "-t", "tmpfs", "podtls", "/mnt"], capture_output=True, timeout=60, check=False
    )
    if not tried or tried.returncode:
        pytest.skip("no user namespaces here")


_MANY = """
import os, sys, threading
from pathlib import Path
from audit.log import EvidenceLog
from tests.audit.records import admission
log = EvidenceLog(Path(sys.argv[1]), lock_seconds=60)
log.check_writable()  # The log is open before the fork, as with gunicorn's preload.
def write(worker, thread):
    for number in range(25):
        log.append(admission(id=f"{worker:08x}{thread:08x}{number:016x}", reason="x" * 70000))
children = []
for worker in range(4):
    child = os.fork()
    if not child:
        threads = [threading.Thread(target=write, args=(worker, thread)) for thread in range(3)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        os._exit(0)
    children.append(child)
assert all(os.waitpid(child, 0)[1] == 0 for child in children)
"""


def test_many_processes_and_threads_lose_nothing_and_interleave_nothing(path: Path) -> None:
    subprocess.run([sys.executable, "-c", _MANY, str(path)], timeout=100, check=True, env=_ENVIRONMENT)

    records: list[Record | TornLine] = list(read(path))
    ids = [record.id for record in records if not isinstance(record, TornLine)]
    assert len(ids) == len(records) == 4 * 3 * 25
    assert len(set(ids)) == len(ids)
    # Each thread's own records stand in the order in which it wrote them.
    for writer in {record_id[:16] for record_id in ids}:
        own = [record_id for record_id in ids if record_id.startswith(writer)]
        assert own == sorted(own)


def test_threads_that_share_a_torn_tail_heal_it_once(path: Path) -> None:
    path.write_bytes(b'{"v":1,')

    subprocess.run([sys.executable, "-c", _MANY, str(path)], timeout=100, check=True, env=_ENVIRONMENT)

    torn = [line for line in read(path) if isinstance(line, TornLine)]
    assert [line.raw for line in torn] == [b'{"v":1,']
