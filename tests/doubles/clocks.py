"""Clocks for tests: one that stands still until it is moved, and one that follows the event loop.

In both, a new start of the machine is a new `boot`, at which `mono` or `start` may change.
"""

from __future__ import annotations

import asyncio

from asset_worker.runtime.steady_time import Mark, Reading, steady_at


class _Steady:
    """Steady time as the system's clock keeps it, by the clocks of the test."""

    boot = "first"
    suspended = 0.0
    """Seconds that the machine has been suspended in this boot."""
    _ahead: float

    def now(self) -> float:
        raise NotImplementedError

    def monotonic(self) -> float:
        raise NotImplementedError

    def suspend(self, seconds: float) -> None:
        """The machine sleeps: only the monotonic clock stands still."""
        self.suspended += seconds

    def read(self) -> Reading:
        return Reading(self.boot, self.monotonic() + self.suspended, self.now())

    def steady(self) -> float:
        return self.read().elapsed + self._ahead

    def mark(self) -> Mark:
        return Mark(self.steady(), self.read())

    def resume(self, mark: Mark | None) -> None:
        present = self.read()
        self._ahead = steady_at(present, mark) - present.elapsed


class ManualClock(_Steady):
    """A clock that stands still until a test moves it."""

    def __init__(self, wall: float = 1_000_000.0) -> None:
        self.wall = wall
        self.mono = 50.0
        self.resume(None)

    def now(self) -> float:
        return self.wall

    def monotonic(self) -> float:
        return self.mono

    def move(self, seconds: float) -> None:
        self.wall += seconds
        self.mono += seconds

    def suspend(self, seconds: float) -> None:
        super().suspend(seconds)
        self.wall += seconds


class LoopClock(_Steady):
    """The event loop's time, a wall clock that a test may step, and a start of the machine that it may change."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.stepped = 0.0
        self.start = 50.0
        self.resume(None)

    def now(self) -> float:
        return 1_000_000.0 + self._loop.time() + self.suspended + self.stepped

    def monotonic(self) -> float:
        return self.start + self._loop.time()
