"""When the next request may go out: our own rate, what the server tells, and what is learned where it tells nothing.

One bucket of tokens gives the pace; what fills it is the least of three rates:

- our own, `limits.requests_per_second`;
- of each told quota: what remains of it, less the reserve for the organisation's other callers, spread evenly over the
  time to its reset. When others spend it, less remains, and the pace falls by itself;
- the learned rate, once a refusal came that no told quota explains.

Beside the pace there are two gates. A request that a told quota might not cover is never sent: what remained was told
before the requests in flight went out, so each of them counts as not yet subtracted. And a refusal (429) pauses the
whole process; after the pause one request goes alone, and with each that is accepted one more may be in flight.

Time comes in as monotonic seconds. Nothing here waits: a caller asks `delay`, and again after that delay or after any
answer, whichever is first, so a pause that begins meanwhile is always seen.
"""

from __future__ import annotations

import math
from typing import Final

import msgspec

from worker.api.learned import LearnedRate
from worker.api.told import Told, ToldQuota

BURST_SECONDS: Final = 1.0
LARGEST_BURST: Final = 10.0
"""Requests that were not sent lately may be caught up on at once: a second's worth, and ten at most."""

SHORTEST_SPREAD: Final = 0.05
"""What remains is spread over a twentieth of the window at least: the end of a window is no reason to race."""

TRICKLE_SECONDS: Final = 60.0
"""Where others left us nothing but the reserve, one request in this time is still sent, so that nothing starves."""

ROUNDING_SECONDS: Final = 1.5
"""The same reset, told in whole seconds by answers of different age, differs by up to this."""

FIRST_BACKOFF_SECONDS: Final = 0.25
LONGEST_BACKOFF_SECONDS: Final = 60.0
BACKOFF_GROWTH: Final = 1.5
"""The pause after refusals in a row grows from the first to the longest, where no longer one is told."""

FULLY_RELEASED: Final = 100.0
"""After a pause the requests in flight may grow to this many; beyond, they are not counted any more."""

_WHOLE: Final = 1.0 - 1e-9
"""A token, less what is lost in adding up its fractions."""


class Pause(msgspec.Struct, frozen=True):
    """No request goes out for `seconds`; `told`: because the server said so long, else by our own backoff."""

    seconds: float
    told: bool


class LimitsSnapshot(msgspec.Struct, frozen=True):
    """For people and metrics."""

    rate: float | None
    """Requests per second allowed just now; None: as many as there are."""
    blocked_until: float | None
    """Nothing goes out before this instant (monotonic seconds); None: the pace alone decides."""
    remaining: int | None
    """The least that a told quota has left; None: none is told."""


class _Quota:
    """A told quota, as known from its last answers."""

    __slots__ = ("_as_of", "_assumed", "_length", "limit", "remaining", "reset_at")

    def __init__(self, now: float, told: ToldQuota) -> None:
        self._as_of = -math.inf
        self._assumed = True
        self._length = 0.0
        self.limit = told.limit
        self.remaining = told.remaining
        self.reset_at = now + told.reset_in
        self.tell(now, now, told)

    def tell(self, now: float, sent_at: float, told: ToldQuota) -> None:
        """An answer came, to a request sent at `sent_at`.

        Answers overtake one another. One that was sent before our knowledge came in can only lower what remains.
        """
        reset_at = now + told.reset_in
        if sent_at < self._as_of:
            is_of_this_window = reset_at > self._as_of + max(self._length / 2, ROUNDING_SECONDS)
            if is_of_this_window or not self._assumed:
                self.remaining = min(self.remaining, told.remaining)
            return
        if not self._assumed and told.remaining < self.remaining and reset_at < self.reset_at + ROUNDING_SECONDS:
            # Still the same window, whose reset was told in whole seconds, rounded up: the earliest is the nearest.
            reset_at = min(reset_at, self.reset_at)
        known_length = self._length if told.limit == self.limit else 0.0
        self._length = max(told.window, told.reset_in, known_length)
        self.limit = told.limit
        self.remaining = told.remaining
        self.reset_at = reset_at
        self._as_of = now
        self._assumed = False

    def has_reset(self, now: float) -> bool:
        """Whether a new window has begun, which is then assumed to be whole until an answer tells."""
        if now < self.reset_at:
            return False
        self.remaining = self.limit
        self._as_of = now
        self._assumed = True
        self.reset_at = now + self._length
        return True

    def is_gone(self, sent_at: float) -> bool:
        """Whether an answer that tells of no quota, to a request sent at `sent_at`, is the end of this one."""
        return self._assumed and sent_at >= self._as_of

    def usable(self, share: float, in_flight: int) -> int:
        reserve = math.floor((1.0 - share) * self.limit + 1e-6)
        return self.remaining - reserve - in_flight

    def rate(self, now: float, usable: int) -> float:
        return usable / max(self.reset_at - now, self._length * SHORTEST_SPREAD)

    def blocked_until(self, share: float, in_flight: int, last_sent_at: float) -> float:
        """When one more request is covered, as far as is known now."""
        if self.usable(share, in_flight) >= 1:
            return -math.inf
        if self.remaining > in_flight:
            return min(self.reset_at, last_sent_at + TRICKLE_SECONDS)
        return self.reset_at


