"""Delivers events from the outbox to one independent sink: each by itself, several at once, by the retry plan.

Only the events that are on their way are in memory. All that must survive a restart (how often each event was tried,
when it is due again) is in the outbox's records. `retry_plan` and `endpoint` decide, this module does.
"""

from __future__ import annotations

import asyncio
import math
import random
import shlex
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from functools import partial
from typing import Any

from asset_worker.domain.deliveries import Condition, Owed, SinkProblem, Taken
from asset_worker.runtime.clock import Clock
from asset_worker.runtime.log import get_logger
from asset_worker.runtime.randomness import Uniform
from asset_worker.runtime.stop import Stop
from asset_worker.sinks.attempts import Attempts, Result
from asset_worker.sinks.endpoint import UP, Endpoint, still_down
from asset_worker.sinks.ports import Attempt, Delivered, Failed, IndependentOutbox, IndependentSink
from asset_worker.sinks.retry_plan import is_planned, next_delay

_log = get_logger()

CUT_OFF_SECONDS = 1.0
"""An attempt to deliver a transition may take so long while a completion waits for it to end. A receiver that answers
before it works takes far less."""
CUT_OFF = Failed(f"no answer within {CUT_OFF_SECONDS:g} s, and a completion waits")
RECHECK_SECONDS = 60.0
"""The longest wait before the records are read again: the loop's timers stand still while the machine is suspended."""


class _Flight:
    """An attempt that is being made."""

    def __init__(self, owed: Owed) -> None:
        self.owed = owed
        self._began = asyncio.get_running_loop().time()
        self._ends_at: float | None = None
        self._limit: asyncio.Timeout | None = None
        self.task: asyncio.Task[None]

    async def limited(self, attempt: Coroutine[Any, Any, Attempt]) -> Attempt:
        """Return the result of the attempt, or of cutting it off."""
        try:
            async with asyncio.timeout_at(self._ends_at) as self._limit:
                return await attempt
        except TimeoutError:
            return CUT_OFF
        finally:
            self._limit = None

    @property
    def may_be_cut_off(self) -> bool:
        """Whether it is an attempt at a transition, and not cut off yet."""
        return self.owed.is_transition and self._ends_at is None and not self.task.done()

    def cut_off(self) -> None:
        """Let the attempt take no more than `CUT_OFF_SECONDS` in all."""
        if self._ends_at is None:
            self._ends_at = self._began + CUT_OFF_SECONDS
            if self._limit is not None:
                self._limit.reschedule(self._ends_at)


