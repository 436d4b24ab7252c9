"""Whether lists are usable: a value that changes with what retrieves show of them.

A list shows many assets for the price of one request, but it may be wrong. What matters in it is confirmed by a
retrieve, and now and then so is something that does not matter. Lists that are contradicted too often, or refused, are
suspended for a while.

Nothing here waits or reads a clock; instants are monotonic seconds.
"""

from __future__ import annotations

from collections import deque
from typing import Final

import msgspec

RECENT: Final = 40
"""Checks that are remembered."""
CONTRADICTIONS_TO_DOUBT: Final = 4
SHARE_TO_DOUBT: Final = 0.25
"""Lists are suspended at this many contradictions, if they are also this share of the recent checks. Some are expected:
an asset may turn ready between the list and the retrieve."""
CHECKS_TO_TRUST: Final = 20
"""Checks in a row that agree, after which lists that were suspended count as good again."""
FIRST_PAUSE_SECONDS: Final = 60.0
LONGEST_PAUSE_SECONDS: Final = 3600.0
"""The pause doubles from the first to the longest, each time that lists fail again before they count as good."""


class Suspended(msgspec.Struct, frozen=True):
    """Lists are not used for a while."""

    why: str
    seconds: float


class Restored(msgspec.Struct, frozen=True):
    """Lists that were suspended count as good again."""


class ListHealth:
    """Whether lists are usable now.

    Methods return a change that is worth a log entry. `Suspended` is returned once, however often lists are suspended
    again before they are `Restored`.
    """

    def __init__(self) -> None:
        self._checks: deque[bool] = deque(maxlen=RECENT)
        self._suspended_until = 0.0
        self._pause = FIRST_PAUSE_SECONDS
        self._is_reported = False
        self._agreed_in_a_row = 0

    def is_usable(self, now: float) -> bool:
        """Whether a list may be requested."""
        return now >= self._suspended_until

    def checked(self, now: float, *, agreed: bool) -> Suspended | Restored | None:
        """Note that a retrieve agreed with what a list had shown, or contradicted it."""
        if not self.is_usable(now):
            return None  # of lists that were under way when they were suspended
        self._checks.append(agreed)
        if agreed:
            return self._agreed()
        self._agreed_in_a_row = 0
        contradictions = self._checks.count(False)
        if contradictions < CONTRADICTIONS_TO_DOUBT or contradictions < SHARE_TO_DOUBT * len(self._checks):
            return None
        return self._suspend(
            now, f"{contradictions} of {len(self._checks)} lists or hints that were checked were wrong"
        )

    def refused(self, now: float, why: str) -> Suspended | None:
        """Note that the endpoint does not answer as a list does."""
        return self._suspend(now, why)

    def _agreed(self) -> Restored | None:
        self._agreed_in_a_row += 1
        if self._agreed_in_a_row < CHECKS_TO_TRUST:
            return None
        self._pause = FIRST_PAUSE_SECONDS
        was_reported, self._is_reported = self._is_reported, False
        return Restored() if was_reported else None

    def _suspend(self, now: float, why: str) -> Suspended | None:
        if not self.is_usable(now):
            return None
        self._checks.clear()
        self._agreed_in_a_row = 0
        self._suspended_until, seconds = now + self._pause, self._pause
        self._pause = min(2 * self._pause, LONGEST_PAUSE_SECONDS)
        was_reported, self._is_reported = self._is_reported, True
        return None if was_reported else Suspended(why, seconds)
