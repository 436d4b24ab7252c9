"""Time as a parameter, so that tests can replace it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol

from asset_worker.runtime.steady_time import Mark, Reading, steady_at


class Clock(Protocol):
    """Three times: the wall clock's, steady time and monotonic time.

    - `monotonic` is for waits: it is the time of the event loop's timers.
    - `steady` is for ages and for all instants that are kept: neither a restart, a suspend nor setting the wall clock
      makes anything older or younger than it is.
    - `now` is for instants that people and other programs read: they compare them with their own clocks.
    """

    def now(self) -> float:
        """Return the wall-clock time in seconds since the epoch, UTC. It jumps when the machine's clock is set."""
        ...

    def monotonic(self) -> float:
        """Return the event loop's time: seconds since an arbitrary start, which never go back. Suspend may stop it."""
        ...

    def steady(self) -> float:
        """Return steady time (`steady_time`) in seconds: it never goes back, and counts the time in suspend."""
        ...

    def mark(self) -> Mark:
        """Return what a later process needs to continue steady time."""
        ...

    def resume(self, mark: Mark | None) -> None:
        """Continue steady time from what was stored; None: start it now. Call this before `steady` is used."""
        ...


def wall_time(clock: Clock, steady: float) -> float:
    """Return an instant of steady time by the wall clock as it is set now, in seconds since the epoch, UTC."""
    return clock.now() - (clock.steady() - steady)


class SystemClock:
    """The machine's clocks, and the time of the event loop that runs at the first call of `monotonic`.

    Steady time starts at the present wall-clock time, unless it is resumed.
    """

    def __init__(self) -> None:
        self._loop_time: Callable[[], float] | None = None
        self._boot = _boot()
        self._ahead = 0.0
        """Steady time minus the time since the boot, in seconds."""
        self.resume(None)

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

    def steady(self) -> float:
        """Return steady time in seconds."""
        return time.clock_gettime(_SINCE_BOOT) + self._ahead

    def mark(self) -> Mark:
        """Return what a later process needs to continue steady time."""
        reading = self._read()
        return Mark(reading.elapsed + self._ahead, reading)

    def resume(self, mark: Mark | None) -> None:
        """Continue steady time from what was stored; None: start it now."""
        present = self._read()
        self._ahead = steady_at(present, mark) - present.elapsed

    def _read(self) -> Reading:
        return Reading(self._boot, time.clock_gettime(_SINCE_BOOT), time.time())


def read_clocks() -> Reading:
    """Return what the machine's clocks show now."""
    return Reading(_boot(), time.clock_gettime(_SINCE_BOOT), time.time())


_SINCE_BOOT: Final[int] = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""Linux has CLOCK_BOOTTIME; on macOS, CLOCK_MONOTONIC counts the time in suspend as well."""
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_TIME_NAMESPACE: Final = Path("/proc/self/ns/time")
"""Within a time namespace of its own, a container's CLOCK_BOOTTIME starts where its runtime says."""


def _boot() -> str | None:
    """Return what identifies the boot and the start that the clock of the boot counts from; None: it is unknown."""
    with suppress(OSError, ValueError):
        boot = _BOOT_ID.read_text("ascii").strip()
        with suppress(OSError):  # Linux before 5.6 has no time namespaces
            boot = f"{boot} {_TIME_NAMESPACE.readlink()}"
        return boot
    return None
