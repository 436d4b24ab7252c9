"""The circuit breaker of the whole API: during an outage, or with a refused key, few requests are sent.

    closed ── failures in a row ─────────────────────────▶ open: unavailable ──┐
       │                                                                       ├─ a success ─▶ closed: 2, 4, 8 … at once
       └───── a refused key ──▶ suspected ── a probe too ─▶ open: key refused ─┘

While it is open, one request at a time goes out as a probe, at growing intervals. Nothing here waits or reads a clock:
instants are monotonic seconds. A change that is to be logged is returned as a value.
"""

from __future__ import annotations

import math
from enum import Enum
from typing import Final

import msgspec

from asset_worker.runtime.randomness import Uniform

FAILURES_TO_OPEN: Final = 12
"""Failures in a row, over the whole process. If half of all answers failed at random, one run in four thousand would be
this long."""

FIRST_PROBE_SECONDS: Final = 1.0
LONGEST_PROBE_SECONDS: Final = 30.0
"""The interval between probes doubles from the first to the longest."""

PROBE_JITTER: Final = 0.25
"""The interval varies at random by up to this share in both directions, so that many workers don't probe in step."""


class Reason(Enum):
    """Why no requests go out."""

    UNAVAILABLE = "unavailable"
    KEY_REFUSED = "key_refused"


class Opened(msgspec.Struct, frozen=True):
    """Requests stop, except probes."""

    reason: Reason


class Closed(msgspec.Struct, frozen=True):
    """Requests resume after the breaker was open for `seconds`."""

    seconds: float


Change = Opened | Closed


class Breaker:
    """Decides, from the results of requests, whether more may be sent.

    A request belongs to the period in which it was sent: `sent` returns the period's number, and the caller passes it
    back with the result. A new period begins each time requests stop, so that a late answer isn't mistaken for a
    probe's. The methods that report a result return the change that it causes; None: there is none to log.
    """

    def __init__(self, *, concurrency: int, uniform: Uniform) -> None:
        """`concurrency` is the largest number of requests at once; `uniform` provides the jitter of probes."""
        self._concurrency = concurrency
        self._uniform = uniform
        self._allowed = concurrency
        self._in_flight = 0
        self._period = 0
        self._failures = 0
        self._is_open = False
        self._probe_at = -math.inf
        self._probe_seconds = FIRST_PROBE_SECONDS
        self.reason: Reason | None = None
        """Why it is open; None: it is closed, or a refused key is only suspected."""
        self.opened_at: float | None = None
        """When it opened, in monotonic seconds; None: it is closed, or a refused key is only suspected."""

    def delay(self, now: float) -> float:
        """Return the seconds until a request may be sent; 0: now.

        Infinite: not before another request has ended, or the key changes.
        """
        if self._in_flight >= self._allowed:
            return math.inf
        return max(self._probe_at - now, 0.0) if self._is_open else 0.0

    def sent(self) -> int:
        """Record that a request goes out, after `delay` returned 0. Return the number of its period."""
        self._in_flight += 1
        return self._period

    def succeeded(self, now: float, *, period: int) -> Change | None:
        """Record that the API answered as it should, even if only that there is no such asset."""
        is_late = self._ended(period)
        self._failures = 0
        if not self._is_open:
            # One more for each success: when all in flight have succeeded, twice as many are allowed.
            self._allowed = min(self._allowed + 1, self._concurrency)
            return None
        # Any answer, even a late one, shows that the API is there. But a late one may have been to the old key.
        return None if is_late and self.reason is not Reason.UNAVAILABLE else self._close(now)

    def reached(self, now: float, *, period: int) -> Change | None:
        """Record that the API answered, but did not show whether it accepts the key."""
        if self.reason is not Reason.KEY_REFUSED:
            return self.succeeded(now, period=period)
        self.lost(period=period)
        return None

    def failed(self, now: float, *, period: int) -> Change | None:
        """Record that no answer came, or only that of a failing server or gateway."""
        is_late = self._ended(period)
        self._failures += 1
        if not self._is_open:
            if self._allowed < self._concurrency:
                self._allowed = max(self._allowed // 2, 1)
            return self._open(now, Reason.UNAVAILABLE) if self._failures >= FAILURES_TO_OPEN else None
        if not is_late and self.reason is None:
            # Whether the key is refused is still not known: the next refusal makes it suspected again.
            return self._close(now)
        if not is_late:
            self._probe_later(now)
        return None

    def refused(self, now: float, *, period: int) -> Change | None:
        """Record that the key was refused. One refusal stops all requests but a probe, which confirms or refutes it."""
        is_late = self._ended(period)
        self._failures = 0
        if not self._is_open:
            self._hold(probe_at=now)
        elif not is_late and self.reason is not Reason.KEY_REFUSED:
            return self._open(now, Reason.KEY_REFUSED)
        elif not is_late:
            self._probe_later(now)
        return None

    def lost(self, *, period: int) -> None:
        """Record that a request ended in a way that says nothing about the API or the key."""
        self._ended(period)

    def key_changed(self, now: float) -> None:
        """Record that another key is in use: a probe is due at once, and answers to the old key don't count."""
        if self._is_open and self.reason is not Reason.UNAVAILABLE:
            self._hold(probe_at=now)

    def _ended(self, period: int) -> bool:
        """Record that a request has ended. Return whether it belongs to an earlier period."""
        is_late = period != self._period
        self._in_flight -= not is_late
        return is_late

    def _hold(self, *, probe_at: float) -> None:
        self._is_open = True
        self._period += 1
        self._in_flight = 0
        self._allowed = 1
        self._probe_seconds = FIRST_PROBE_SECONDS
        self._probe_at = probe_at

    def _open(self, now: float, reason: Reason) -> Opened:
        self._hold(probe_at=now)
        self._probe_later(now)
        self.reason = reason
        if self.opened_at is None:
            self.opened_at = now
        return Opened(reason)

    def _probe_later(self, now: float) -> None:
        self._probe_at = now + self._probe_seconds * (1 + PROBE_JITTER * (2 * self._uniform() - 1))
        self._probe_seconds = min(self._probe_seconds * 2, LONGEST_PROBE_SECONDS)

    def _close(self, now: float) -> Closed | None:
        opened_at, self.opened_at, self.reason, self._is_open = self.opened_at, None, None, False
        if opened_at is None:
            self._allowed = self._concurrency
            return None
        self._allowed = min(2, self._concurrency)
        return Closed(now - opened_at)
