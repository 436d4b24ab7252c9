"""Steady time: the time scale of all instants that are kept. Pure: readings of clocks in, seconds out.

Steady time is what the wall clock showed at the first start, plus the time that has passed since then. So it looks like
seconds since the epoch, but it never goes back, and setting the wall clock does not change it. It continues after a
restart, because a `Mark` is stored from time to time.

Within one boot, the clock of the boot (CLOCK_BOOTTIME) measures what has passed. It counts the time in suspend, in
which CLOCK_MONOTONIC stands still, and nobody can set it. Over a boot, only the wall clock shows how much time passed.
"""

from __future__ import annotations

from math import isfinite
from typing import Final

import msgspec

EARLIEST_WALL: Final = 1_767_225_600.0
"""The start of 2026, in seconds since the epoch. A wall clock that shows an earlier time has not been set yet: without
a battery, a machine's clock starts in 1970, or at the time when its system was built."""

STEP_SECONDS: Final = 1.0
"""When the wall clock has moved by more than this against the clock of the boot, it was set."""


class Reading(msgspec.Struct, frozen=True):
    """What the clocks of a machine show at one instant."""

    boot: str | None
    """Identifies the boot that `elapsed` counts from; None: unknown."""
    elapsed: float
    """Seconds since that boot, the time in suspend included."""
    wall: float
    """Seconds since the epoch, UTC, by the wall clock."""


class Mark(msgspec.Struct, frozen=True):
    """Steady time at the instant of a reading."""

    steady: float
    reading: Reading

    @property
    def wall_offset(self) -> float:
        """What the wall clock showed minus steady time, in seconds. Only setting the wall clock changes it."""
        return self.reading.wall - self.steady


def steady_at(present: Reading, mark: Mark | None) -> float:
    """Return the steady time now. `mark` was stored earlier, perhaps before a boot; None: this is the first start."""
    if mark is None or not all(map(isfinite, (mark.steady, mark.reading.elapsed, mark.reading.wall))):
        return present.wall
    return mark.steady + seconds_between(mark.reading, present)


def seconds_between(earlier: Reading, later: Reading) -> float:
    """Return the seconds that have passed between two readings, at least 0.

    If the two may be of different boots, a wall clock that was set in between makes the result wrong. Where there is
    a choice, the shorter time is returned: it delays a deadline, and the longer one would end waits too early.
    """
    by_boot = later.elapsed - earlier.elapsed
    by_wall = max(0.0, later.wall - earlier.wall)
    if earlier.wall < EARLIEST_WALL <= later.wall:
        by_wall = 0.0
    if by_boot < 0:  # another boot, or a snapshot of a virtual machine that was restored
        return by_wall
    if earlier.boot is None or later.boot is None:
        return min(by_boot, by_wall)
    return by_boot if earlier.boot == later.boot else by_wall


def step_between(earlier: Mark, later: Mark) -> float:
    """Return by how many seconds the wall clock was set forward between two marks of one process; 0: it was not set."""
    moved = later.wall_offset - earlier.wall_offset
    return moved if abs(moved) > STEP_SECONDS else 0.0
