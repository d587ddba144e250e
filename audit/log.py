"""The log file: append a record durably, read records back. No policy, no network; formats live in record.py.

One line is one record. Later layers (Merkle tree, checkpoints) stand on the lines as they are; they get modules
of their own beside this one and must never change a line that is written.
"""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from audit.errors import LogReadError, LogWriteError, RecordError
from audit.record import Record, decode, encode

_MODE: Final = 0o640  # The group is the auditors'; nobody else reads who deployed what.
_FREE_BYTES: Final = 1024 * 1024  # Below this a replica says it is not ready, before it must refuse.


@dataclass(frozen=True, slots=True)
class TornLine:
    """A line that is not a record: cut by a crash or a full disk, damaged, or of another schema version.

    `number` counts from 1, `offset` is in bytes from the start of the file.
    """

    path: Path
    number: int
    offset: int
    raw: bytes
    reason: str


class EvidenceLog:
    """An append-only file that many processes and threads write. The constructor touches no disk.

    Each append opens the file anew. That costs microseconds beside fdatasync, and buys three things: flock excludes
    threads and forked workers too (it belongs to the open file description, which a fork would share), a file that was
    rotated away is left at once, and an fdatasync error is seen by every append that it concerns.
    """

    def __init__(self, path: Path, *, lock_seconds: float = 2.0) -> None:
        self.path = path
        self._lock_seconds = lock_seconds
        self._durable_entry: tuple[int, int] | None = None

    def append(self, record: Record) -> None:
        """Return when the record is on the disk; raise LogWriteError (naming path and reason) when it may not be.

        A failed write leaves the file as it was; after a failed fdatasync the record may stand in it all the same.
        """
        line = encode(record) + b"\n"
        try:
            descriptor = self._open_locked()
            try:
                _write_whole(descriptor, line)
                fcntl.flock(descriptor, fcntl.LOCK_UN)
                # Outside the lock, so that concurrent appends share one flush of the disk.
                os.fdatasync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise self._refusal(error) from error

    def check_writable(self) -> None:
        """Raise LogWriteError when the next append would probably fail: no access, no directory, disk nearly full."""
        try:
            os.close(self._open())
            disk = os.statvfs(self.path)
        except OSError as error:
            raise self._refusal(error) from error
        # Some network file systems report no sizes at all.
        if disk.f_blocks and disk.f_bavail * disk.f_frsize < _FREE_BYTES:
            raise LogWriteError(f"evidence log {self.path}: less than {_FREE_BYTES} bytes free on its disk")

    def _refusal(self, error: OSError) -> LogWriteError:
        return LogWriteError(f"evidence log {self.path}: {error.strerror or error}; nothing is answered unrecorded")

    def _open_locked(self) -> int:
        while True:
            with contextlib.ExitStack() as unless_ours:
                descriptor = self._open()
                unless_ours.callback(os.close, descriptor)
                self._lock(descriptor)
                # The file may have been rotated away while we waited; then the next one is ours.
                if _names(self.path, descriptor):
                    unless_ours.pop_all()
                    return descriptor

    def _open(self) -> int:
        try:
            descriptor = os.open(self.path, _FLAGS)
        except FileNotFoundError:
            descriptor = self._create()
        try:
            self._sync_entry(descriptor)
        except OSError:
            os.close(descriptor)
            raise
        return descriptor

    def _create(self) -> int:
        try:
            descriptor = os.open(self.path, _FLAGS | os.O_CREAT | os.O_EXCL, _MODE)
        except FileExistsError:
            return os.open(self.path, _FLAGS)
        os.fchmod(descriptor, _MODE)  # Whatever the umask says.
        return descriptor

    def _sync_entry(self, descriptor: int) -> None:
        # A new file survives a power cut only when its directory entry is on the disk as well (fsync(2)). Every process
        # does it for the file it meets, not only the creator: else it might answer before the creator has done it.
        status = os.fstat(descriptor)
        entry = (status.st_dev, status.st_ino)
        if entry == self._durable_entry:
            return
        directory = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
        self._durable_entry = entry

    def _lock(self, descriptor: int) -> None:
        # Whoever can read the file can lock it: a stuck holder must end in a clear refusal, not in hanging admissions.
        deadline = time.monotonic() + self._lock_seconds
        pause = 0.0001
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                if time.monotonic() > deadline:
                    waited = f"another process holds its lock for {self._lock_seconds:g} s"
                    raise LogWriteError(f"evidence log {self.path}: {waited}") from error
                time.sleep(pause)
                pause = min(pause * 2, 0.005)
            else:
                return


def read(path: Path) -> Iterator[Record | TornLine]:
    """Every line of a log in order, never raising for a bad one. Takes no lock. Raises LogReadError."""
    offset = 0
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                yield parse_line(line, path=path, number=number, offset=offset)
                offset += len(line)
    except OSError as error:
        raise LogReadError(f"{path}: {error.strerror or error}") from error


def parse_line(line: bytes, *, path: Path, number: int, offset: int) -> Record | TornLine:
    """The record of a line, or what is wrong with it."""
    raw = line.removesuffix(b"\n")
    try:
        return decode(raw)
    except RecordError as error:
        return TornLine(path, number, offset, raw, str(error))


def _write_whole(descriptor: int, line: bytes) -> None:
    size = os.fstat(descriptor).st_size
    # A torn tail is somebody else's half record. It is left as it is, and this record starts a line of its own.
    if size and os.pread(descriptor, 1, size - 1) != b"\n":
        line = b"\n" + line
    view = memoryview(line)
    try:
        while view:
            # A full disk first takes what fits, and says why only when asked again.
            view = view[os.write(descriptor, view) :]
    except OSError:
        # Where even this fails (chattr +a), the next append steps over the torn tail.
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, size)
        raise


def _names(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


_FLAGS: Final = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC
