"""How late looks are for want of requests: a value that changes with what is taken.

Looks can be late for other reasons. An outage or a refused key keeps all requests back, and what was due meanwhile is
late when they go out again; and what came due while new assets were waited for could not have been taken before.
Nothing here waits or tells the time; instants are monotonic seconds.
"""

from __future__ import annotations

import math

import msgspec


class Late(msgspec.Struct, frozen=True):
    """A look is so late, in seconds, and `since` so many seconds this was not told."""

    seconds: float
    since: float


class Lateness:
    """What is known of why looks are late."""

    def __init__(self) -> None:
        self._was_cut_off = False
        self._cut_off_until = -math.inf
        self._told_at = -math.inf

    def of(self, late: float, *, now: float, is_cut_off: bool, gathered_at: float) -> Late | None:
        """How late a look that was due `late` seconds ago is for want of requests; None: it tells nothing of that.

        To be asked at each take, for `is_cut_off` is the state of that moment: the breaker keeps requests back.
        `gathered_at` is when the last pause for new assets ended.
        """
        if is_cut_off or self._was_cut_off:
            self._cut_off_until = now
        self._was_cut_off = is_cut_off
        due = now - late
        if due < self._cut_off_until:
            return None
        since, self._told_at = now - self._told_at, now
        return Late(now - max(due, gathered_at), since)
