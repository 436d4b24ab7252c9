"""When the next request may go out: our own rate, what the server tells, and what is learned where it tells nothing.

The pace is given by buckets of tokens, of which each request takes one from each:

- one is filled at our own rate, `limits.requests_per_second`, or at the learned one, once a refusal came that no told
  quota explains;
- one for each told quota: what remains of it, less the reserve for the organisation's other callers, is spread over the
  time to its reset. When others spend it, less remains, and the pace falls by itself. The bucket holds a part of what
  remains, so little work is done at once, and much of it without a blackout at the end of the window.

Others may leave us little more than the reserve, or less. Then a trickle of requests goes on, the slower the less is
left: it takes no more than our share, and never uses the reserve up. The sooner of pace and trickle counts. So the more
remains, the sooner the next request goes out, on either side of the reserve.

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

from asset_worker.api.limits.adaptive_rate import AdaptiveRate
from asset_worker.api.limits.rate_limit_headers import MOST_QUOTAS, ReportedQuota, Told

BURST_SECONDS: Final = 0.2
LARGEST_BURST: Final = 10.0
"""Requests that were not sent lately may be caught up on at once: a fifth of a second's worth, and ten at most. Enough
for timers that fire late, and little beside what a second may see."""

SPENT_AT_ONCE: Final = 0.25
"""This part of what a told quota has left for us may be spent at once, at the start of its window or after a lull."""

FIRST_SPREAD_SECONDS: Final = 3_600.0
SPREAD_GROWTH: Final = 3.0
"""The rest is spread over the time to the reset, or over an hour if that is less; later over three times as long as the
window is known already. So a day's quota is there when it is needed, and enough of it is left in the evening."""

SHORTEST_SPREAD: Final = 0.05
"""What remains is spread over a twentieth of the window at least: the end of a window is no reason to race."""

TRICKLE_SHARE: Final = 0.5
"""Until the reset the trickle would take half of what is left, if that stayed the same. It falls with each request, and
the trickle with it, so that three fifths are there in the end: 1 / sqrt(e)."""

SHORTEST_GAP_SECONDS: Final = 60.0
"""One request in this time is trickle enough that nothing starves, and in a short window the reset is soon there."""

LONGEST_GAP_SECONDS: Final = 7_200.0
"""However little is left, and where nothing is, one request asks again after this time: a wrong value can't stop the
worker for good. Longer than an hour's window, and an asset is still seen within the default `poll.deadline`."""

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


