"""Clocks for tests: one that stands still until it is moved, and one that follows the event loop."""

from __future__ import annotations

import asyncio


class ManualClock:
    """A clock that stands still until a test moves it."""

    def __init__(self) -> None:
        self.wall = 1_000_000.0
        self.mono = 50.0

    def now(self) -> float:
        return self.wall

    def monotonic(self) -> float:
        return self.mono

    def move(self, seconds: float) -> None:
        self.wall += seconds
        self.mono += seconds


class LoopClock:
    """The event loop's time, a wall clock that a test may step, and a start of the machine that it may change."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.stepped = 0.0
        self.start = 50.0

    def now(self) -> float:
        return 1_000_000.0 + self._loop.time() + self.stepped

    def monotonic(self) -> float:
        return self.start + self._loop.time()