class IndependentDelivery:
    """Sends one independent sink the events that it lacks."""

    def __init__(
        self,
        sink: IndependentSink,
        outbox: IndependentOutbox,
        clock: Clock,
        *,
        drain_patience: float = 0.0,
        last_start: float = math.inf,
        uniform: Uniform = random.random,
    ) -> None:
        """Make a delivery; see `run`.

        Args:
            sink: the sink.
            outbox: the events.
            clock: the clock.
            drain_patience: after the stop, events that are due again within this many seconds are waited for.
            last_start: so many seconds after the stop, the last attempt begins.
            uniform: draws the jitter.
        """
        self._sink = sink
        self._outbox = outbox
        self._clock = clock
        self._drain_patience = drain_patience
        self._last_start = last_start
        self._uniform = uniform
        self.sink = sink.name
        self.attempts = Attempts()
        """What is counted about the attempts."""
        self._began = 0.0
        """When this run found the receiver down at its start, in steady time."""
        self._endpoint: Endpoint = UP
        self._recorded: Condition | None = None
        """What was recorded last about the receiver as a whole."""
        self._in_flight: dict[int, _Flight] = {}
        """The attempts that are being made, by the position of their event."""
        self._probed: set[int] = set()
        """The events that were sent as probes since the receiver has been down: each gets its turn."""
        self._awaiting_new: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self._is_resumed = False
        """Whether somebody asks to resume the sink."""

    @property
    def delivered(self) -> int:
        """Events that the sink accepted since the start."""
        return self.attempts.results[Result.DELIVERED.value]

    @property
    def backlog(self) -> int:
        """How many events the sink lacks, those that wait for a retry included."""
        return self._outbox.owed(self.sink)

    @property
    def oldest_age(self) -> float:
        """Seconds since the oldest event was made that the sink lacks, as far as that is known; 0: it lacks none."""
        at = self._outbox.oldest_at(self.sink)
        return 0.0 if at is None else max(0.0, self._clock.now() - at)

    @property
    def problem(self) -> SinkProblem | None:
        """What is wrong with the sink; None: it works."""
        if self._endpoint.is_paused:
            text = (
                f"the sink {self.sink} is paused, because its receiver wants no more events: a restart, SIGHUP or "
                f"`asset-worker dead-letters retry --sink {shlex.quote(self.sink)}` resumes it"
            )
            return SinkProblem("paused", text)
        return SinkProblem("down", f"the sink {self.sink} is down") if self._endpoint.is_down else None

    @property
    def failing_for(self) -> float | None:
        """Seconds of this run for which the receiver has been down or paused; None: it is neither."""
        condition = self._endpoint.condition
        return None if condition is None else max(0.0, self._clock.steady() - max(condition.since, self._began))

    @property
    def failing_since(self) -> float | None:
        """Since when the receiver has been down or paused, in seconds since the epoch, UTC; None: it is neither."""
        condition = self._endpoint.condition
        return None if condition is None else self._clock.now() - max(0.0, self._clock.steady() - condition.since)

    @property
    def last_error(self) -> str | None:
        """The text of the latest failure in the row; None: the latest attempt did not fail."""
        return self._endpoint.error or None

    @property
    def next_try(self) -> float | None:
        """When the receiver that is down is probed next, in seconds since the epoch, UTC; None: it isn't."""
        at = self._endpoint.probe_at
        return None if at is None else self._clock.now() + max(0.0, at - self._clock.steady())

    async def check(self) -> bool:
        """Return True: whether events are received is only seen when one is sent."""
        return True

    def resume(self) -> None:
        """Send events again to a receiver that is paused, and probe one that is down at once."""
        self._is_resumed = True
        self._wake.set()

    async def reload(self) -> None:
        """Read again what the sink reads from files, then resume."""
        await self._sink.reload()
        self.resume()

    async def run(self, stop: Stop) -> None:
        """Deliver until `stop` is set and nothing more can be delivered soon.

        Set `stop` when no more assets will be settled. What is due then is sent; what is due later, or can't be sent to
        a receiver that is down or paused, is left to the next run, unless it is due within the drain's patience.
        """
        watching = [asyncio.create_task(self._wake_when(stop.wait)), asyncio.create_task(self._watch_requests())]
        try:
            await self._begin()
            await self._deliver(stop)
        finally:
            attempts = [each.task for each in self._in_flight.values()]
            tasks = [*watching, *attempts, *filter(None, [self._awaiting_new])]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._sink.close()

    async def _begin(self) -> None:
        """Resume a receiver that was paused. One that was down, and is owed events, is so until it accepts one.

        Otherwise nobody would know, when it works again, that all it is owed is due.
        """
        recorded = await self._outbox.condition(self.sink)
        if recorded is None or recorded.kind != "down" or not self._outbox.owed(self.sink):
            await self._outbox.set_condition(self.sink, None)
            return
        self._began = self._clock.steady()
        self._endpoint, self._recorded = still_down(recorded, now=self._began), recorded
        self._log_change(None, recorded)

    async def _deliver(self, stop: Stop) -> None:
        drain_ends = starts_end = math.inf
        while True:
            await self._apply_changes()
            now = self._clock.steady()
            if stop.is_set():
                drain_ends = min(drain_ends, now + self._drain_patience)
                starts_end = min(starts_end, now + self._last_start)
            slots = self._slots(now) if now <= starts_end else 0
            taken = await self._take(slots, now)
            self._log_superseded(taken.superseded)
            is_out_of_date = len(taken.events) > self._slots(now)  # it was found to be down or paused meanwhile
            for owed in () if is_out_of_date else taken.events:
                self._start(owed)
            for position in self._in_flight.keys() & set(taken.holding_up):
                self._in_flight[position].cut_off()
            if is_out_of_date:
                continue
            if len(taken.events) < slots or self._may_make_room():
                self._await_new()
            due_at = taken.next_at if slots else self._endpoint.probe_at
            if not self._in_flight and stop.is_set() and (due_at is None or due_at > drain_ends):
                return
            # An attempt that ends wakes the loop, and what is due meanwhile has to wait for a slot anyway.
            await self._wait(None if not slots and self._in_flight else due_at)
            self._forget_ended()

    def _slots(self, now: float) -> int:
        """Return how many more events may be sent now."""
        return self._endpoint.slots(in_flight=len(self._in_flight), concurrency=self._sink.concurrency, now=now)

    async def _take(self, slots: int, now: float) -> Taken:
        """Return the events to send now, at most `slots`."""
        if not slots:
            if self._may_make_room():
                await self._make_room(now)
            return Taken([], None)
        most = max(1, self._sink.concurrency // 2)  # the others are for completions
        left = max(0, most - sum(each.owed.is_transition for each in self._in_flight.values()))
        take = partial(self._outbox.take, self.sink, slots, now=now, wants=self._sink.wants, transitions=left)
        if not self._endpoint.is_down:
            return await take(until=now, without=self._in_flight.keys())
        # One probe, with any event that is owed; each gets its turn, for one may fail by itself.
        taken = await take(until=math.inf, without=self._probed)
        if not taken.events and self._probed:
            self._probed.clear()
            taken = await take(until=math.inf, without=())
        self._probed.update(owed.event.position for owed in taken.events)
        return taken

    def _may_make_room(self) -> bool:
        """Return whether attempts at transitions may be cut off for what else is due."""
        is_up = self._endpoint.condition is None
        return is_up and any(flight.may_be_cut_off for flight in self._in_flight.values())

    async def _make_room(self, now: float) -> None:
        """Cut off the transitions that are on their way if something else is due, and has to wait for them."""
        in_flight = self._in_flight
        taken = await self._outbox.take(
            self.sink, 1, now=now, until=now, without=in_flight.keys(), wants=self._sink.wants, transitions=0
        )
        self._log_superseded(taken.superseded)
        if taken.events or taken.holding_up:
            for flight in in_flight.values():
                if flight.may_be_cut_off:
                    flight.cut_off()

    def _start(self, owed: Owed) -> None:
        flight = self._in_flight[owed.event.position] = _Flight(owed)
        flight.task = asyncio.create_task(self._attempt(flight), name=self.sink)
        flight.task.add_done_callback(lambda _: self._wake.set())

    def _await_new(self) -> None:
        if self._awaiting_new is None or self._awaiting_new.done():
            self._awaiting_new = asyncio.create_task(self._wake_when(partial(self._outbox.wait, self.sink)))

    async def _wake_when(self, wait: Callable[[], Coroutine[Any, Any, None]]) -> None:
        await wait()
        self._wake.set()

    async def _watch_requests(self) -> None:
        while True:
            await self._outbox.wait_for_retry(self.sink)
            self.resume()

    async def _wait(self, due_at: float | None) -> None:
        """Wait until something has changed, or until `due_at`; None: there is no such instant."""
        seconds = RECHECK_SECONDS if due_at is None else min(due_at - self._clock.steady(), RECHECK_SECONDS)
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, seconds)):
                await self._wake.wait()
        self._wake.clear()

    def _forget_ended(self) -> None:
        """Forget the attempts that have ended.

        Raises:
            Exception: the outbox could not record one of them.
        """
        for position, flight in list(self._in_flight.items()):
            if flight.task.done():
                del self._in_flight[position]
                flight.task.result()

    async def _apply_changes(self) -> None:
        """Resume, if somebody asks for it; record and log what has changed about the receiver as a whole."""
        if self._is_resumed:
            self._is_resumed = False
            self._endpoint = self._endpoint.resumed(self._clock.steady())
        before, now = self._recorded, self._endpoint.condition
        if (before and before.kind) == (now and now.kind):
            return
        if before is not None and before.kind == "down" and now is None:
            await self._outbox.make_all_due(self.sink, now=self._clock.steady())
        await self._outbox.set_condition(self.sink, now)
        self._recorded = now
        self._log_change(before, now)

    def _log_change(self, before: Condition | None, now: Condition | None) -> None:
        if now is not None and now.kind == "paused":
            _log.error("sink.paused", sink=self.sink, error=now.error)
        elif now is not None:
            retry_in = (self._endpoint.probe_at or 0.0) - self._clock.steady()
            retry_in = round(max(0.0, retry_in), 3)
            _log.error("sink.failed", sink=self.sink, trouble=now.kind, error=now.error, retry_in=retry_in)
        elif before is not None:
            failed_for = round(self._clock.steady() - before.since, 3)
            _log.info("sink.recovered", sink=self.sink, failed_for=failed_for)

    async def _attempt(self, flight: _Flight) -> None:
        """Send one event, and record the result, which is durable when this returns."""
        owed, began = flight.owed, self._clock.steady()
        result = await flight.limited(self._sink.attempt(owed.event))
        now = self._clock.steady()
        self.attempts.made.durations.observe((), now - began)
        self._endpoint = self._endpoint.after(
            result, position=owed.event.position, now=now, is_transition=owed.is_transition
        )
        if isinstance(result, Delivered):
            self._probed.clear()
            await self._outbox.delivered(self.sink, owed.event.position, now=now)
            self.attempts.add(Result.DELIVERED)
            self.attempts.made.succeeded_at = self._clock.now()
            return
        self.attempts.add(Result.FAILED)
        if isinstance(result, Failed) and owed.next_at <= began:
            # A probe that was sent before its event was due uses up none of the event's attempts.
            await self._record_failure(owed, result, began, now)

    async def _record_failure(self, owed: Owed, failed: Failed, began: float, now: float) -> None:
        first_at = now if owed.first_at is None else owed.first_at
        counts = owed.first_at is None or is_planned(self._sink.retry, owed.attempts, since_first=began - owed.first_at)
        attempts = owed.attempts + counts
        delay = next_delay(self._sink.retry, attempts, retry_after=failed.retry_after, uniform=self._uniform)
        event_id = owed.event.id
        if delay is None:
            superseded = await self._outbox.dead_letter(
                self.sink, owed.event.position, attempts=attempts, first_at=first_at, now=now, reason=failed.reason
            )
            if not superseded:
                self.attempts.add(Result.DEAD_LETTER)
                _log.error("sink.dead_letter", sink=self.sink, id=event_id, attempts=attempts, reason=failed.reason)
            self._log_superseded(superseded)
            return
        superseded = await self._outbox.failed(
            self.sink,
            owed.event.position,
            attempts=attempts,
            first_at=first_at,
            now=now,
            next_at=now + delay,
            error=failed.reason,
        )
        self._log_superseded(superseded)
        if superseded:
            return
        _log.info(
            "sink.attempt_failed",
            sink=self.sink,
            id=event_id,
            attempts=attempts,
            error=failed.reason,
            retry_in=round(delay, 3),
        )

    def _log_superseded(self, event_ids: Iterable[str]) -> None:
        for event_id in event_ids:
            self.attempts.add(Result.SUPERSEDED)
            _log.info("sink.superseded", sink=self.sink, id=event_id)
