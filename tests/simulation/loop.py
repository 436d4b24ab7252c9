"""An event loop in virtual time, without sockets and threads, that runs one callback at a time."""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Callable
from contextvars import ContextVar
from functools import partial
from typing import Any, TypeVarTuple, Unpack

Ts = TypeVarTuple("Ts")

signal_handlers: ContextVar[dict[int, Callable[[], object]]] = ContextVar("signal_handlers")
"""The handlers of the process whose code runs now, by the numbers of their signals."""


MOST_STEPS_AT_ONCE = 200_000
"""After so many steps without time passing, a program is taken for one that spins."""


class SpinningError(Exception):
    """Something runs again and again, and lets no time pass."""


def _never() -> bool:
    return False


class SimulatedLoop(asyncio.BaseEventLoop):
    """Its time begins at 0, and jumps to the next timer when nothing is ready.

    A step is one callback: at most one task runs to its next await. Between two steps the caller may do what it likes,
    such as kill what runs. The order of the steps depends on nothing but the program.
    """

    # The base class has them, but its types do not tell.
    _ready: deque[asyncio.Handle]
    _scheduled: list[asyncio.TimerHandle]
    _stopping: bool

    def __init__(self) -> None:
        super().__init__()
        self._virtual = 0.0
        self._is_done: Callable[[], bool] = _never
        self._ends_at = 0.0
        self._was_done = False
        self._steps_now = 0
        self.steps = 0
        """How many callbacks have run."""

    def time(self) -> float:
        """The virtual time, in seconds."""
        return self._virtual

    def run_until(self, is_done: Callable[[], bool], *, at: float) -> bool:
        """Run until `is_done`, which is asked before each step, or to the time `at`. Return whether it is done."""
        self._is_done, self._ends_at, self._was_done = is_done, at, False
        self.run_forever()
        return self._was_done

    def run_for(self, seconds: float) -> None:
        """Let this much time pass."""
        self.run_until(_never, at=self._virtual + seconds)

    def add_signal_handler(self, sig: int, callback: Callable[[Unpack[Ts]], object], *args: *Ts) -> None:
        """Let a signal of the present process call this."""
        signal_handlers.get()[sig] = partial(callback, *args)

    def remove_signal_handler(self, sig: int) -> bool:
        """Let a signal of the present process do nothing."""
        return signal_handlers.get().pop(sig, None) is not None

    def _run_once(self) -> None:
        scheduled = self._scheduled
        while scheduled and scheduled[0].cancelled():
            heapq.heappop(scheduled)
        if self._is_done():
            self._stopping = self._was_done = True
            return
        if not self._ready and (not scheduled or scheduled[0].when() > self._ends_at):
            self._virtual = max(self._virtual, self._ends_at)
            self._stopping = True
            return
        if not self._ready:
            self._steps_now = 0
            self._virtual = max(self._virtual, scheduled[0].when())
            while scheduled and scheduled[0].when() <= self._virtual:
                self._ready.append(heapq.heappop(scheduled))
        handle: Any = self._ready.popleft()
        if not handle.cancelled():
            self.steps += 1
            self._steps_now += 1
            if self._steps_now > MOST_STEPS_AT_ONCE:
                raise SpinningError(f"it goes on and on at {self._virtual:.3f} s: {handle}")
            handle._run()

    def _write_to_self(self) -> None:
        """Nothing: `call_soon_threadsafe` is called in the loop's own thread."""

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Nothing: `_run_once` drops cancelled timers when their time comes."""