class Limits:
    """The request limits of the process. Every instant is in monotonic seconds and never goes back."""

    def __init__(self, *, requests_per_second: float, share: float) -> None:
        """`requests_per_second` 0: no rate of our own. `share` (0 to 1) is how much of a told quota is ours."""
        self._own_rate = requests_per_second or math.inf
        self._share = share
        self._quotas: dict[str, _Quota] = {}
        self._learned = LearnedRate()
        self._tokens = LARGEST_BURST
        self._filled_at = -math.inf
        self._last_sent_at = -math.inf
        self._in_flight = 0
        # The first request goes alone, as after a pause: its answer tells the quota.
        self._allowed_in_flight = 1.0
        self._in_flight_since_pause = 0
        self._paused_at = -math.inf
        self._paused_until = -math.inf
        self._refusals_in_a_row = 0
        self._is_explained = True

    def delay(self, now: float) -> float:
        """Seconds until the next request may be sent; 0: now.

        Infinite: only an answer can tell. Ask again after it, or when any request has been answered or lost.
        """
        if now < self._paused_until:
            return self._paused_until - now
        if self._in_flight_since_pause >= self._allowed_in_flight:
            return math.inf
        rate = self._fill(now)
        if (blocked_until := self._blocked_until()) > now:
            return blocked_until - now
        if self._tokens >= _WHOLE:
            return 0.0
        delay = (1.0 - self._tokens) / rate
        for quota in self._quotas.values():
            delay = min(delay, quota.reset_at - now)
        return delay

    def sent(self, now: float) -> None:
        """A request goes out, `delay` having been 0."""
        self._learned.sent(now, idle_since=max(self._last_sent_at, self._paused_until))
        self._tokens = max(self._tokens - 1.0, 0.0)
        self._last_sent_at = now
        self._in_flight += 1
        self._in_flight_since_pause += 1

    def lost(self, *, sent_at: float) -> None:
        """A request that was sent at `sent_at` ended without an answer."""
        self._in_flight -= 1
        if sent_at > self._paused_at:
            self._in_flight_since_pause -= 1

    def answered(self, now: float, *, sent_at: float, status: int, told: Told) -> Pause | None:
        """An answer came to a request sent at `sent_at`. Returns the pause that it begins."""
        self.lost(sent_at=sent_at)
        self._note(now, sent_at, status, told)
        if status == 429:
            return self._refused(now, sent_at, told)
        self._learned.accepted()
        if self._allowed_in_flight < math.inf and sent_at > self._paused_at:
            self._release(now)
        return None

    def snapshot(self, now: float) -> LimitsSnapshot:
        rate = self._fill(now)
        blocked_until = max(self._paused_until, self._blocked_until())
        is_blocked = blocked_until > now
        return LimitsSnapshot(
            rate=0.0 if is_blocked else None if rate == math.inf else rate,
            blocked_until=blocked_until if is_blocked else None,
            remaining=min((quota.remaining for quota in self._quotas.values()), default=None),
        )

    def _fill(self, now: float) -> float:
        """Bring the bucket up to `now`; returns the rate that fills it."""
        rate, burst = min(self._own_rate, self._learned.rate), LARGEST_BURST
        for quota in self._quotas.values():
            if quota.has_reset(now):
                # What was saved up before a reset is no claim on the new window.
                burst = 1.0
            if (usable := quota.usable(self._share, self._in_flight)) >= 1:
                rate = min(rate, quota.rate(now, usable))
            else:
                # It blocks, and when it no longer does, one request shall go at once.
                burst = 1.0
        burst = max(1.0, min(rate * BURST_SECONDS, burst))
        since = max(now - self._filled_at, 0.0)
        gained = burst if math.inf in {rate, since} else rate * since
        self._tokens = min(self._tokens + gained, burst)
        self._filled_at = max(now, self._filled_at)
        return rate

    def _blocked_until(self) -> float:
        """When every told quota covers one more request; in the past: now."""
        until = -math.inf
        for quota in self._quotas.values():
            until = max(until, quota.blocked_until(self._share, self._in_flight, self._last_sent_at))
        return until

    def _note(self, now: float, sent_at: float, status: int, told: Told) -> None:
        for quota in told.quotas:
            if (known := self._quotas.get(quota.name)) is None:
                self._quotas[quota.name] = _Quota(now, quota)
            else:
                known.tell(now, sent_at, quota)
        if self._quotas and not told.quotas and status < 500 and status != 429:
            self._quotas = {name: quota for name, quota in self._quotas.items() if not quota.is_gone(sent_at)}

    def _refused(self, now: float, sent_at: float, told: Told) -> Pause | None:
        told_wait = told.wait or 0.0
        if sent_at <= self._paused_at:
            # Sent before the pause began: the same event, refused again.
            self._paused_until = max(self._paused_until, now + told_wait)
            return None
        if not self._refusals_in_a_row:
            self._is_explained = any(quota.remaining == 0 for quota in told.quotas)
            self._learned.refused(self._own_rate)
        growth = BACKOFF_GROWTH ** min(self._refusals_in_a_row, 30)
        backoff = min(FIRST_BACKOFF_SECONDS * growth, LONGEST_BACKOFF_SECONDS)
        seconds = max(told_wait, backoff)
        self._refusals_in_a_row += 1
        self._allowed_in_flight = 1.0
        self._in_flight_since_pause = 0
        self._paused_at = now
        self._paused_until = now + seconds
        self._tokens = 1.0
        self._filled_at = self._paused_until
        return Pause(seconds, told=told_wait >= backoff)

    def _release(self, now: float) -> None:
        """A request was accepted after the pause: the next ones follow, not all at once."""
        if self._refusals_in_a_row:
            self._learned.recovered(now, learn=not self._is_explained)
        self._refusals_in_a_row = 0
        self._allowed_in_flight += 1.0
        if self._allowed_in_flight > FULLY_RELEASED:
            self._allowed_in_flight = math.inf
