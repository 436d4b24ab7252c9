"""Delivers events from the outbox to one ordered sink: in order, at least once, retried until it works."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_exponential, wait_random_exponential
from tenacity.wait import wait_base

from asset_worker.domain.deliveries import SinkProblem
from asset_worker.domain.events import Stored
from asset_worker.runtime.clock import Clock, wall_time
from asset_worker.runtime.log import get_logger
from asset_worker.runtime.stop import Stop
from asset_worker.sinks.attempts import OF_ORDERED, Attempts, Result
from asset_worker.sinks.lines import first_bytes
from asset_worker.sinks.observing import ReportSend, unreported
from asset_worker.sinks.ports import OrderedSink, Outbox, Sent, SinkUnavailableError

_log = get_logger()

BATCH_EVENTS = 500
BATCH_BYTES = 1 << 20
"""The largest batch in bytes, newlines included. A larger event is sent alone."""
BACKOFF_SECONDS = 0.5
BACKOFF_MAX_SECONDS = 30.0
CHECK_SECONDS = 1.0
"""The interval between two checks of a sink that can't be used, and for which there is no event yet."""
SHUTDOWN_RETRY_SECONDS = 1.0
"""The longest wait between two attempts while the worker shuts down: the grace period is short."""


def backoff(first: float = BACKOFF_SECONDS, longest: float = BACKOFF_MAX_SECONDS) -> wait_base:
    """Return a wait that doubles from `first` to `longest` seconds, shortened at random by up to half."""
    return wait_exponential(multiplier=first / 2, max=longest / 2) + wait_random_exponential(
        multiplier=first / 2, max=longest / 2
    )


class Delivery:
    """Sends one sink the events that it does not have yet."""

    def __init__(
        self,
        sink: OrderedSink,
        outbox: Outbox,
        clock: Clock,
        *,
        wait: wait_base | None = None,
        sleep: Callable[[float], Coroutine[Any, Any, None]] = asyncio.sleep,
        report: ReportSend = unreported,
    ) -> None:
        """`report` is called after each attempt."""
        self._sink = sink
        self._report = report
        self._outbox = outbox
        self._clock = clock
        self._wait = wait or backoff()
        self._sleep = sleep
        self.sink = sink.name
        self.attempts = Attempts(OF_ORDERED)
        """What is counted about the attempts."""
        self._failing_since: float | None = None
        """When the sink began to fail, in steady time; None while it works."""
        self.last_error: str | None = None
        """The text of the latest failure, kept after recovery."""
        self.next_try: float | None = None
        """When the sink that fails is tried again, in seconds since the epoch, UTC; None while it works."""

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
        return None if self._failing_since is None else SinkProblem("failing", f"the sink {self.sink} fails")

    @property
    def failing_for(self) -> float | None:
        """Seconds for which the sink has been failing; None: it works."""
        return None if self._failing_since is None else self._clock.steady() - self._failing_since

    @property
    def failing_since(self) -> float | None:
        """When the sink began to fail, in seconds since the epoch, UTC; None: it works."""
        return None if self._failing_since is None else wall_time(self._clock, self._failing_since)

    async def run(self, stop: Stop) -> None:
        """Deliver until `stop` is set and the outbox holds no more events for this sink.

        Set `stop` when no more assets will be settled. If the sink fails then, it is retried until this call is
        cancelled, at the end of the grace period; events that it did not accept stay in the outbox.
        """
        self._sink.resume(await self._outbox.checkpoint(self.sink))
        try:
            await self._wait_until_usable(stop)
            while events := await self._next(stop):
                await self._deliver(events, stop)
        finally:
            await self._sink.close()

    async def check(self) -> bool:
        """Report a sink that can't be used before there is an event for it. Return whether it can be used."""
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                await self._sink.check()
        except SinkUnavailableError as error:
            self._failed(str(error), retry_in=CHECK_SECONDS)
            return False
        except TimeoutError:
            return True  # a file system hangs: the first event will show for how long
        self._recovered()
        return True

    async def reload(self) -> None:
        """Do nothing: a file and stdout have nothing that could be read again."""

    async def _wait_until_usable(self, stop: Stop) -> None:
        """Wait until the sink can be used, there is an event for it, or the stop."""
        while not await self.check():
            with suppress(TimeoutError):
                async with asyncio.timeout(CHECK_SECONDS):
                    await stop.race(self._outbox.wait(self.sink))
                return

    async def _next(self, stop: Stop) -> Sequence[Stored]:
        while True:
            last = stop.is_set()
            events = await self._outbox.read(self.sink, BATCH_EVENTS)
            if events or last:
                return first_bytes(events, BATCH_BYTES)
            await stop.race(self._outbox.wait(self.sink))

    async def _deliver(self, events: Sequence[Stored], stop: Stop) -> None:
        sent: Sent = await self._retrying(stop)(self._send, events)
        self._recovered()
        await self._outbox.advance(self.sink, events[sent.count - 1].position, sent.checkpoint)
        self.attempts.add(Result.DELIVERED, sent.count)
        self.attempts.made.succeeded_at = self._clock.now()

    async def _send(self, events: Sequence[Stored]) -> Sent:
        while True:
            began = self._clock.monotonic()
            try:
                sent = await self._sink.send(events)
            except SinkUnavailableError as error:
                self._report(self.sink, events, self._clock.monotonic() - began, str(error))
                raise
            finally:
                self.attempts.made.durations.observe((), self._clock.monotonic() - began)
            if sent.count:
                self._report(self.sink, events[: sent.count], self._clock.monotonic() - began, None)
                return sent
            await self._outbox.advance(self.sink, events[0].position - 1, sent.checkpoint)

    def _retrying(self, stop: Stop) -> AsyncRetrying:
        def wait(state: RetryCallState) -> float:
            seconds = self._wait(state)
            return min(seconds, SHUTDOWN_RETRY_SECONDS) if stop.is_set() else seconds

        async def sleep(seconds: float) -> None:
            # A wait during shutdown is short, and not ended by the stop, which is set: attempts must not spin.
            if stop.is_set():
                await self._sleep(seconds)
            else:
                await stop.race(self._sleep(seconds))

        return AsyncRetrying(
            wait=wait,
            retry=retry_if_exception_type(SinkUnavailableError),
            sleep=sleep,
            before_sleep=self._attempt_failed,
        )

    def _attempt_failed(self, state: RetryCallState) -> None:
        self.attempts.add(Result.FAILED)
        error = str(state.outcome.exception()) if state.outcome else None
        self._failed(error, retry_in=state.next_action.sleep if state.next_action else 0.0)

    def _failed(self, error: str | None, *, retry_in: float) -> None:
        self.last_error = error
        self.next_try = self._clock.now() + retry_in
        if self._failing_since is None:
            self._failing_since = self._clock.steady()
            _log.error("sink.failed", sink=self.sink, trouble="failing", error=error, retry_in=round(retry_in, 3))

    def _recovered(self) -> None:
        if self._failing_since is not None:
            failed_for = self._clock.steady() - self._failing_since
            self._failing_since = self.next_try = None
            _log.info("sink.recovered", sink=self.sink, failed_for=round(failed_for, 3))
