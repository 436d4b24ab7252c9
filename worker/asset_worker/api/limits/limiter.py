"""The rate limiter of the whole process: when the next request may go out.

The pace is set by token buckets. Each request takes one token from every bucket:

- one bucket is filled at our own rate, `limits.requests_per_second`, or at the adaptive rate (`adaptive_rate`), once a
  refusal came that no reported quota explains;
- one bucket belongs to each quota that the server reports (`quota`).

Besides the pace there are two conditions. A request that a reported quota might not cover is never sent: the report may
be older than the requests in flight, so each of these counts as not yet subtracted. And a refusal (429) pauses the
whole process; after the pause one request goes alone, and with each accepted request one more may be in flight. If one
endpoint turns out to be limited alone (`pauses`), its refusals pause only it.

Nothing here waits. A caller asks for `delay`, and asks again after that delay or after any answer, whichever comes
first, so a pause that begins in between is always noticed.
"""

from __future__ import annotations

import math
from typing import Final

import msgspec

from asset_worker.api.limits.adaptive_rate import AdaptiveRate
from asset_worker.api.limits.pauses import Pauses
from asset_worker.api.limits.quota import WHOLE_TOKEN, Quota
from asset_worker.api.limits.rate_limit_headers import MAX_QUOTAS, RateLimitReport
from asset_worker.api.responses import Verdict, meaning_of
from asset_worker.api.subjects import Endpoint
from asset_worker.domain.worker_report import QuotaReport
from asset_worker.runtime.measures import Names

BURST_SECONDS: Final = 0.2
LARGEST_BURST: Final = 10.0
"""The bucket holds the requests of a fifth of a second, ten at most. They may be sent at once after a lull: enough to
make up for timers that fire late, and few compared with the requests of a second."""

FIRST_BACKOFF_SECONDS: Final = 0.25
LONGEST_BACKOFF_SECONDS: Final = 60.0
BACKOFF_GROWTH: Final = 1.5
"""The pause after refusals in a row grows from the first to the longest, unless the server requests a longer one."""

SLOW_ANSWER_SECONDS: Final = 1.0
"""While no request was ever refused, one more may be in flight each time that none could go out for so long: some
assets may never be answered, and must not hold up the others."""

FULLY_RELEASED: Final = 100.0
"""After a pause the limit of requests in flight grows to this number; above it there is no limit any more."""

MOST_NAMES: Final = 16
"""So many different names of quotas are shown since the start, all others as `other`: a server has a few, but one that
makes up a name for each window or client would begin a time series with each."""


SHORTAGE_SECONDS: Final = 10.0
"""A gap between two requests that is as long is a problem: in a shorter one nothing becomes noticeably late."""


class Pause(msgspec.Struct, frozen=True):
    """A refusal stops all requests for a while."""

    seconds: float
    requested_by_server: bool
    """Whether the server requested this length; if not, it is our own backoff."""
    endpoint: Endpoint | None = None
    """The endpoint that pauses alone; None: all requests pause."""


class Shortage(msgspec.Struct, frozen=True):
    """For a while no request can go out, because others have used up the limit."""

    since: float
    """In monotonic seconds: when the last one went out."""
    why: str


