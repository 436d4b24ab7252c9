"""Delivers events from the outbox to one sink: in order, at least once, retried until it works."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import structlog
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_exponential, wait_random_exponential
from tenacity.wait import wait_base

from asset_worker.domain.events import Stored
from asset_worker.runtime.clock import Clock
from asset_worker.runtime.stop import Stop
from asset_worker.sinks.lines import first_bytes
from asset_worker.sinks.ports import Outbox, Sent, Sink, SinkRefusedError, SinkUnavailableError

_log = structlog.get_logger()

BATCH_EVENTS = 500
BATCH_BYTES = 1 << 20
"""The largest batch in bytes, newlines included. A larger event is sent alone."""
BACKOFF_SECONDS = 0.5
BACKOFF_MAX_SECONDS = 30.0
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
        sink: Sink,
        outbox: Outbox,
        clock: Clock,
        *,
        wait: wait_base | None = None,
        sleep: Callable[[float], Coroutine[Any, Any, None]] = asyncio.sleep,
    ) -> None:
        self._sink = sink
        self._outbox = outbox
        self._clock = clock
        self._wait = wait or backoff()
        self._sleep = sleep
        self.sink = sink.name
        self.delivered = 0
        """Events that the sink accepted since the start."""
        self.dead_letters = 0
        """Events that the sink refused permanently since the start."""
        self.failing_since: float | None = None
        """When the sink began to fail, in steady time; None while it works."""
        self.last_error: str | None = None
        """The text of the latest failure, kept after recovery."""

    async def run(self, stop: Stop) -> None:
        """Deliver until `stop` is set and the outbox holds no more events for this sink.

        Set `stop` when no more assets will be settled. If the sink fails then, it is retried until this call is
        cancelled, at the end of the grace period; events that it did not accept stay in the outbox.
        """
        self._sink.resume(await self._outbox.checkpoint(self.sink))
        try:
            while events := await self._next(stop):
                await self._deliver(events, stop)
        finally:
            await self._sink.close()

    async def _next(self, stop: Stop) -> Sequence[Stored]:
        while True:
            last = stop.is_set()
            events = await self._outbox.read(self.sink, BATCH_EVENTS)
            if events or last:
                return first_bytes(events, BATCH_BYTES)
            await stop.race(self._outbox.wait(self.sink))

    async def _deliver(self, events: Sequence[Stored], stop: Stop) -> None:
        try:
            sent: Sent = await self._retrying(stop)(self._send, events)
        except SinkRefusedError as error:
            self._recovered()
            await self._dead_letter(events[0], str(error))
            return
        self._recovered()
        await self._outbox.advance(self.sink, events[sent.count - 1].position, sent.checkpoint)
        self.delivered += sent.count

    async def _send(self, events: Sequence[Stored]) -> Sent:
        while True:
            sent = await self._sink.send(events)
            if sent.count:
                return sent
            await self._outbox.advance(self.sink, events[0].position - 1, sent.checkpoint)

    async def _dead_letter(self, event: Stored, reason: str) -> None:
        await self._outbox.dead_letter(self.sink, event, reason)
        await self._outbox.advance(self.sink, event.position, await self._outbox.checkpoint(self.sink))
        self.dead_letters += 1
        _log.error("sink.dead_letter", sink=self.sink, id=event.id, reason=reason)

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
            before_sleep=self._failed,
            reraise=True,
        )

    def _failed(self, state: RetryCallState) -> None:
        self.last_error = str(state.outcome.exception()) if state.outcome else None
        if self.failing_since is None:
            self.failing_since = self._clock.steady()
            wait = state.next_action.sleep if state.next_action else 0.0
            _log.error("sink.failed", sink=self.sink, error=self.last_error, retry_in=round(wait, 3))

    def _recovered(self) -> None:
        if self.failing_since is not None:
            failed_for = self._clock.steady() - self.failing_since
            self.failing_since = None
            _log.info("sink.recovered", sink=self.sink, failed_for=round(failed_for, 3))