def trickle_gap(*, remaining: int, unspent: int, known_for: float) -> float:
    """Seconds from one request to the next where the pace allows none sooner; they fall with what remains.

    `remaining` of the quota is left, requests in flight subtracted; `unspent` is what we have not had yet of our own
    share; `known_for` is the time from when the window was known to its reset, in seconds.
    """
    # Not spread over the time that is left: what remains is looked at anew after each request, and half of it each time
    # would soon be all of it.
    left = min(TRICKLE_SHARE * remaining, unspent)
    gap = known_for / left if left > 0 else math.inf
    return min(max(gap, SHORTEST_GAP_SECONDS), LONGEST_GAP_SECONDS)


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
    """A told quota, as known from its last answers, and the pace at which it is spent."""

    __slots__ = (
        "_as_of",
        "_assumed",
        "_credit",
        "_filled_at",
        "_is_rounded_down",
        "_known_since",
        "_length",
        "_rate",
        "_spent",
        "limit",
        "remaining",
        "reset_at",
    )

    def __init__(self, now: float, told: ReportedQuota) -> None:
        self._as_of = -math.inf
        self._assumed = True
        self._credit = math.inf
        self._filled_at = now
        self._is_rounded_down = False
        self._known_since = now
        self._length = 0.0
        self._rate = math.inf
        self._spent = 0
        self.limit = told.limit
        self.remaining = told.remaining
        self.reset_at = now + told.reset_in
        self.tell(now, now, told)

    def tell(self, now: float, sent_at: float, told: ReportedQuota) -> None:
        """An answer came, to a request sent at `sent_at`.

        Answers overtake one another. One that was sent before our knowledge came in can only lower what remains.
        """
        is_cut = self._is_rounded_down and not told.is_rounded_down
        self._is_rounded_down |= told.is_rounded_down
        reset_in = told.reset_in + is_cut
        reset_at = now + reset_in
        if sent_at < self._as_of:
            is_of_this_window = reset_at > self._as_of + max(self._length / 2, ROUNDING_SECONDS)
            if is_of_this_window or not self._assumed:
                self.remaining = min(self.remaining, told.remaining)
            return
        known_length = self._length if told.limit == self.limit else 0.0
        if self._assumed:
            # The first word of a new window: a part of it may be spent at once.
            self._credit = math.inf
        elif reset_at < self.reset_at - ROUNDING_SECONDS:
            # An end that turns out to be nearer was never true, nor the length that was taken from it.
            known_length = 0.0
        elif told.remaining < self.remaining and reset_at < self.reset_at + ROUNDING_SECONDS:
            # Still the same window, whose reset was told in whole seconds, rounded up: the earliest is the nearest.
            reset_at = min(reset_at, self.reset_at)
        self._length = max(told.window, reset_in, known_length)
        self.limit = told.limit
        self.remaining = told.remaining
        self.reset_at = reset_at
        self._as_of = now
        self._assumed = False

    def is_gone(self, sent_at: float) -> bool:
        """Whether an answer that tells of no quota, to a request sent at `sent_at`, is the end of this one."""
        return self._assumed and sent_at >= self._as_of

    def fill(self, now: float, share: float, in_flight: int) -> float:
        """Bring the credit up to `now`; returns the rate that fills it, requests per second."""
        if now >= self.reset_at:
            # A new window, assumed to be whole until an answer tells. What was saved up is no claim on it.
            self.remaining = self.limit
            self.reset_at = now + self._length
            self._as_of = now
            self._assumed = True
            self._credit, self._filled_at = 1.0, now
            self._known_since = now
            self._spent = 0
        usable = max(self._usable(share, in_flight), 0)
        spread = min(self.reset_at - now, max(FIRST_SPREAD_SECONDS, SPREAD_GROWTH * (now - self._known_since)))
        self._rate = usable / max(spread, self._length * SHORTEST_SPREAD)
        gained = self._rate * max(now - self._filled_at, 0.0)
        self._credit = min(self._credit + gained, max(usable * SPENT_AT_ONCE, 1.0))
        self._filled_at = now
        return 0.0 if self.remaining <= in_flight else max(self._rate, 1.0 / self._gap(share, in_flight))

    def delay(self, now: float, share: float, in_flight: int, last_sent_at: float) -> float:
        """Seconds until the pace or the trickle allows one more request, as far as is known now."""
        next_at = min(self.reset_at, last_sent_at + self._gap(share, in_flight))
        if self._usable(share, in_flight) >= 1:
            paced_in = 0.0 if self._credit >= _WHOLE else (1.0 - self._credit) / self._rate
            next_at = min(next_at, now + paced_in)
        return max(next_at - now, 0.0)

    def sent(self) -> None:
        self._credit = max(self._credit - 1.0, 0.0)
        self._spent += 1

    def blocked_until(self, in_flight: int, last_sent_at: float) -> float:
        """When what remains covers one more request, as far as is known now, or else one asks again."""
        if self.remaining > in_flight:
            return -math.inf
        return min(self.reset_at, last_sent_at + LONGEST_GAP_SECONDS)

    def _gap(self, share: float, in_flight: int) -> float:
        return trickle_gap(
            remaining=self.remaining - in_flight,
            unspent=self.limit - self._reserve(share) - self._spent,
            known_for=min(self.reset_at - self._known_since, self._length),
        )

    def _usable(self, share: float, in_flight: int) -> int:
        return self.remaining - self._reserve(share) - in_flight

    def _reserve(self, share: float) -> int:
        return math.floor((1.0 - share) * self.limit + 1e-6)


