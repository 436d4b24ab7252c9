"""One quota that the server reports, and the pace at which it is spent.

The rest of the quota, minus the reserve for the organisation's other callers, is spread over the time to its reset.
When others spend the quota, less remains, and the pace falls by itself. A bucket of credit holds part of the rest, so
that a little work is done at once, and much work lasts until the end of the window.

Others may leave us little more than the reserve, or less. Then a trickle of requests goes on (`trickle`), the slower
the less is left: it takes at most our share, and never uses up the reserve. The next request goes out when the pace or
the trickle allows it, whichever is sooner. So the more remains, the sooner it goes out, above and below the reserve.
"""

from __future__ import annotations

import math
from typing import Final

from asset_worker.api.limits.rate_limit_headers import ReportedQuota
from asset_worker.api.limits.trickle import trickle_gap
from asset_worker.domain.worker_report import QuotaReport

SPENT_AT_ONCE: Final = 0.25
"""This share of what the quota has left for us may be spent at once, at the start of its window or after a lull."""

FIRST_SPREAD_SECONDS: Final = 3_600.0
SPREAD_GROWTH: Final = 3.0
"""The rest is spread over the time to the reset, but at most over an hour or three times the time for which the window
has been known, whichever is longer. So much of a day's quota can be used early, and enough is left in the evening."""

SHORTEST_SPREAD: Final = 0.05
"""The rest is spread over at least this share of the window, so that the pace doesn't soar just before the reset."""

ROUNDING_SECONDS: Final = 1.5
"""Two reports of the same reset, each in whole seconds, may differ by up to this."""

HAD: Final = 0.9
"""When we have used so much of our share ourselves, nobody has taken it from us. A few of our requests are not counted:
those before the first report."""

WHOLE_TOKEN: Final = 1.0 - 1e-9
"""One token, with room for rounding errors from adding up fractions."""


class Quota:
    """A quota as the last answers reported it, and the credit to spend from it. Instants are monotonic seconds."""

    __slots__ = (
        "_as_of",
        "_assumed",
        "_credit",
        "_filled_at",
        "_is_rounded_down",
        "_known_since",
        "_length",
        "_limit",
        "_rate",
        "_remaining",
        "_reset_at",
        "_spent",
    )

    def __init__(self, now: float, report: ReportedQuota) -> None:
        self._as_of = -math.inf
        self._assumed = True
        self._filled_at = now
        self._is_rounded_down = False
        self._known_since = now
        self._length = 0.0
        self._rate = math.inf
        self._spent = 0
        self._limit = report.limit
        self._credit: float
        self._remaining: int
        self._reset_at: float
        self.update(now, now, report)  # sets these

    def update(self, now: float, sent_at: float, report: ReportedQuota) -> None:
        """Update the quota from an answer that arrives at `now`, to a request sent at `sent_at`.

        Answers may overtake one another. An answer to a request that was sent before the last update can only lower
        what remains.
        """
        is_cut = self._is_rounded_down and not report.is_rounded_down
        self._is_rounded_down |= report.is_rounded_down
        reset_in = report.reset_in + is_cut
        reset_at = now + reset_in
        if sent_at < self._as_of:
            is_of_this_window = reset_at > self._as_of + max(self._length / 2, ROUNDING_SECONDS)
            if is_of_this_window or not self._assumed:
                self._remaining = min(self._remaining, report.remaining)
            return
        known_length = self._length if report.limit == self._limit else 0.0
        if self._assumed:
            # The first report of a new window: part of it may be spent at once.
            self._credit = math.inf
        elif reset_at < self._reset_at - ROUNDING_SECONDS:
            # The reset is nearer than it was reported, so that report was wrong, and the length derived from it.
            known_length = 0.0
        elif report.remaining < self._remaining and reset_at < self._reset_at + ROUNDING_SECONDS:
            # It is the same window; resets are rounded up to whole seconds, so the earliest one is the most exact.
            reset_at = min(reset_at, self._reset_at)
        self._length = max(report.window, reset_in, known_length)
        self._limit = report.limit
        self._remaining = report.remaining
        self._reset_at = reset_at
        self._as_of = now
        self._assumed = False

    def report(self, name: str, now: float) -> QuotaReport:
        """Return what is known of the quota now, for people. A window that has ended is assumed to be unspent."""
        remaining = self._limit if now >= self._reset_at else self._remaining
        return QuotaReport(name, self._limit, remaining, round(max(self._reset_at - now, 0.0), 1))

    def used_by_others(self, share: float, portion: float = 1.0) -> str | None:
        """Return how much of it others have used, in words, if they have left too little to us; None: they have not.

        `share` (0 to 1) is ours; the rest is left to others. `portion` (0 to 1) of that is this worker's.
        """
        ours = portion * (self._limit - self._reserve(share))
        if self._assumed or self._usable(share, 0, portion) >= 1 or self._spent >= HAD * ours:
            return None
        return f"others have used {self._limit - self._remaining - self._spent} of {self._limit} requests"

    def is_gone(self, sent_at: float) -> bool:
        """Return whether the quota no longer exists, given that an answer doesn't report it.

        The answer is to a request sent at `sent_at`. Until the quota's window has ended, its last report counts.
        """
        return self._assumed and sent_at >= self._as_of

    def fill(self, now: float, share: float, in_flight: int, portion: float = 1.0) -> None:
        """Fill the credit up to `now`.

        `share` (0 to 1) is ours, and `portion` (0 to 1) of that this worker's; `in_flight` requests may not be
        subtracted yet.
        """
        if now >= self._reset_at:
            # A new window, assumed to be unspent until an answer reports it. Saved credit is not carried over.
            self._remaining = self._limit
            self._reset_at = now + self._length
            self._as_of = now
            self._assumed = True
            self._credit, self._filled_at = 1.0, now
            self._known_since = now
            self._spent = 0
        usable = max(self._usable(share, in_flight, portion), 0)
        spread = min(self._reset_at - now, max(FIRST_SPREAD_SECONDS, SPREAD_GROWTH * (now - self._known_since)))
        self._rate = usable / max(spread, self._length * SHORTEST_SPREAD)
        gained = self._rate * max(now - self._filled_at, 0.0)
        self._credit = min(self._credit + gained, max(usable * SPENT_AT_ONCE, 1.0))
        self._filled_at = now

    def delay(self, now: float, share: float, in_flight: int, last_sent_at: float, portion: float = 1.0) -> float:
        """Return the seconds until the pace or the trickle allows one more request, as far as is known now.

        Call `fill` first, with the same arguments.
        """
        next_at = min(self._reset_at, last_sent_at + self._gap(share, in_flight, portion))
        if self._usable(share, in_flight, portion) >= 1:
            paced_in = 0.0 if self._credit >= WHOLE_TOKEN else (1.0 - self._credit) / self._rate
            next_at = min(next_at, now + paced_in)
        return max(next_at - now, 0.0)

    def sent(self) -> None:
        """Record that a request goes out."""
        self._credit = max(self._credit - 1.0, 0.0)
        self._spent += 1

    def _gap(self, share: float, in_flight: int, portion: float) -> float:
        return trickle_gap(
            remaining=math.floor(portion * self._remaining) - in_flight,
            unspent=math.floor(portion * (self._limit - self._reserve(share))) - self._spent,
            known_for=min(self._reset_at - self._known_since, self._length),
        )

    def _usable(self, share: float, in_flight: int, portion: float) -> int:
        return math.floor(portion * (self._remaining - self._reserve(share))) - in_flight

    def _reserve(self, share: float) -> int:
        return math.floor((1.0 - share) * self._limit + 1e-6)