class RateLimiter:
    """The rate limiter of the process. Instants are monotonic seconds, and never go back from call to call."""

    def __init__(self, *, requests_per_second: float, share: float) -> None:
        """`requests_per_second` 0: no rate of our own. `share` (0 to 1) is how much of a reported quota we may use."""
        self._own_rate = requests_per_second or math.inf
        self._share = share
        self._portion = 1.0
        self._quotas: dict[str, Quota] = {}
        self._names = Names(MOST_NAMES)
        self._adaptive_rate = AdaptiveRate()
        self._tokens = LARGEST_BURST
        self._filled_at = -math.inf
        self._last_sent_at = -math.inf
        self._in_flight = 0
        # The first request goes alone, as after a pause: its answer reports the quotas.
        self._allowed_in_flight = 1.0
        self._in_flight_since_pause = 0
        self._paused_at = -math.inf
        self._paused_until = -math.inf
        self._refusals_in_a_row = 0
        self._is_explained = True
        self._pauses = Pauses()
        # Those of the endpoint that is limited alone:
        self._alone_paused_at = -math.inf
        self._alone_paused_until = -math.inf
        self._alone_refusals_in_a_row = 0
        self._alone_is_tried = False  # one request is in flight, and its answer decides

    def use_portion(self, portion: float) -> None:
        """Use this portion of all limits from now on: other workers with the same key use the rest.

        `portion` is more than 0, and at most 1.
        """
        self._adaptive_rate.scale(portion / self._portion)
        self._portion = portion

    @property
    def learned(self) -> tuple[float, float] | None:
        """The rate that the server accepts from all workers, learned from refusals, and when; None: it is not known."""
        learned = self._adaptive_rate.learned
        return None if learned is None else (learned[0] / self._portion, learned[1])

    def adopt(self, rate: float, *, at: float) -> None:
        """Take over the rate, in requests per second for all workers, that another one has learned at this instant."""
        learned = self._adaptive_rate.learned
        if learned is None or at > learned[1]:
            self._adaptive_rate.adopt(rate * self._portion, at=at)

    def delay(self, now: float) -> float:
        """Return the seconds until the next request may be sent; 0: now.

        Infinite: that depends on an answer. Call this again after the delay, or when a request was answered or lost.
        """
        if now < self._paused_until:
            return self._paused_until - now
        delay = 0.0
        if self._in_flight_since_pause >= self._allowed_in_flight:
            if self._paused_at > -math.inf:
                return math.inf
            delay = max(self._last_sent_at + SLOW_ANSWER_SECONDS - now, 0.0)
        rate = self._fill(now)
        delay = delay if self._tokens >= WHOLE_TOKEN else max(delay, (1.0 - self._tokens) / rate)
        for quota in self._quotas.values():
            quota.fill(now, self._share, self._in_flight, self._portion)
            delay = max(delay, quota.delay(now, self._share, self._in_flight, self._last_sent_at, self._portion))
        return delay

    def quotas(self, now: float) -> list[QuotaReport]:
        """Return the quotas that the server reports, as they are known now, by at most `MOST_NAMES` names."""
        return [quota.report(self._names.of(name), now) for name, quota in self._quotas.items()]

    def shortage(self, now: float) -> Shortage | None:
        """Return what keeps all requests from going out for long, because others use the limit; None: nothing does."""
        delay = self.delay(now)
        if not 0.0 < delay < math.inf or now - self._last_sent_at + delay < SHORTAGE_SECONDS:
            return None
        of_quotas = (quota.used_by_others(self._share, self._portion) for quota in self._quotas.values())
        why = next(filter(None, of_quotas), None)
        if why is None and now < self._paused_until:
            why = "429: the API doesn't say who has used its limit"
        return None if why is None else Shortage(self._last_sent_at, why)

    @property
    def first(self) -> Endpoint | None:
        """The endpoint that goes first after a pause, if a request for it waits; None: either may."""
        return self._pauses.first

    def paused_alone_for(self, now: float, endpoint: Endpoint) -> float | None:
        """Return for how many seconds this endpoint alone may send nothing; None: it is as free as the other."""
        if self._pauses.alone is not endpoint:
            return None
        if self._alone_is_tried:
            return FIRST_BACKOFF_SECONDS  # one request goes alone, and its answer decides
        return self._alone_paused_until - now if now < self._alone_paused_until else None

    @property
    def is_any_alone(self) -> bool:
        """Whether refusals of one endpoint pause only it."""
        return self._pauses.alone is not None

    def is_limited_alone(self, endpoint: Endpoint) -> bool:
        """Return whether refusals of this endpoint pause only it."""
        return self._pauses.alone is endpoint

    def sent(self, now: float, endpoint: Endpoint = Endpoint.RETRIEVE) -> None:
        """Record that a request goes out, after `delay` returned 0."""
        self._pauses.sent(endpoint)
        self._alone_is_tried = self._alone_is_tried or self._pauses.alone is endpoint
        self._adaptive_rate.sent(now, idle_since=max(self._last_sent_at, self._paused_until))
        self._tokens = max(self._tokens - 1.0, 0.0)
        for quota in self._quotas.values():
            quota.sent()
        self._last_sent_at = now
        self._in_flight += 1
        self._in_flight_since_pause += 1

    def lost(self, *, sent_at: float, endpoint: Endpoint = Endpoint.RETRIEVE) -> None:
        """Record that a request that was sent at `sent_at` ended without an answer."""
        self._in_flight -= 1
        if self._pauses.alone is endpoint and sent_at > self._alone_paused_at:
            self._alone_is_tried = False
        if sent_at > self._paused_at:
            self._in_flight_since_pause -= 1

    def answered(
        self,
        now: float,
        *,
        sent_at: float,
        status: int,
        report: RateLimitReport,
        endpoint: Endpoint = Endpoint.RETRIEVE,
    ) -> Pause | None:
        """Record an answer to a request sent at `sent_at`. Return the pause that it starts; None: it starts none."""
        meaning = meaning_of(status)
        self.lost(sent_at=sent_at, endpoint=endpoint)
        is_refused, is_late = meaning.verdict is Verdict.RATE_LIMITED, sent_at <= self._paused_at
        if is_refused and not is_late and not self._pauses.refused(endpoint):
            # Its quotas are not those of other requests.
            return self._refused_alone(now, sent_at, report, endpoint)
        self._update_quotas(now, sent_at, report, are_all=meaning.lists_all_quotas)
        if is_refused:
            return self._refused(now, sent_at, report)
        if not is_late:
            self._pauses.answered(endpoint)
        self._adaptive_rate.accepted()
        if self._allowed_in_flight < math.inf and sent_at > self._paused_at:
            self._release(now)
        return None

    def _fill(self, now: float) -> float:
        """Fill the bucket up to `now`. Return the rate at which it is filled, in requests per second."""
        rate = min(self._own_rate * self._portion, self._adaptive_rate.rate)
        burst = max(1.0, min(rate * BURST_SECONDS, LARGEST_BURST))
        since = max(now - self._filled_at, 0.0)
        gained = burst if math.inf in {rate, since} else rate * since
        self._tokens = min(self._tokens + gained, burst)
        self._filled_at = max(now, self._filled_at)
        return rate

    def _update_quotas(self, now: float, sent_at: float, report: RateLimitReport, *, are_all: bool) -> None:
        for quota in report.quotas:
            if (known := self._quotas.get(quota.name)) is None:
                self._quotas[quota.name] = Quota(now, quota)
            else:
                known.update(now, sent_at, quota)
        if are_all and len(self._quotas) > len(report.quotas):
            named = {quota.name for quota in report.quotas}
            are_too_many = len(self._quotas) > MAX_QUOTAS
            self._quotas = {
                name: quota
                for name, quota in self._quotas.items()
                if name in named or not (are_too_many or quota.is_gone(sent_at))
            }

    def _refused(self, now: float, sent_at: float, report: RateLimitReport) -> Pause | None:
        requested = report.requested_wait or 0.0
        if sent_at <= self._paused_at:
            # Sent before the pause began, so this refusal belongs to the same event.
            self._paused_until = max(self._paused_until, now + requested)
            return None
        if not self._refusals_in_a_row:
            self._is_explained = any(quota.remaining == 0 for quota in report.quotas)
            self._adaptive_rate.refused(self._own_rate * self._portion)
        backoff = _backoff(self._refusals_in_a_row)
        seconds = max(requested, backoff)
        self._refusals_in_a_row += 1
        self._allowed_in_flight = 1.0
        self._in_flight_since_pause = 0
        self._paused_at = now
        self._paused_until = now + seconds
        # One request is to follow the pause at once, but a short pause does not fill the bucket at our own rate.
        self._fill(now)
        self._tokens = min(self._tokens + self._own_rate * self._portion * seconds, 1.0)
        self._filled_at = self._paused_until
        return Pause(seconds, requested_by_server=requested >= backoff)

    def _refused_alone(self, now: float, sent_at: float, report: RateLimitReport, endpoint: Endpoint) -> Pause | None:
        """Pause one endpoint. What is known about the common limit stays as it is."""
        requested = report.requested_wait or 0.0
        if sent_at <= self._alone_paused_at:
            self._alone_paused_until = max(self._alone_paused_until, now + requested)
            return None
        if self._alone_paused_at < self._paused_at:
            self._alone_refusals_in_a_row = 0  # the endpoint was not limited alone until now
        backoff = _backoff(self._alone_refusals_in_a_row)
        seconds = max(requested, backoff)
        self._alone_refusals_in_a_row += 1
        self._alone_paused_at = now
        self._alone_paused_until = now + seconds
        self._alone_is_tried = False
        return Pause(seconds, requested_by_server=requested >= backoff, endpoint=endpoint)

    def _release(self, now: float) -> None:
        """Let one more request be in flight, because one that was sent after the pause was accepted."""
        if self._refusals_in_a_row:
            self._adaptive_rate.recovered(now, learn=not self._is_explained)
        self._refusals_in_a_row = 0
        self._allowed_in_flight += 1.0
        if self._allowed_in_flight > FULLY_RELEASED:
            self._allowed_in_flight = math.inf


def _backoff(refusals_in_a_row: int) -> float:
    growth = BACKOFF_GROWTH ** min(refusals_in_a_row, 30)
    return min(FIRST_BACKOFF_SECONDS * growth, LONGEST_BACKOFF_SECONDS)
