"""Estimates the server's clock from the `Date` headers of its answers: resets are often given as instants.

Answers may come through several machines, and a `Date` from one whose clock is wrong. So no single `Date` counts, and
no age or deadline depends on any of them: they only show how instants in other headers are meant.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from statistics import median_low
from typing import Final

from asset_worker.api.limits.rate_limit_headers import RateLimitReport, parse_rate_limits
from asset_worker.runtime.http_fields import parse_http_date

DRIFT: Final = 1e-4
"""How far two clocks may drift apart, as a share of the time that passes."""
LATEST: Final = 25
"""The clock is the one that most of so many latest dates show."""
ENOUGH: Final = 5
"""Dates after which it is known whether our own clock is wrong."""
FAR_SECONDS: Final = 120.0
"""Dates further apart are from different clocks: answers take less time, and usual clocks differ less."""
NEAR_SECONDS: Final = 900.0
"""A quota is probably renewed within this time."""
SKEW_SECONDS: Final = 300.0
"""If our own wall clock differs by more, people should know."""


class ServerClock:
    """An estimate of the server's clock.

    A `Date` is rounded down to whole seconds, and written before the answer is sent, so it is never ahead of the
    server's clock. The latest of many, each advanced by our own clock, is nearly exact.
    """

    def __init__(self) -> None:
        self._ahead: float | None = None
        """The server's clock minus steady time."""
        self._as_of = 0.0
        self._latest: deque[float] = deque(maxlen=LATEST)
        """The same by the latest dates alone."""
        self._is_skewed = False

    def read(self, date: str | None, *, now: float, own: float, took: float) -> tuple[float, ...]:
        """Return what the clocks show, one of which made an answer with this `Date` that arrives now.

        The first is the likeliest. The others differ much from it: the clock of this answer's `Date`, if that can be
        read, and our own. All are in seconds since the epoch, UTC.

        Args:
            date: the header; None: the answer has none.
            now: steady time.
            own: our own wall clock, in seconds since the epoch, UTC.
            took: seconds since the request was sent.
        """
        if self._ahead is not None:
            self._ahead -= DRIFT * (now - self._as_of)
        self._as_of = now
        shown = None if date is None else parse_http_date(date)
        if shown is not None:
            self._note(shown - now, took)
        likeliest = own if self._ahead is None else now + self._ahead
        others = (clock for clock in (shown, own) if clock is not None and abs(clock - likeliest) > FAR_SECONDS)
        return (likeliest, *others)

    def newly_skewed(self, *, now: float, own: float) -> float | None:
        """Return by how many seconds our own wall clock is ahead of the server's; None: that is not news.

        It is news once each time when the difference becomes larger than `SKEW_SECONDS`. The arguments are those of
        `read`.
        """
        if self._ahead is None or len(self._latest) < ENOUGH:
            return None
        skew = own - (now + self._ahead)
        was_skewed = self._is_skewed
        self._is_skewed = abs(skew) > (SKEW_SECONDS / 2 if was_skewed else SKEW_SECONDS)
        return skew if self._is_skewed and not was_skewed else None

    def _note(self, ahead: float, took: float) -> None:
        self._latest.append(ahead)
        usual = median_low(self._latest)
        if self._ahead is None or abs(self._ahead - usual) > FAR_SECONDS:
            self._ahead = max(each for each in self._latest if abs(each - usual) <= FAR_SECONDS)
        elif abs(ahead - usual) <= FAR_SECONDS:
            # A date further behind than rounding and the time on the way explain means that the clock was set back.
            is_set_back = ahead + 1.0 + took < self._ahead
            self._ahead = ahead if ahead > self._ahead or is_set_back else self._ahead


def parse_by_clocks(headers: Mapping[str, str], clocks: Sequence[float]) -> RateLimitReport:
    """Return what `headers` report, by the clock that was probably used for the instants in them.

    `clocks` are what `ServerClock.read` returned. If they differ, that one counts by which the next instant is at most
    `NEAR_SECONDS` ahead; else one by which all have passed: a quota is renewed within minutes, and a wrong clock is
    wrong by hours. At worst a request is sent too early, and its refusal corrects the mistake. The opposite mistake
    would stop all work for hours.
    """
    reports = [parse_rate_limits(headers, server_now=clock) for clock in clocks]
    if len(reports) == 1:
        return reports[0]
    waits = [_waits(report) for report in reports]
    same = set.intersection(*(set(each) for each in waits))  # delays, which depend on no clock
    ranks = [_rank(each - same) for each in waits]
    return reports[ranks.index(min(ranks))]


def _waits(report: RateLimitReport) -> set[tuple[str | None, float]]:
    waits: set[tuple[str | None, float]] = {(quota.name, quota.reset_in) for quota in report.quotas}
    return waits | {(None, report.retry_after)} if report.retry_after else waits


def _rank(waits: set[tuple[str | None, float]]) -> tuple[int, float]:
    """Return how unlikely these waits are, by the next of them."""
    if not waits:
        return 1, 0.0
    soonest = min(wait for _, wait in waits)
    return (0 if soonest <= NEAR_SECONDS else 2), soonest
