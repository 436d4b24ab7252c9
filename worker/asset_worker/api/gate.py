"""The gate that every attempt passes: first come, first served, as the limiter and the breaker allow.

It waits, logs and counts; `limits` and `breaker` decide how long to wait. One timer is enough for all attempts that
wait, because the first of them is always next.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections import deque
from collections.abc import Mapping
from types import TracebackType
from typing import Final, Self, assert_never

import structlog

from asset_worker.api.breaker import Breaker, Change, Closed, Opened, Reason
from asset_worker.api.errors import StoppedError
from asset_worker.api.limits.limiter import RateLimiter
from asset_worker.api.limits.server_clock import ServerClock, parse_by_clocks
from asset_worker.api.responses import Verdict, meaning_of, verdict_of
from asset_worker.runtime.clock import Clock
from asset_worker.runtime.randomness import Uniform
from asset_worker.runtime.stop import Stop

_log = structlog.get_logger()

SHORTEST_TIMER_SECONDS: Final = 1e-4
"""A timer shorter than the clock's resolution could fire too early, again and again."""


class Gate:
    """Gives permission for attempts. There is one gate per process: all requests share the limits."""

    def __init__(
        self,
        *,
        clock: Clock,
        requests_per_second: float,
        concurrency: int,
        share: float,
        uniform: Uniform = random.random,
    ) -> None:
        """Create the gate of the process.

        Args:
            clock: the clock; waiting uses its monotonic time.
            requests_per_second: our own rate limit; 0: none.
            concurrency: the largest number of attempts in flight.
            share: how much of a reported quota we may use, from 0 to 1.
            uniform: provides the jitter of the breaker's probes.
        """
        self._limiter = RateLimiter(requests_per_second=requests_per_second, share=share)
        self._breaker = Breaker(concurrency=concurrency, uniform=uniform)
        self._concurrency = concurrency
        self._server_clock = ServerClock()
        self._clock, self._now = clock, clock.monotonic
        self._waiters: deque[tuple[asyncio.Future[None], Permit]] = deque()
        self._nobody_waits = asyncio.Event()
        self._nobody_waits.set()
        self._timer: asyncio.TimerHandle | None = None
        self._is_stopped = False
        self._in_flight = 0
        self._granted_at = 0.0
        self._failing_since: float | None = None
        """When the first of the latest attempts was sent that all failed or were given up; None: the latest did not."""
        self.requests = 0
        """Attempts sent so far."""
        self.refusals = 0
        """Attempts refused with 429 so far."""

    def permit(self) -> Permit:
        """Return the permission for one attempt: a context manager. Entering it waits until the attempt may be sent.

        Raises (on entering):
            StoppedError: the stop came first.
        """
        return Permit(self)

    async def wait_for_capacity(self) -> None:
        """Wait until no attempt waits for permission."""
        await self._nobody_waits.wait()

    def key_changed(self) -> None:
        """Record that another key is in use: an attempt may try it at once."""
        self._breaker.key_changed(self._now())
        self._grant_waiting()

    async def watch(self, stop: Stop) -> None:
        """Wait for the stop; from then on refuse permission to attempts that wait and to new ones."""
        await stop.wait()
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
        if self._waiters or self._is_stopped or self._delay(now := self._now()) > 0:
            return False
        self._grant(permit, now)
        return True

    async def wait(self, permit: Permit) -> None:
        """Wait until the attempt may be sent, and give permission.

        Raises:
            StoppedError: the stop came first.
        """
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append((turn, permit))
        self._nobody_waits.clear()
        if len(self._waiters) == 1 or self._is_stopped:
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
        pause = self._limiter.answered(now, sent_at=sent_at, status=status, report=report)
        if pause is not None:
            _log.warning(
                "api.rate_limited", seconds=round(pause.seconds, 3), requested_by_server=pause.requested_by_server
            )
        meaning = meaning_of(status)
        permit.retry_after = meaning.retry_after(report)
        self.refusals += meaning.verdict is Verdict.RATE_LIMITED
        self._grant_waiting()

    def ended(self, permit: Permit, error: BaseException | None) -> None:
        """Report the end of an attempt, with its error; None: it succeeded."""
        self._in_flight -= 1
        if permit.status is None:
            self._limiter.lost(sent_at=permit.sent_at)
        now, breaker, period = self._now(), self._breaker, permit.period
        verdict = verdict_of(permit.status, error)
        if verdict not in {Verdict.FAILED, Verdict.LOST}:
            self._failing_since = None
        elif self._failing_since is None:
            self._failing_since = permit.sent_at
        match verdict:
            case Verdict.SUCCEEDED:
                change = breaker.succeeded(now, period=period)
            case Verdict.RATE_LIMITED:
                change = breaker.reached(now, period=period)
            case Verdict.FAILED:
                change = breaker.failed(now, period=period)
            case Verdict.KEY_REFUSED:
                change = breaker.refused(now, period=period)
            case Verdict.LOST:
                breaker.lost(period=period)
                change = None
        if change is not None:
            _log_change(change, error)
        self._grant_waiting()

    def _read_clocks(self, date: str | None, *, took: float) -> tuple[float, ...]:
        """Return what the clocks show that may have made an answer with this `Date`; see `ServerClock.read`."""
        steady, own = self._clock.steady(), self._clock.now()
        clocks = self._server_clock.read(date, now=steady, own=own, took=took)
        if (skew := self._server_clock.newly_skewed(now=steady, own=own)) is not None:
            _log.warning("clock.skewed", seconds=round(skew))
        return clocks

    def _delay(self, now: float) -> float:
        if self._in_flight >= self._concurrency:
            return math.inf
        return max(self._breaker.delay(now), self._limiter.delay(now))

    def _grant(self, permit: Permit, now: float) -> None:
        self._granted_at = now
        self._in_flight += 1
        self.requests += 1
        self._limiter.sent(now)
        permit.sent_at, permit.period = now, self._breaker.sent()

    def _grant_waiting(self) -> None:
        """Give permission to waiting attempts, in order, as far as they may be sent; set the timer for the next."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._waiters:
            turn, permit = self._waiters[0]
            if turn.done():
                self._waiters.popleft()
            elif self._is_stopped:
                turn.set_exception(StoppedError("the worker is stopping"))
            elif (delay := self._delay(now := self._now())) <= 0:
                self._grant(permit, now)
                turn.set_result(None)
            else:
                if delay < math.inf:
                    loop = asyncio.get_running_loop()
                    self._timer = loop.call_later(max(delay, SHORTEST_TIMER_SECONDS), self._grant_waiting)
                return
        self._nobody_waits.set()


class Permit:
    """The permission for one attempt, held until the attempt has ended."""

    __slots__ = ("_gate", "period", "retry_after", "sent_at", "status")

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
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


def _log_change(change: Change, because: BaseException | None) -> None:
    error = None if because is None else str(because)
    match change:
        case Closed(seconds):
            _log.info("api.recovered", seconds=round(seconds, 3))
        case Opened(reason) if reason is Reason.UNAVAILABLE:
            _log.error("api.unavailable", error=error)
        case Opened():
            _log.error("api.key_refused", error=error)
        case _:
            assert_never(change)
