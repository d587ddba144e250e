"""ReloadedValue: what a program makes of files that change while it runs, loaded again when one of them changes."""

import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

_LOGGER = logging.getLogger(__name__)

Value = TypeVar("Value")
_FileState = tuple[int, int, int] | None


class ReloadedValue(Generic[Value]):
    """The value that `load` makes of `files` as they are now. Nothing is loaded before the first get().

    Where the files do not load, get() raises what `load` raises. Errors of type `keep_on`, if given, are logged instead
    as soon as there is a value to keep.
    """

    def __init__(
        self, files: Sequence[Path], load: Callable[[], Value], *, keep_on: type[Exception] | None = None
    ) -> None:
        self._files = files
        self._load = load
        self._keep_on: tuple[type[Exception], ...] = (keep_on,) if keep_on else ()
        self._lock = threading.Lock()
        self._loaded: tuple[list[_FileState], Value] | None = None

    def get(self) -> Value:
        """Returns the current value; looks at the files each time, and reads them only when one has changed."""
        # Before reading: what changes in between is seen as a change by the next call.
        states = [_read_state(file) for file in self._files]
        with self._lock:
            if self._loaded is None or self._loaded[0] != states:
                self._loaded = (states, self._load_or_keep())
            return self._loaded[1]

    def _load_or_keep(self) -> Value:
        try:
            return self._load()
        except self._keep_on as error:
            if self._loaded is None:
                raise
            _LOGGER.warning("podtls: the previous value stays in use: %s", error)
            return self._loaded[1]


def _read_state(file: Path) -> _FileState:
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size
