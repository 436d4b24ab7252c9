"""The circuit breaker of the whole API: few requests are sent during an outage or with a refused key.

    closed ── failures in a row ─────────────────────────▶ open: unavailable ──┐
       │                                                                       ├─ a success ─▶ closed: 2, 4, 8 … at once
       └───── a refused key ──▶ suspected ── a probe too ─▶ open: key refused ─┘

While it is open one request at a time goes out as a probe, at growing intervals. Nothing here waits or reads a clock:
instants are monotonic seconds. A change that people should know of is returned as a value.
"""

from __future__ import annotations

import math
from enum import Enum
from typing import Final

import msgspec

from asset_worker.runtime.randomness import Uniform

FAILURES_TO_OPEN: Final = 12
"""In a row, over the whole process: where half of all answers fail at random, this is one run in four thousand."""

FIRST_PROBE_SECONDS: Final = 1.0
LONGEST_PROBE_SECONDS: Final = 30.0
"""The interval between probes doubles from the first to the longest."""

PROBE_JITTER: Final = 0.25
"""The interval is varied by up to this part of it in both directions, so that many workers don't probe in step."""


class Reason(Enum):
    """Why no requests go out."""

    UNAVAILABLE = "unavailable"
    KEY_REFUSED = "key_refused"


class Opened(msgspec.Struct, frozen=True):
    """Requests stop, except for probes."""

    reason: Reason


class Closed(msgspec.Struct, frozen=True):
    """Requests go on after the breaker was open for `seconds`."""

    seconds: float


Change = Opened | Closed


class Breaker:
    """Decides from what became of requests whether more may be sent.

    A request belongs to the period in which it was sent: `sent` returns its number, and the caller hands it in with the
    verdict. A new period begins each time that requests stop, so that a late answer isn't taken for that of a probe.
    """

    def __init__(self, *, concurrency: int, uniform: Uniform) -> None:
        """`concurrency` is the most requests at once; `uniform` gives jitter."""
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
        """Since when it has been open, in monotonic seconds; None: it is closed."""

    def delay(self, now: float) -> float:
        """Seconds until a request may be sent; 0: now; infinite: not before another has ended or the key changes."""
        if self._in_flight >= self._allowed:
            return math.inf
        return max(self._probe_at - now, 0.0) if self._is_open else 0.0

    def sent(self) -> int:
        """A request goes out, `delay` having been 0. Returns the number of its period."""
        self._in_flight += 1
        return self._period

    def succeeded(self, now: float, *, period: int) -> Change | None:
        """The API answered as it should, even if only that there is no such asset."""
        is_late = self._ended(period)
        self._failures = 0
        if not self._is_open:
            # One more for each success: with all in flight answered, twice as many.
            self._allowed = min(self._allowed + 1, self._concurrency)
            return None
        # Late or not, any answer shows that the API is there; but one to the old key says nothing about the new one.
        return None if is_late and self.reason is not Reason.UNAVAILABLE else self._close(now)

    def reached(self, now: float, *, period: int) -> Change | None:
        """The API answered, but did not say whether it accepts the key."""
        if self.reason is not Reason.KEY_REFUSED:
            return self.succeeded(now, period=period)
        self.lost(period=period)
        return None

    def failed(self, now: float, *, period: int) -> Change | None:
        """No answer came, or one of a failing server or gateway."""
        is_late = self._ended(period)
        self._failures += 1
        if not self._is_open:
            if self._allowed < self._concurrency:
                self._allowed = max(self._allowed // 2, 1)
            return self._open(now, Reason.UNAVAILABLE) if self._failures >= FAILURES_TO_OPEN else None
        if not is_late and self.reason is None:
            # The suspicion is neither confirmed nor refuted: the next refusal raises it again.
            return self._close(now)
        if not is_late:
            self._probe_later(now)
        return None

    def refused(self, now: float, *, period: int) -> Change | None:
        """The key was refused. One refusal stops all requests but a probe, and a refused probe confirms it."""
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
        """A request ended in a way that says nothing about the API or the key."""
        self._ended(period)

    def key_changed(self, now: float) -> None:
        """Another key is in use: a probe is due at once, and answers to the old key don't count."""
        if self._is_open and self.reason is not Reason.UNAVAILABLE:
            self._hold(probe_at=now)

    def _ended(self, period: int) -> bool:
        """A request has ended. Returns whether it was of an earlier period."""
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
