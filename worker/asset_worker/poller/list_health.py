"""Whether lists are to be believed: a value that changes with what retrieves have shown of them.

A list tells of many assets for the price of one request, but only as a hint. Each hint that matters is confirmed by a
retrieve, and now and then one that doesn't is, too; hints that are contradicted too often, or a list that is refused,
turn lists off for a while. Nothing here waits or tells the time; instants are monotonic seconds.
"""

from __future__ import annotations

from collections import deque
from typing import Final

import msgspec

RECENT: Final = 40
"""Checks that are remembered."""
CONTRADICTIONS_TO_DOUBT: Final = 4
SHARE_TO_DOUBT: Final = 0.25
"""So many contradictions, and this share of the recent checks: an asset may turn ready between list and retrieve."""
CHECKS_TO_TRUST: Final = 20
"""Checks without doubt, after which lists that had been turned off count as good again."""
FIRST_PAUSE_SECONDS: Final = 60.0
LONGEST_PAUSE_SECONDS: Final = 3600.0


class Suspended(msgspec.Struct, frozen=True):
    """Lists are turned off."""

    why: str
    seconds: float


class Restored(msgspec.Struct, frozen=True):
    """Lists that had been turned off have proved good again."""


class ListHealth:
    """What is thought of lists now. Changes worth telling are returned: once for each spell of doubt."""

    def __init__(self) -> None:
        self._checks: deque[bool] = deque(maxlen=RECENT)
        self._off_until = 0.0
        self._pause = FIRST_PAUSE_SECONDS
        self._is_told = False
        self._good = 0

    def is_usable(self, now: float) -> bool:
        """Whether a list may be asked for."""
        return now >= self._off_until

    def checked(self, now: float, *, agreed: bool) -> Suspended | Restored | None:
        """A retrieve has confirmed what a list had shown, or contradicted it."""
        if not self.is_usable(now):
            return None  # of lists that were under way when they were turned off
        self._checks.append(agreed)
        if agreed:
            return self._agreed()
        self._good = 0
        contradictions = self._checks.count(False)
        if contradictions < CONTRADICTIONS_TO_DOUBT or contradictions < SHARE_TO_DOUBT * len(self._checks):
            return None
        return self._turn_off(
            now, f"{contradictions} of {len(self._checks)} lists or hints that were checked were wrong"
        )

    def refused(self, now: float, why: str) -> Suspended | None:
        """The endpoint doesn't answer as a list does."""
        return self._turn_off(now, why)

    def _agreed(self) -> Restored | None:
        self._good += 1
        if self._good < CHECKS_TO_TRUST:
            return None
        self._pause = FIRST_PAUSE_SECONDS
        was_told, self._is_told = self._is_told, False
        return Restored() if was_told else None

    def _turn_off(self, now: float, why: str) -> Suspended | None:
        if not self.is_usable(now):
            return None
        self._checks.clear()
        self._good = 0
        self._off_until, seconds = now + self._pause, self._pause
        self._pause = min(2 * self._pause, LONGEST_PAUSE_SECONDS)
        was_told, self._is_told = self._is_told, True
        return None if was_told else Suspended(why, seconds)
