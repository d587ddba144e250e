"""What holds for every test: signals are as a terminal has them, so that what the tests start can be interrupted."""

import signal
from collections.abc import Callable
from typing import Any, Final

# A shell without job control starts what is in the background with SIGINT and SIGQUIT ignored, nohup does so with
# SIGHUP; and what is ignored is inherited by every program that we start, through exec. A handler is not.
_HANDLERS: Final[dict[signal.Signals, Callable[..., Any] | signal.Handlers]] = {
    signal.SIGINT: signal.default_int_handler,
    signal.SIGQUIT: signal.SIG_DFL,
    # The tests themselves outlive the terminal, as nohup promises.
    signal.SIGHUP: lambda *_: None,
}


def pytest_configure() -> None:
    """Once, before the first test and in each worker."""
    for number, handler in _HANDLERS.items():
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)
