"""Time as a parameter, so that tests can replace it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol


class Clock(Protocol):
    """Wall-clock time and monotonic time. Ages and waits use `monotonic`; times that leave the process use `now`."""

    def now(self) -> float:
        """Return the wall-clock time in seconds since the epoch, UTC. It jumps when the machine's clock is set."""
        ...

    def monotonic(self) -> float:
        """Return the event loop's time: seconds since an arbitrary start, which never go back."""
        ...


class SystemClock:
    """The machine's clock, and the time of the event loop that runs at the first call of `monotonic`."""

    def __init__(self) -> None:
        self._loop_time: Callable[[], float] | None = None

    def now(self) -> float:
        """Return the machine's time in seconds since the epoch, UTC."""
        return time.time()

    def monotonic(self) -> float:
        """Return the event loop's time in seconds."""
        # The bound method is kept: up to Python 3.11, `get_running_loop` makes a system call each time (getpid, to
        # detect a fork), and one look reads the time about ten times.
        if self._loop_time is None:
            self._loop_time = asyncio.get_running_loop().time
        return self._loop_time()
