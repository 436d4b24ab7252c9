"""Whether list requests are suspended: a value that is updated with each retrieve that checks a list.

A list shows many assets for the price of one request, but it may be wrong. Lists that retrieves contradict too often,
that lag too far behind them, that are refused, or that fail again and again while retrieves work, are suspended for a
while. A single failure says nothing about lists, even if a retrieve succeeds after it: an outage or a refused key may
have ended in between, or the key may have been replaced.

Nothing here waits or reads a clock; instants are monotonic seconds.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Final

import msgspec

RECENT: Final = 40
"""The number of latest checks that are kept."""
CONTRADICTIONS_TO_DOUBT: Final = 4
SHARE_TO_DOUBT: Final = 0.25
"""Lists are suspended after this many contradictions, if these are also at least this share of the recent checks. Some
contradictions are expected: an asset may turn ready between the list and the retrieve."""
FAILURES_TO_DOUBT: Final = 3
"""Lists are suspended after so many failures in a row, each with a retrieve that worked after it and before the next
list was requested. The end of an outage gives one such failure, however many lists it has hit."""
CHECKS_TO_RESTORE: Final = 20
"""Lists that were suspended count as good again after this many checks in a row that agree."""
TRIAL_SECONDS: Final = 60.0
"""But not before they have been used again for this time: it takes a while to notice that they lag."""
FIRST_PAUSE_SECONDS: Final = 60.0
LONGEST_PAUSE_SECONDS: Final = 3600.0
"""The pause doubles, from the first to the longest, each time lists fail again before they count as good."""


class Suspended(msgspec.Struct, frozen=True):
    """Lists are not used for a while."""

    why: str
    seconds: float


class Restored(msgspec.Struct, frozen=True):
    """Lists that were suspended count as good again."""


class ListSuspension:
    """Whether lists are usable now.

    Methods return a change if it is to be logged. `Suspended` is returned once, however often lists are suspended again
    before they are `Restored`.
    """

    def __init__(self) -> None:
        self._checks: deque[bool] = deque(maxlen=RECENT)
        self._suspended_until = 0.0
        self._pause = FIRST_PAUSE_SECONDS
        self._is_reported = False
        self._agreed_in_a_row = 0
        self._failures = 0
        self._failure_known_at = -math.inf

    def is_usable(self, now: float) -> bool:
        """Return whether a list may be requested."""
        return now >= self._suspended_until

    def checked(self, now: float, *, agreed: bool) -> Suspended | Restored | None:
        """Record whether a retrieve agreed with what a list had shown. Return the change, if it is to be logged."""
        if not self.is_usable(now):
            return None  # a check of a list that was in flight when lists were suspended
        self._checks.append(agreed)
        if agreed:
            return self._agreed(now)
        self._agreed_in_a_row = 0
        contradictions = self._checks.count(False)
        if contradictions < CONTRADICTIONS_TO_DOUBT or contradictions < SHARE_TO_DOUBT * len(self._checks):
            return None
        return self._suspend(
            now, f"{contradictions} of {len(self._checks)} lists or hints that were checked were wrong"
        )

    def refused(self, now: float, why: str) -> Suspended | None:
        """Record that the API refused a list request. Return the change, if it is new."""
        return self._suspend(now, why)

    def behind(self) -> None:
        """Record that a list showed an earlier state than a retrieve. By itself, that suspends nothing."""
        self._agreed_in_a_row = 0

    def lagged(self, now: float, seconds: float) -> Suspended | None:
        """Record that lists are so many seconds behind retrieves, and that this is too much.

        Return the change, if it is new.
        """
        return self._suspend(now, f"lists are {seconds:.0f} s or more behind")

    def answered(self) -> None:
        """Record that a list request was answered with a list."""
        self._failures = 0

    def failed_alone(self, now: float, why: str, *, asked_at: float) -> Suspended | None:
        """Record that a list request failed, and the retrieve after it worked. Return the change, if it is new.

        `asked_at` is when the list was requested, and `now` when the retrieve was answered.
        """
        if asked_at < self._failure_known_at:
            return None  # it may have failed together with the one before
        self._failure_known_at = now
        self._failures += 1
        return self._suspend(now, why) if self._failures >= FAILURES_TO_DOUBT else None

    def _agreed(self, now: float) -> Restored | None:
        self._agreed_in_a_row += 1
        if self._agreed_in_a_row < CHECKS_TO_RESTORE or now < self._suspended_until + TRIAL_SECONDS:
            return None
        self._pause = FIRST_PAUSE_SECONDS
        was_reported, self._is_reported = self._is_reported, False
        return Restored() if was_reported else None

    def _suspend(self, now: float, why: str) -> Suspended | None:
        if not self.is_usable(now):
            return None
        self._checks.clear()
        self._agreed_in_a_row = self._failures = 0
        self._suspended_until, seconds = now + self._pause, self._pause
        self._pause = min(2 * self._pause, LONGEST_PAUSE_SECONDS)
        was_reported, self._is_reported = self._is_reported, True
        return None if was_reported else Suspended(why, seconds)
