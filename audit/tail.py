"""Reading a log while it grows: whole lines only, across rotation and truncation. Writes nothing, sleeps nowhere."""

import os
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path

from audit.errors import LogReadError
from audit.log import TornLine, parse_line
from audit.record import Record


class Tail:
    """Where a reader stands in one log. `poll` as often as you like; the file need not exist yet."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BufferedReader | None = None
        self._number = 0
        self._offset = 0

    def poll(self) -> Iterator[Record | TornLine]:
        """Every line completed since the last poll; a half line waits for its end. Raises LogReadError."""
        try:
            yield from self._lines()
            while (successor := self._successor()) is not None:
                # Whoever wrote before the rotation may have finished a line after our last look at the old file.
                yield from self._lines()
                yield from self._rest()
                self.close()
                self._file = successor
                yield from self._lines()
        except OSError as error:
            raise LogReadError(f"{self._path}: {error.strerror or error}") from error

    def close(self) -> None:
        """Close the file; a later poll starts again from its first line."""
        if self._file is not None:
            self._file.close()
        self._file = None
        self._number = self._offset = 0

    def _successor(self) -> BufferedReader | None:
        """The file that stands at our path by now, if it is another one than ours or was emptied in place."""
        try:
            named = self._path.open("rb")
        except FileNotFoundError:
            # Not there yet, or rotated away and nothing new: stay with the old file, whose writer may still be at it.
            return None
        status = os.fstat(named.fileno())
        same = self._file is not None and os.path.samestat(os.fstat(self._file.fileno()), status)
        if same and status.st_size >= self._offset:
            named.close()
            return None
        return named

    def _lines(self) -> Iterator[Record | TornLine]:
        if self._file is None:
            return
        self._file.seek(self._offset)
        for line in self._file:
            if not line.endswith(b"\n"):
                return
            yield self._take(line)

    def _rest(self) -> Iterator[Record | TornLine]:
        # A file that was replaced grows no more: its half line stays one.
        if self._file is None:
            return
        self._file.seek(self._offset)
        if rest := self._file.read():
            yield self._take(rest)

    def _take(self, line: bytes) -> Record | TornLine:
        self._number += 1
        start = self._offset
        self._offset += len(line)
        return parse_line(line, path=self._path, number=self._number, offset=start)
