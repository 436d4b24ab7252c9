"""The circuit breaker of the whole API: during an outage, or with a refused key, few requests are sent.

    closed ── failures in a row ─────────────────────────▶ open: unavailable ──┐
       │                                                                       ├─ a success ─▶ closed: 2, 4, 8 … at once
       └───── a refused key ──▶ suspected ── a probe too ─▶ open: key refused ─┘

While it is open, one request at a time goes out as a probe, at growing intervals; `probes` decides about which asset.

Some assets may fail alone, and often, while the API works for others. So failures in a row count once for each asset,
until one request succeeds: `FAILURES_TO_OPEN` assets open the breaker. If fewer are pending, so many failures open it
as well, but only if no asset is known that works: none was answered within `WORKS_SECONDS` and has not failed since. In
the same way, the refusal of one asset is no sign of a refused key if others were answered after its last refusal; and
it does not confirm its own suspicion while another asset is known that works.

Nothing here waits or reads a clock: instants are monotonic seconds. A change that is to be logged is returned as a
value.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import Enum
from typing import Final

import msgspec

from asset_worker.api.probes import FRESH_SECONDS, Candidate, Choice, next_probe, too_many
from asset_worker.api.subjects import Subject, Subjects
from asset_worker.runtime.randomness import Uniform

FAILURES_TO_OPEN: Final = 12
"""Failures in a row, over the whole process. If half of all answers failed at random, one run in four thousand would be
this long."""
FAILURES_TO_GIVE_UP: Final = 4
"""An asset that failed so often in a row, while others were answered, is not retried at once: its next look is."""

FIRST_PROBE_SECONDS: Final = 1.0
LONGEST_PROBE_SECONDS: Final = 30.0
"""The interval between probes doubles from the first to the longest."""

KEPT: Final = 2
"""While it is open, so many requests wait for the probes in turn; those that may well succeed are not counted."""

SLOW_ANSWER_SECONDS: Final = 1.0
"""After an outage one more may be in flight each time that none could go out for so long: some assets may never be
answered, and must not hold up the others."""

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
        self._sent_at = -math.inf
        self._period = 0
        self._subjects = Subjects()
        self._failures = 0
        self._failing: set[Subject] = set()
        self._probe_at = -math.inf
        self._probe_seconds = FIRST_PROBE_SECONDS
        self._fresh_at = -math.inf
        self._is_regular = True
        """Whether the latest probe went out in its turn, not besides."""
        self._tried: dict[str, float] = {}
        """When each subject was last tried since the breaker opened, in the order of these instants."""
        self._suspected_by: str | None = None
        self.is_open = False
        """Whether only probes are sent."""
        self.reason: Reason | None = None
        """Why it is open; None: it is closed, or a refused key is only suspected."""
        self.opened_at: float | None = None
        """When it opened, in monotonic seconds; None: it is closed, or a refused key is only suspected."""

    def delay(self, now: float) -> float:
        """Return the seconds until a request may be sent; 0: now. While it is open, a fresh probe may go out sooner.

        Infinite: not before another request has ended, or the key changes.
        """
        if self._in_flight >= self._allowed:
            is_resuming = not self.is_open and self._in_flight < self._concurrency
            return max(self._sent_at + SLOW_ANSWER_SECONDS - now, 0.0) if is_resuming else math.inf
        return max(self._probe_at - now, 0.0) if self.is_open else 0.0

    def next_probe(self, waiting: Sequence[Subject], now: float) -> Choice:
        """Return which of the waiting requests, in the order of their arrival, is the next probe, and when.

        Call it while the breaker is open. Infinite: not before another request has ended, or the key changes.
        """
        if self._in_flight >= self._allowed:
            return Choice(0, math.inf)
        candidates = self._candidates(waiting, now)
        return next_probe(candidates, last=self._last, probe_at=self._probe_at, fresh_at=self._fresh_at)

    def too_many(self, waiting: Sequence[Subject], now: float) -> list[int]:
        """Return the places of the waiting requests that need not wait for a probe. Call it while it is open."""
        kept = min(KEPT, max(self._concurrency - 1, 1))
        stale = [place for place, each in enumerate(waiting) if not self.is_fresh(each)]
        if len(stale) <= kept:
            return []
        candidates = self._candidates([waiting[place] for place in stale], now)
        return [stale[place] for place in too_many(candidates, last=self._last, kept=kept)]

    def is_fresh(self, subject: Subject) -> bool:
        """Return whether a probe about this may well succeed: see `Candidate.is_fresh`."""
        key = subject.key
        return key not in self._tried and not self._subjects.has_failed(key)

    def may_repeat(self, subject: Subject, now: float) -> bool:
        """Return whether a failed request is worth another attempt soon: not what fails alone, and not in an outage."""
        fails_alone = self._subjects.failures(subject.key) >= FAILURES_TO_GIVE_UP and self._subjects.works_for_others(
            now
        )
        return not self.is_open and not fails_alone

    def sent(self, subject: Subject, now: float) -> int:
        """Record that a request goes out, when it may. Return the number of its period."""
        self._in_flight += 1
        self._sent_at = now
        if self.is_open:
            self._is_regular = now >= self._probe_at
            if not self._is_regular:
                self._fresh_at = now + FRESH_SECONDS
            self._tried.pop(subject.key, None)
            self._tried[subject.key] = now
        return self._period

    def succeeded(self, now: float, *, period: int, subject: Subject) -> Change | None:
        """Record that the API answered as it should, even if only that there is no such asset."""
        self._subjects.answered(subject.key, now)
        return self._reached(now, period=period)

    def reached(self, now: float, *, period: int) -> Change | None:
        """Record that the API answered, but did not show whether it accepts the key."""
        if self.reason is not Reason.KEY_REFUSED:
            return self._reached(now, period=period)
        self.lost(period=period)
        return None

    def failed(self, now: float, *, period: int, subject: Subject) -> Change | None:
        """Record that no answer came, or only that of a failing server or gateway."""
        is_late = self._ended(period)
        is_new = self._subjects.failed(subject.key) == 1
        self._failures += 1
        self._failing.add(subject)
        if not self.is_open:
            if is_new and self._allowed < self._concurrency:
                self._allowed = max(self._allowed // 2, 1)
            return self._open(now, Reason.UNAVAILABLE, subject) if self._is_outage(now) else None
        if not is_late and self.reason is None:
            # Whether the key is refused is still not known: the next refusal makes it suspected again.
            return self._close(now)
        if not is_late:
            self._probe_later(now)
        return None

    def refused(self, now: float, *, period: int, subject: Subject) -> Change | None:
        """Record that the key was refused. One refusal stops all requests but a probe, which confirms or refutes it."""
        is_late = self._ended(period)
        is_alone = self._subjects.refused(subject.key, now)
        if not is_alone:
            self._forgive()
        if not self.is_open:
            if not is_alone:
                self._suspected_by = subject.key
                self._hold(probe_at=now, last=subject)
            return None
        if is_late:
            return None
        confirms = subject.key != self._suspected_by or not self._subjects.works_for_others(now)
        if self.reason is not Reason.KEY_REFUSED and not is_alone and confirms:
            return self._open(now, Reason.KEY_REFUSED, subject)
        self._probe_later(now)
        return None

    def lost(self, *, period: int) -> None:
        """Record that a request ended in a way that says nothing about the API or the key."""
        self._ended(period)

    def key_changed(self, now: float) -> None:
        """Record that another key is in use: a probe is due at once, and answers to the old key don't count."""
        self._subjects.forget_refusals()
        if self.is_open and self.reason is not Reason.UNAVAILABLE:
            self._hold(probe_at=now, last=None)

    @property
    def _last(self) -> str | None:
        return next(reversed(self._tried), None)

    def _candidates(self, waiting: Sequence[Subject], now: float) -> list[Candidate]:
        keys = [each.key for each in waiting]
        return [Candidate(key, self._subjects.of(key, now), self._tried.get(key)) for key in keys]

    def _is_outage(self, now: float) -> bool:
        if len(self._failing) >= FAILURES_TO_OPEN:
            return True
        return self._failures >= FAILURES_TO_OPEN and not self._subjects.works_for_others(now)

    def _forgive(self) -> None:
        self._failures = 0
        self._failing.clear()

    def _reached(self, now: float, *, period: int) -> Change | None:
        is_late = self._ended(period)
        self._forgive()
        if not self.is_open:
            # One more for each success: when all in flight have succeeded, twice as many are allowed.
            self._allowed = min(self._allowed + 1, self._concurrency)
            return None
        # Any answer, even a late one, shows that the API is there. But a late one may have been to the old key.
        return None if is_late and self.reason is not Reason.UNAVAILABLE else self._close(now)

    def _ended(self, period: int) -> bool:
        """Record that a request has ended. Return whether it belongs to an earlier period."""
        is_late = period != self._period
        self._in_flight -= not is_late
        return is_late

    def _hold(self, *, probe_at: float, last: Subject | None) -> None:
        self.is_open = True
        self._period += 1
        self._in_flight = 0
        self._allowed = 1
        self._probe_seconds = FIRST_PROBE_SECONDS
        self._probe_at = probe_at
        self._fresh_at = probe_at + FRESH_SECONDS
        self._is_regular = True
        self._tried = {} if last is None else {last.key: probe_at}

    def _open(self, now: float, reason: Reason, last: Subject) -> Opened:
        self._hold(probe_at=now, last=last)
        self._probe_later(now)
        self.reason = reason
        if self.opened_at is None:
            self.opened_at = now
        return Opened(reason)

    def _probe_later(self, now: float) -> None:
        if not self._is_regular:
            return  # the next one in turn is still due when it was
        self._probe_at = now + self._probe_seconds * (1 + PROBE_JITTER * (2 * self._uniform() - 1))
        self._probe_seconds = min(self._probe_seconds * 2, LONGEST_PROBE_SECONDS)

    def _close(self, now: float) -> Closed | None:
        opened_at, self.opened_at, self.reason, self.is_open = self.opened_at, None, None, False
        if opened_at is None:
            self._allowed = self._concurrency
            return None
        self._allowed = min(2, self._concurrency)
        return Closed(now - opened_at)
