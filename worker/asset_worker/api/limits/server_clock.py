"""The server's clock, estimated from the `Date` headers of its answers: resets are often given as instants."""

from __future__ import annotations

from typing import Final

from asset_worker.api.limits.http_date import parse_http_date

DRIFT: Final = 1e-4
"""The most that two clocks drift apart, as a part of the time that passes."""


class ServerClock:
    """An estimate of the server's clock.

    A `Date` is cut to whole seconds and was written before the answer travelled, so it is never ahead of the server's
    clock: the latest of many, each carried on by our own clock, is nearly exact.
    """

    def __init__(self) -> None:
        self._ahead: float | None = None
        self._as_of = 0.0

    def read(self, date: str | None, *, now: float, sent_at: float) -> float | None:
        """The server's time when an answer with this `Date` arrives at `now`, in seconds since the epoch.

        None: no answer has had a `Date` that can be read. `now`, and `sent_at` of the request, are monotonic seconds.
        """
        if self._ahead is not None:
            self._ahead -= DRIFT * (now - self._as_of)
        self._as_of = now
        if date is not None and (server_now := parse_http_date(date)) is not None:
            ahead = server_now - now
            # Behind by more than the cut and the way can explain, the clock has been set back.
            if self._ahead is None or ahead > self._ahead or ahead + 1.0 + (now - sent_at) < self._ahead:
                self._ahead = ahead
        return None if self._ahead is None else now + self._ahead
