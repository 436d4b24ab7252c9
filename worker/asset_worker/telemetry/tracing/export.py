"""Sends spans while the worker runs: those of assets from the outbox, all others from memory.

The spans of assets have a durable position in the outbox, which moves on once the collector has them. So a crash loses
none, and what it repeats has the same IDs. Nobody waits for the export: not the inputs, not the sinks, and the end of
the run at most `STOP_SECONDS`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, Protocol, TypeVar

from asset_worker.domain.events import Redact, Stored
from asset_worker.runtime.clock import Clock
from asset_worker.runtime.log import get_logger
from asset_worker.runtime.stop import Stop
from asset_worker.runtime.threads import WorkerThread
from asset_worker.telemetry.spells import Spells
from asset_worker.telemetry.tracing.context import AssetTraces
from asset_worker.telemetry.tracing.looks import SeenChanges
from asset_worker.telemetry.tracing.results import Refused, Result, Sent, Unavailable
from asset_worker.telemetry.tracing.spans import Span, SpanEvent, asset_span, redacted
from asset_worker.telemetry.tracing.waiting_spans import MOST_SPANS, WaitingSpans

T = TypeVar("T")
_log = get_logger()

BATCH: Final = 512
"""Spans of each kind in one request at most: the default of OpenTelemetry's batch processor."""
GATHER_SECONDS: Final = 1.0
"""Spans wait so long for others, with which they share a request and a write of the position."""
MOST_EVENTS_BEHIND: Final = 4_096
"""Events that are kept for the export at most: some minutes of a busy worker, and a few megabytes."""
STOP_SECONDS: Final = 0.9
"""The end of the run waits so long for the collector, what `LOAD_SECONDS` is for included."""
LOAD_SECONDS: Final = 2.0
"""A run that ends before OpenTelemetry is loaded waits so long for that: it takes half a second, or more on a busy
machine, and a short run would otherwise send nothing."""
LEAST_STOP_SECONDS: Final = 0.3
"""However long that took, the collector gets so much of the end."""
FIRST_BACKOFF_SECONDS: Final = 1.0
LONGEST_BACKOFF_SECONDS: Final = 30.0
CHECK_SECONDS: Final = 1.0
"""How often the backlog is checked while the collector is waited for."""


class Outbox(Protocol):
    """The events, as the export reads them."""

    async def read(self, reader: str, limit: int, /) -> list[Stored]:
        """Return the events after the reader's position, in order, at most `limit`."""
        ...

    async def wait(self, reader: str, /) -> None:
        """Wait until there may be events to read."""
        ...

    async def advance(self, reader: str, position: int, checkpoint: bytes | None, /) -> None:
        """Record that the reader has all events up to `position`; durable when this returns."""
        ...

    def position(self, reader: str, /) -> int:
        """Return the position up to which the reader has all events."""
        ...

    def owed(self, reader: str, /) -> int:
        """Return how many events the reader lacks."""
        ...

    async def move_on(self, reader: str, /, *, keep: int) -> int:
        """Let the reader pass all but the last `keep` events. Return how many it misses for it."""
        ...


class Sender(Protocol):
    """Sends spans to a collector, blocking."""

    def send(self, spans: Sequence[Span], /) -> Result:
        """Send spans, once."""
        ...


