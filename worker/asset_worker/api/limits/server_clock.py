"""Estimates the server's clock from the `Date` headers of its answers: resets are often given as instants."""

from __future__ import annotations

from typing import Final

from asset_worker.api.limits.http_date import parse_http_date

DRIFT: Final = 1e-4
"""How far two clocks may drift apart, as a share of the time that passes."""


class ServerClock:
    """An estimate of the server's clock.

    A `Date` is rounded down to whole seconds, and written before the answer is sent, so it is never ahead of the
    server's clock. The latest of many, each advanced by our own clock, is nearly exact.
    """

    def __init__(self) -> None:
        self._ahead: float | None = None
        self._as_of = 0.0

    def read(self, date: str | None, *, now: float, sent_at: float) -> float | None:
        """Return the server's time when an answer with this `Date` arrives, in seconds since the epoch, UTC.

        None: no answer has had a `Date` that can be read. `now`, and `sent_at` of the request, are monotonic seconds.
        """
        if self._ahead is not None:
            self._ahead -= DRIFT * (now - self._as_of)
        self._as_of = now
        if date is not None and (server_now := parse_http_date(date)) is not None:
            ahead = server_now - now
            # A date further behind than rounding and the time on the way explain means that the clock was set back.
            if self._ahead is None or ahead > self._ahead or ahead + 1.0 + (now - sent_at) < self._ahead:
                self._ahead = ahead
        return None if self._ahead is None else now + self._ahead
