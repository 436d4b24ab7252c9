"""Ends the process: at once, or by the signal that ended its work."""

from __future__ import annotations

import os
import signal
from typing import Final, NoReturn

from asset_worker.runtime.background import STALL_SECONDS
from asset_worker.runtime.stderr import drain_stderr

STOPPING: Final = (signal.SIGTERM, signal.SIGINT)
SERVICE: Final = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
"""Signals that would end the process, and that a service handles in another way."""
SIGNAL_BASE: Final = 128
"""A shell shows the end by signal N as exit code 128 + N."""


def hold_service_signals() -> None:
    """Keep the signals that a service handles pending, so that none of them ends the process.

    Call it before any thread starts: a signal goes to any thread that does not hold it.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, SERVICE)


def exit_code_of(reason: str | None) -> int | None:
    """Return 128 + the number of the signal that is the reason of a stop; None: the reason is another one."""
    number = signal.Signals.__members__.get(reason or "")
    return None if number is None else SIGNAL_BASE + number


def exit_at_once(code: int) -> NoReturn:
    """End the process with this exit code, without closing anything. The log is drained."""
    drain_stderr(longest=STALL_SECONDS)
    os._exit(code)


def die_of_signal(code: int) -> NoReturn:
    """End the process by the signal whose number is `code` - 128, without closing anything. The log is drained.

    A shell that runs a loop then ends the loop as well. The first process of a container can't end itself by a signal:
    it ends with `code`.
    """
    number = code - SIGNAL_BASE
    signal.signal(number, signal.SIG_DFL)
    drain_stderr()
    os.kill(os.getpid(), number)
    os._exit(code)
