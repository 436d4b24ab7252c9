"""The gate that every attempt passes: first come, first served, as the limiter and the breaker allow.

It waits, logs and counts; `limits` and `breaker` decide how long to wait. One timer is enough for all attempts that
wait, because it is known which of them is next: the first; while the breaker is open, the one that is the best probe;
after a pause, the first of the endpoint that goes first. An attempt that could only wait is turned away: it must not
hold up others, nor occupy a slot of the poller.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections import deque
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Final, Self

from asset_worker.api.breaker import Breaker, Reason
from asset_worker.api.changes import log_change
from asset_worker.api.errors import HeldError, RateLimitedError, StoppedError, TransientError
from asset_worker.api.key import ANY_SOURCE, KeySource
from asset_worker.api.limits.limiter import RateLimiter
from asset_worker.api.limits.server_clock import ServerClock, parse_by_clocks
from asset_worker.api.responses import Verdict, meaning_of, verdict_of
from asset_worker.api.subjects import Endpoint, Subject
from asset_worker.api.traffic import Traffic
from asset_worker.api.trouble import (
    EDGE_SECONDS,
    ApiProblem,
    Cause,
    Scarcity,
    Trouble,
    change_of_cause,
    problem_now,
    scarcity_after,
    trouble_after,
)
from asset_worker.domain.quota_share import LearnedRate
from asset_worker.domain.worker_report import QuotaReport
from asset_worker.runtime.clock import Clock
from asset_worker.runtime.log import get_logger
from asset_worker.runtime.randomness import Uniform
from asset_worker.runtime.stop import Stop

_log = get_logger()

SHORTEST_TIMER_SECONDS: Final = 1e-4
"""A timer shorter than the clock's resolution could fire too early, again and again."""

SHORTEST_HELD_SECONDS: Final = 5.0
LONGEST_HELD_SECONDS: Final = 30.0
"""An attempt that need not wait for a probe comes back after this time: the longer the outage lasts, the later."""

SHORTAGE_CHECK_SECONDS: Final = 1.0


