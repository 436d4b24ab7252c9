"""Time, as a parameter."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol


class Clock(Protocol):
    """The two times. Ages and waits use `monotonic`; `now` is for what leaves the process."""

    def now(self) -> float:
        """Seconds since the epoch, UTC. May step when the machine's clock is set."""
        ...

    def monotonic(self) -> float:
        """Seconds since some start, never going back; the event loop's own time."""
        ...


class SystemClock:
    """The machine's clock, and that of the event loop in which it is first asked."""

    def __init__(self) -> None:
        self._loop_time: Callable[[], float] | None = None

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        # The loop is asked for once: up to Python 3.11 that is a system call each time (getpid, to notice a fork), and
        # a look asks for the time ten times over.
        if self._loop_time is None:
            self._loop_time = asyncio.get_running_loop().time
        return self._loop_time()
