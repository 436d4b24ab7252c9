"""Time, as a parameter."""

from __future__ import annotations

import asyncio
import time
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
    """The machine's clock, and the running event loop's."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()