class Gate:
    """Gives permission for attempts. There is one gate per process: all requests share the limits."""

    def __init__(
        self,
        *,
        clock: Clock,
        requests_per_second: float,
        concurrency: int,
        share: float,
        key_source: KeySource = ANY_SOURCE,
        uniform: Uniform = random.random,
        limiter: RateLimiter | None = None,
    ) -> None:
        """Create the gate of the process.

        Args:
            clock: the clock; waiting uses its monotonic time.
            requests_per_second: our own rate limit; 0: none.
            concurrency: the largest number of attempts in flight.
            share: how much of a reported quota we may use, from 0 to 1.
            key_source: where the key comes from, for the log.
            uniform: provides the jitter of the breaker's probes.
            limiter: that of an earlier gate with the same limits, which knows quotas and pauses; None: a new one.
        """
        self._limiter = limiter or RateLimiter(requests_per_second=requests_per_second, share=share)
        self._breaker = Breaker(concurrency=concurrency, uniform=uniform)
        self._concurrency = concurrency
        self._key_source = key_source
        self._server_clock = ServerClock()
        self._clock, self._now = clock, clock.monotonic
        self._waiters: deque[tuple[asyncio.Future[None], Permit]] = deque()
        self._has_capacity = asyncio.Event()
        self._has_capacity.set()
        self._timer: asyncio.TimerHandle | None = None
        self._is_stopped = False
        self.traffic = Traffic()
        """What is counted about the attempts."""
        self._granted_at = self._now()
        """When permission was last given; at first, when the gate was made."""
        self._failing_since: float | None = None
        """When the first of the latest attempts was sent that all failed or were given up; None: the latest did not."""
        self._trouble: Trouble | None = None
        self._scarcity: Scarcity | None = None
        """That at the latest look of `watch`."""
        self._lasting_edge_is_logged = False
        self._shared_until = math.inf
        """Until when this process may use its portion of the limits, in steady time."""

    def permit(self, subject: Subject) -> Permit:
        """Return the permission for one attempt: a context manager. Entering it waits until the attempt may be sent.

        Raises (on entering):
            StoppedError: the stop came first.
            HeldError: the breaker is open, and other attempts wait to be probes.
            RateLimitedError: the attempt's endpoint alone is limited, and pauses.
        """
        return Permit(self, subject)

    @property
    def has_capacity(self) -> bool:
        """Whether one more attempt may come now: it would be next, as far as is known."""
        return self._has_capacity.is_set()

    async def wait_for_capacity(self) -> None:
        """Wait until one more attempt may come: it would be next, as far as is known."""
        await self._has_capacity.wait()

    @property
    def may_list(self) -> bool:
        """Whether lists are sent now. A probe is about one asset, and retrieves may be first after a pause of lists."""
        is_held = self._limiter.paused_alone_for(self._now(), Endpoint.LIST) is not None
        return not self._breaker.is_open and not is_held and self._limiter.first is not Endpoint.RETRIEVE

    @property
    def lists_are_limited(self) -> bool:
        """Whether lists alone are limited, so that retrieves can be sent instead."""
        return self._limiter.is_limited_alone(Endpoint.LIST)

    def may_repeat(self, subject: Subject) -> bool:
        """Return whether an attempt that failed is worth another one soon."""
        return self._breaker.may_repeat(subject, self._now())

    def key_changed(self) -> None:
        """Record that another key is in use: an attempt may try it at once."""
        self._breaker.key_changed(self._now())
        self._grant_waiting()

    def share(self, portion: float, learned: LearnedRate | None, *, until: float) -> LearnedRate | None:
        """Use this portion of all limits until then; see `SharedLimits`."""
        now, self._shared_until = self._now(), until
        self._limiter.use_portion(portion)
        if learned is not None:
            self._limiter.adopt(learned.rate, at=now - learned.age)
        self._grant_waiting()
        known = self._limiter.learned
        return None if known is None else LearnedRate(known[0], now - known[1])

    async def watch(self, stop: Stop) -> None:
        """Watch for shortages until the stop; from then on refuse permission to attempts that wait and to new ones."""
        while not stop.is_set():
            self._scarcity = self._present_scarcity(self._now())
            await stop.sleep(SHORTAGE_CHECK_SECONDS)
        self._is_stopped = True
        self._grant_waiting()

    @property
    def reason(self) -> Reason | None:
        """Why the breaker is open; None: it is closed."""
        return self._breaker.reason

    @property
    def open_for(self) -> float:
        """Seconds for which the breaker has been open; 0: it is closed."""
        opened_at = self._breaker.opened_at
        return 0.0 if opened_at is None else self._now() - opened_at

    @property
    def key_refused_for(self) -> float | None:
        """Seconds for which nothing but refusals of the key have come; None: the key is not refused now."""
        trouble = self._trouble
        if self.reason is not Reason.KEY_REFUSED or trouble is None or trouble.cause is not Cause.KEY_REFUSED:
            return None
        return self._now() - trouble.since

    @property
    def problem(self) -> ApiProblem | None:
        """What keeps requests from working now, by its present cause; None: nothing."""
        now, wall, is_open = self._now(), self._clock.now(), self.reason is not None
        scarcity, delay = self._present_scarcity(now), self._delay(now)
        return problem_now(self._trouble, scarcity, now=now, wall=wall, is_open=is_open, delay=delay)

    def _present_scarcity(self, now: float) -> Scarcity | None:
        # An attempt that was refused waits elsewhere.
        is_wanted = bool(self._waiters) or (self._trouble is not None and self._trouble.cause is Cause.RATE_LIMITED)
        return scarcity_after(self._scarcity, self._limiter.shortage(now) if is_wanted else None, now=now)

    @property
    def quotas(self) -> list[QuotaReport]:
        """The quotas that the API reports, as they are known now."""
        return self._limiter.quotas(self._now())

    @property
    def stalled_for(self) -> float:
        """Seconds for which no attempt could be sent, or each one that ended has failed; 0: neither.

        A refused key is no stall: it says nothing about an asset, for however long it lasts.
        """
        now = self._now()
        if self._breaker.reason is Reason.KEY_REFUSED:
            return 0.0
        held_since = self._granted_at if self._delay(now) > 0 else now
        return now - min(held_since, now if self._failing_since is None else self._failing_since)

    def grant_at_once(self, permit: Permit) -> bool:
        """Give permission if the attempt may be sent at once. Return whether it was given."""
        now = self._now()
        if self._waiters or self._is_stopped or self._breaker.is_open or self._delay(now) > 0:
            return False
        if self._limiter.paused_alone_for(now, permit.subject.endpoint) is not None:
            return False
        self._grant(permit, now)
        return True

    async def wait(self, permit: Permit) -> None:
        """Wait until the attempt may be sent, and give permission; see `permit` for the errors."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append((turn, permit))
        if len(self._waiters) == 1 or not self._is_first_come():
            self._grant_waiting()
        try:
            await turn
        except asyncio.CancelledError as error:
            if turn.cancelled():
                self._grant_waiting()
            elif turn.exception() is None:
                # It got permission and was cancelled in the same turn of the event loop: the next one may go instead.
                self.ended(permit, error)
            raise

    def answered(self, permit: Permit, status: int, headers: Mapping[str, str]) -> None:
        """Report the head of an answer to the limiter. The breaker gets the result when the attempt has ended."""
        permit.status = status
        now, sent_at = self._now(), permit.sent_at
        report = parse_by_clocks(headers, self._read_clocks(headers.get("Date"), took=now - sent_at))
        endpoint = permit.subject.endpoint
        pause = self._limiter.answered(now, sent_at=sent_at, status=status, report=report, endpoint=endpoint)
        if pause is not None:
            _log.warning(
                "api.rate_limited",
                seconds=round(pause.seconds, 3),
                requested_by_server=pause.requested_by_server,
                only=None if pause.endpoint is None else pause.endpoint.value,
            )
        meaning = meaning_of(status)
        permit.retry_after = meaning.retry_after(report)
        self.traffic.refused += meaning.verdict is Verdict.RATE_LIMITED
        self._grant_waiting()

    def ended(self, permit: Permit, error: BaseException | None) -> None:
        """Report the end of an attempt, with its error; None: it succeeded."""
        if permit.status is None:
            self._limiter.lost(sent_at=permit.sent_at, endpoint=permit.subject.endpoint)
        now, breaker, period, subject = self._now(), self._breaker, permit.period, permit.subject
        verdict = verdict_of(permit.status, error)
        took, wall = now - permit.sent_at, self._clock.now()
        self.traffic.end(subject.endpoint, permit.status, verdict, seconds=took, wall=wall)
        if verdict not in {Verdict.FAILED, Verdict.LOST}:
            self._failing_since = None
        elif self._failing_since is None:
            self._failing_since = permit.sent_at
        match verdict:
            case Verdict.SUCCEEDED:
                change = breaker.succeeded(now, period=period, subject=subject)
            case Verdict.RATE_LIMITED:
                change = breaker.reached(now, period=period)
            case Verdict.FAILED:
                change = breaker.failed(now, period=period, subject=subject)
            case Verdict.KEY_REFUSED:
                change = breaker.refused(now, period=period, subject=subject)
            case Verdict.LOST:
                breaker.lost(period=period)
                change = None
        if verdict is not Verdict.SUCCEEDED or breaker.reason is None:  # not a late answer to the old key
            before, self._trouble = self._trouble, trouble_after(self._trouble, verdict, error, now=now)
            was_edge = self._lasting_edge_is_logged
            is_open = self.reason is not None
            change = change or change_of_cause(before, self._trouble, now=now, is_open=is_open, was_edge=was_edge)
            self._log_lasting_edge()
            if self._trouble is not None and self._trouble.cause is Cause.PROXY_OR_KEY and self._trouble.since == now:
                asyncio.get_running_loop().call_later(EDGE_SECONDS + SHORTEST_TIMER_SECONDS, self._log_lasting_edge)
        if change is not None:
            log_change(
                change, None if error is None else str(error), delay=self._delay(self._now()), key=self._key_source
            )
        self._grant_waiting()

    def _log_lasting_edge(self) -> None:
        trouble, was_logged = self._trouble, self._lasting_edge_is_logged
        self._lasting_edge_is_logged = trouble is not None and trouble.is_lasting_edge(self._now())
        if trouble is not None and self._lasting_edge_is_logged and not was_logged:
            _log.error("api.proxy_or_key", error=trouble.error)

    def _read_clocks(self, date: str | None, *, took: float) -> tuple[float, ...]:
        """Return what the clocks show that may have made an answer with this `Date`; see `ServerClock.read`."""
        steady, own = self._clock.steady(), self._clock.now()
        clocks = self._server_clock.read(date, now=steady, own=own, took=took)
        if (skew := self._server_clock.newly_skewed(now=steady, own=own)) is not None:
            _log.warning("clock.skewed", seconds=round(skew))
        return clocks

    def _delay(self, now: float) -> float:
        if self.traffic.in_flight >= self._concurrency:
            return math.inf
        return max(self._breaker.delay(now), self._delay_of_limits(now))

    def _delay_of_limits(self, now: float) -> float:
        return self._limiter.delay(now) if self._clock.steady() < self._shared_until else math.inf

    def _is_first_come(self) -> bool:
        """Return whether attempts go out in the order in which they came."""
        return not self._breaker.is_open and self._limiter.first is None and not self._limiter.is_any_alone

    def _grant(self, permit: Permit, now: float) -> None:
        self._granted_at = now
        self.traffic.begin()
        self._limiter.sent(now, permit.subject.endpoint)
        permit.sent_at, permit.period = now, self._breaker.sent(permit.subject, now)

    def _next(self, now: float) -> tuple[int, float]:
        """Return the place of the waiting attempt that goes out next, and in how many seconds, as far as is known."""
        if not self._breaker.is_open:
            first = self._limiter.first
            waiting = enumerate(permit.subject.endpoint for _, permit in self._waiters)
            place = 0 if first is None else next((place for place, each in waiting if each is first), 0)
            return place, self._delay(now)
        choice = self._breaker.next_probe([permit.subject for _, permit in self._waiters], now)
        is_full = self.traffic.in_flight >= self._concurrency
        return choice.place, math.inf if is_full else max(choice.at - now, self._delay_of_limits(now))

    def _grant_waiting(self) -> None:
        """Give permission to waiting attempts, as far as they may be sent; set the timer for the next."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        now = self._now()
        if self._waiters:
            self._turn_away(now)
        while self._waiters:
            place, delay = self._next(now)
            if delay > 0:
                if delay < math.inf:
                    loop = asyncio.get_running_loop()
                    self._timer = loop.call_later(max(delay, SHORTEST_TIMER_SECONDS), self._grant_waiting)
                break
            turn, permit = self._waiters[place]
            del self._waiters[place]
            self._grant(permit, now)
            turn.set_result(None)
        self._note_capacity()

    def _turn_away(self, now: float) -> None:
        """Let waiting attempts go that need not wait any longer, each with its error."""
        self._waiters = deque(each for each in self._waiters if not each[0].done())
        for place, error in self._pointless(now).items():
            self._waiters[place][0].set_exception(error)
        self._waiters = deque(each for each in self._waiters if not each[0].done())

    def _pointless(self, now: float) -> dict[int, TransientError]:
        """Return the errors of the attempts that need not wait, by their places."""
        places = range(len(self._waiters))
        if self._is_stopped:
            return {place: StoppedError("the worker is stopping") for place in places}
        if self._is_first_come():
            return {}
        subjects = [permit.subject for _, permit in self._waiters]
        found: dict[int, TransientError] = {}
        if self._breaker.is_open:
            for place in self._breaker.too_many(subjects, now):
                back_in = min(max(self.open_for / 4, SHORTEST_HELD_SECONDS), LONGEST_HELD_SECONDS)
                found[place] = HeldError("the API is unavailable, and other requests probe it", back_in)
        for place, subject in enumerate(subjects):
            if (seconds := self._limiter.paused_alone_for(now, subject.endpoint)) is not None:
                found[place] = RateLimitedError(f"the limit of {subject.endpoint.value} requests is used up", seconds)
        return found

    def _note_capacity(self) -> None:
        """Note whether one more attempt may come."""
        if self._is_full_of([permit.subject for _, permit in self._waiters]):
            self._has_capacity.clear()
        else:
            self._has_capacity.set()

    def _is_full_of(self, waiting: Sequence[Subject]) -> bool:
        if self._breaker.is_open:
            return any(self._breaker.is_fresh(each) for each in waiting)
        if (first := self._limiter.first) is not None:
            return any(each.endpoint is first for each in waiting)
        return bool(waiting)


class Permit:
    """The permission for one attempt, held until the attempt has ended."""

    __slots__ = ("_gate", "period", "retry_after", "sent_at", "status", "subject")

    def __init__(self, gate: Gate, subject: Subject) -> None:
        self._gate = gate
        self.subject = subject
        self.sent_at = 0.0
        self.period = 0
        self.status: int | None = None
        self.retry_after: float | None = None
        """The wait that the answer asks for, in seconds; None: it asks for none, or has not come."""

    def answered(self, status: int, headers: Mapping[str, str]) -> None:
        """Report the head of an answer. If no answer comes, leave the context with an error instead."""
        self._gate.answered(self, status, headers)

    async def __aenter__(self) -> Self:
        if not self._gate.grant_at_once(self):
            await self._gate.wait(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._gate.ended(self, error)