class SpanExport:
    """Sends spans to the collector."""

    def __init__(
        self,
        outbox: Outbox,
        reader: str,
        *,
        traces: AssetTraces,
        changes: SeenChanges,
        waiting: WaitingSpans,
        open_sender: Callable[[], Sender],
        thread: WorkerThread,
        clock: Clock,
        redact: Redact,
    ) -> None:
        """Nothing starts yet.

        Args:
            outbox: the events.
            reader: the name of the export in it.
            traces: where the spans of assets are.
            changes: what looks have shown; those of an asset are forgotten once its span is sent.
            waiting: the spans of requests and deliveries.
            open_sender: is called in the thread when the context begins, and before the next attempt if it fails.
            thread: the thread in which spans are sent.
            clock: the clock.
            redact: removes secrets.
        """
        self._outbox = outbox
        self._reader = reader
        self._traces = traces
        self._changes = changes
        self._waiting = waiting
        self._open_sender = open_sender
        self._sender: Sender | None = None
        self._thread = thread
        self._clock = clock
        self._redact = redact
        self._stop = Stop()
        self._failures = 0
        """Attempts in a row after which spans are sent again."""
        self._failing_since: float | None = None
        """Since when no spans could be sent, in steady time, if that is logged; None: they can, or it is not."""
        self._spells = Spells()
        self.dropped = 0
        """Spans since the start that the collector will never have."""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Send spans within the context. Its end waits at most `STOP_SECONDS` for what is left, once it can be sent."""
        loading = asyncio.create_task(self._thread.run(self._opened_sender), name="opentelemetry")
        task = asyncio.create_task(self._run(), name="traces")
        try:
            yield
        finally:
            self._stop.set("stopping")
            began = self._clock.monotonic()
            await asyncio.wait([loading], timeout=LOAD_SECONDS)
            left = began + STOP_SECONDS - self._clock.monotonic()
            await asyncio.wait([task], timeout=max(left, LEAST_STOP_SECONDS))
            loading.cancel()
            task.cancel()
            await asyncio.gather(loading, task, return_exceptions=True)
            self._thread.close()

    async def _run(self) -> None:
        while True:
            await self._stop.race(self._wait_for_spans())
            if self._stop.is_set() and (self._failures or not self._has_spans()):
                return
            try:
                result = await self._send_some()
            except Exception as error:  # noqa: BLE001 - a broken journal ends the worker, if need be, and not its traces
                result = Unavailable(f"{type(error).__name__}: {error}")
            if isinstance(result, Unavailable):
                self._failed(result.why)
                await self._back_off()
            elif result is not None:
                self._recovered()

    def _has_spans(self) -> bool:
        return bool(self._waiting or self._outbox.owed(self._reader))

    async def _wait_for_spans(self) -> None:
        """Wait until there is a span, and then for others, as long as they don't fill a request."""
        tasks = [asyncio.ensure_future(each) for each in (self._waiting.wait(), self._outbox.wait(self._reader))]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
        if self._outbox.owed(self._reader) < BATCH:
            with suppress(TimeoutError):
                async with asyncio.timeout(GATHER_SECONDS):
                    await self._waiting.wait(BATCH)

    async def _send_some(self) -> Result | None:
        """Send what waits, in one request, and record that. None: there was nothing to be sent."""
        await self._move_on()
        events = await self._outbox.read(self._reader, BATCH)
        looks = [self._changes.of(event.id) for event in events]
        others = self._waiting.first(BATCH)
        result, count = await self._while_watching(self._thread.run(self._send, events, looks, others))
        match result:
            case Unavailable():
                return result
            case Refused(why):
                self._drop(count, why)
            case Sent(rejected, why) if rejected:
                self._drop(rejected, f"the collector rejects them: {self._redact(why)}")
        self._waiting.remove(len(others))
        for event in events:
            self._changes.forget(event.id)
        # It may have been moved on meanwhile.
        if events and events[-1].position > self._outbox.position(self._reader):
            await self._outbox.advance(self._reader, events[-1].position, None)
        return result

    async def _while_watching(self, sending: Coroutine[Any, Any, T]) -> T:
        """Return what the thread returns. The backlog is watched meanwhile: an answer may never come."""
        task = asyncio.ensure_future(sending)
        try:
            while not task.done():
                await asyncio.wait([task], timeout=CHECK_SECONDS)
                await self._move_on()
            return task.result()
        finally:
            task.cancel()

    def _send(
        self, events: Sequence[Stored], looks: Sequence[Sequence[SpanEvent]], others: Sequence[Span]
    ) -> tuple[Result | None, int]:
        """Send the spans of assets and others, in the thread. Return what became of them, and how many they were."""
        assets = (asset_span(event, self._traces, seen) for event, seen in zip(events, looks, strict=True))
        spans = [redacted(each, self._redact) for each in (*filter(None, assets), *others) if each.context.is_sampled]
        if not spans:
            return None, 0
        try:
            return self._opened_sender().send(spans), len(spans)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with the SDK or its settings
            return Unavailable(f"{type(error).__name__}: {error}"), len(spans)

    def _opened_sender(self) -> Sender:
        """Return what sends spans; in the thread: loading OpenTelemetry takes half a second."""
        if self._sender is None:
            self._sender = self._open_sender()
        return self._sender

    async def _back_off(self) -> None:
        """Wait for the next attempt, and watch the backlog meanwhile."""
        seconds = min(FIRST_BACKOFF_SECONDS * 2.0 ** min(self._failures - 1, 9), LONGEST_BACKOFF_SECONDS)
        until = self._clock.monotonic() + seconds
        while (left := until - self._clock.monotonic()) > 0 and not self._stop.is_set():
            await self._stop.sleep(min(left, CHECK_SECONDS))
            with suppress(Exception):  # reported by the next attempt
                await self._move_on()

    async def _move_on(self) -> None:
        if missed := await self._outbox.move_on(self._reader, keep=MOST_EVENTS_BEHIND):
            self._drop(missed, f"more than {MOST_EVENTS_BEHIND} events wait for the collector")
        if dropped := self._waiting.take_dropped():
            self._drop(dropped, f"more than {MOST_SPANS} spans of requests and deliveries wait for the collector")

    def _drop(self, count: int, why: str) -> None:
        self.dropped += count
        if self._spells.report("dropped", self._clock.monotonic()) is not None:
            _log.warning("traces.dropped", reason=why, dropped=self.dropped)

    def _failed(self, why: str) -> None:
        self._failures += 1
        begins = self._spells.report("failed", self._clock.monotonic()) is not None
        if begins and self._failing_since is None:
            self._failing_since = self._clock.steady()
            _log.warning("traces.failed", error=self._redact(why))

    def _recovered(self) -> None:
        self._failures = 0
        if self._failing_since is not None:
            failed_for = self._clock.steady() - self._failing_since
            self._failing_since = None
            _log.info("traces.recovered", failed_for=round(failed_for, 3), dropped=self.dropped)