class Limits:
    """The request limits of the process. Every instant is in monotonic seconds and never goes back."""

    def __init__(self, *, requests_per_second: float, share: float) -> None:
        """`requests_per_second` 0: no rate of our own. `share` (0 to 1) is how much of a told quota is ours."""
        self._own_rate = requests_per_second or math.inf
        self._share = share
        self._quotas: dict[str, _Quota] = {}
        self._learned = AdaptiveRate()
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
        delay = 0.0 if self._tokens >= _WHOLE else (1.0 - self._tokens) / rate
        for quota in self._quotas.values():
            quota.fill(now, self._share, self._in_flight)
            delay = max(delay, quota.delay(now, self._share, self._in_flight, self._last_sent_at))
        return delay

    def sent(self, now: float) -> None:
        """A request goes out, `delay` having been 0."""
        self._learned.sent(now, idle_since=max(self._last_sent_at, self._paused_until))
        self._tokens = max(self._tokens - 1.0, 0.0)
        for quota in self._quotas.values():
            quota.sent()
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
        rate, blocked_until = self._fill(now), self._paused_until
        for quota in self._quotas.values():
            rate = min(rate, quota.fill(now, self._share, self._in_flight))
            blocked_until = max(blocked_until, quota.blocked_until(self._in_flight, self._last_sent_at))
        is_blocked = blocked_until > now
        return LimitsSnapshot(
            rate=0.0 if is_blocked else None if rate == math.inf else rate,
            blocked_until=blocked_until if is_blocked else None,
            remaining=min((quota.remaining for quota in self._quotas.values()), default=None),
        )

    def _fill(self, now: float) -> float:
        """Bring the bucket up to `now`; returns the rate that fills it: what no told quota rules."""
        rate = min(self._own_rate, self._learned.rate)
        burst = max(1.0, min(rate * BURST_SECONDS, LARGEST_BURST))
        since = max(now - self._filled_at, 0.0)
        gained = burst if math.inf in {rate, since} else rate * since
        self._tokens = min(self._tokens + gained, burst)
        self._filled_at = max(now, self._filled_at)
        return rate

    def _note(self, now: float, sent_at: float, status: int, told: Told) -> None:
        for quota in told.quotas:
            if (known := self._quotas.get(quota.name)) is None:
                self._quotas[quota.name] = _Quota(now, quota)
            else:
                known.tell(now, sent_at, quota)
        if len(self._quotas) > len(told.quotas) and status < 500 and status != 429:
            named = {quota.name for quota in told.quotas}
            are_too_many = len(self._quotas) > MOST_QUOTAS
            self._quotas = {
                name: quota
                for name, quota in self._quotas.items()
                if name in named or not (are_too_many or quota.is_gone(sent_at))
            }

    def _refused(self, now: float, sent_at: float, told: Told) -> Pause | None:
        retry_after = told.wait or 0.0
        if sent_at <= self._paused_at:
            # Sent before the pause began: the same event, refused again.
            self._paused_until = max(self._paused_until, now + retry_after)
            return None
        if not self._refusals_in_a_row:
            self._is_explained = any(quota.remaining == 0 for quota in told.quotas)
            self._learned.refused(self._own_rate)
        growth = BACKOFF_GROWTH ** min(self._refusals_in_a_row, 30)
        backoff = min(FIRST_BACKOFF_SECONDS * growth, LONGEST_BACKOFF_SECONDS)
        seconds = max(retry_after, backoff)
        self._refusals_in_a_row += 1
        self._allowed_in_flight = 1.0
        self._in_flight_since_pause = 0
        self._paused_at = now
        self._paused_until = now + seconds
        self._tokens = 1.0
        self._filled_at = self._paused_until
        return Pause(seconds, told=retry_after >= backoff)

    def _release(self, now: float) -> None:
        """A request was accepted after the pause: the next ones follow, not all at once."""
        if self._refusals_in_a_row:
            self._learned.recovered(now, learn=not self._is_explained)
        self._refusals_in_a_row = 0
        self._allowed_in_flight += 1.0
        if self._allowed_in_flight > FULLY_RELEASED:
            self._allowed_in_flight = math.inf
