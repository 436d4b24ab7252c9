"""How late looks are because requests are scarce: a value that is updated at each take.

Looks can be late for other reasons. An outage or a refused key holds all requests, and what became due meanwhile is
late when they go out again. And what became due during a pause for new assets could not have been taken earlier.

Nothing here waits or reads a clock; instants are monotonic seconds.
"""

from __future__ import annotations

import math

import msgspec


class Late(msgspec.Struct, frozen=True):
    """How late a look is because requests are scarce."""

    seconds: float
    since: float
    """Seconds since the `Late` before this one; infinite for the first."""


class Lateness:
    """Which looks are late because requests are scarce."""

    def __init__(self) -> None:
        self._was_cut_off = False
        self._cut_off_until = -math.inf
        self._reported_at = -math.inf

    def of(self, late: float, *, now: float, is_cut_off: bool, gathered_at: float) -> Late | None:
        """Return how late a look is because requests are scarce; None: that can't be known.

        Must be called at each take.

        Args:
            late: seconds since the look was due.
            now: the time of the take.
            is_cut_off: whether the circuit breaker holds requests now.
            gathered_at: when the latest pause for new assets ended.
        """
        if is_cut_off or self._was_cut_off:
            self._cut_off_until = now
        self._was_cut_off = is_cut_off
        due = now - late
        if due < self._cut_off_until:
            return None
        since, self._reported_at = now - self._reported_at, now
        return Late(now - max(due, gathered_at), since)
