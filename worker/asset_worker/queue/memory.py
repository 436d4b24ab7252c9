"""The queue in memory: for `wait`, which keeps nothing between runs, and for tests.

It keeps the promises of `ports.py` as long as the process lives. It never forgets which assets were settled, so its
memory grows with each asset of the run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from math import inf
from types import MappingProxyType

from asset_worker.domain.assets import AssetId
from asset_worker.domain.events import Event, Stored
from asset_worker.domain.progress import Progress
from asset_worker.domain.submissions import Submission
from asset_worker.queue.pending import PendingAssets
from asset_worker.queue.ports import Lease
from asset_worker.queue.sink_positions import SinkPositions
from asset_worker.runtime.clock import Clock


class MemoryOutbox:
    """Events to send, in the order in which they came; dropped when every sink has them."""

    def __init__(self, sinks: Sequence[str]) -> None:
        self._events: list[Stored] = []
        self._last = 0
        self._sinks = SinkPositions(dict.fromkeys(sinks, (0, None)), last=0)
        self.dead_letters: dict[tuple[str, int], tuple[Stored, str]] = {}
        """What a sink refused for good and why, by the sink and the event's position."""

    def add(self, events: Iterable[Event]) -> None:
        """Put events into the outbox, in this order."""
        for event in events:
            self._last += 1
            self._events.append(Stored(self._last, event.id, event.body))
        self._sinks.add(self._last)

    def depth(self) -> int:
        """How many events at least one sink does not have yet."""
        return self._sinks.depth()

    async def wait(self, sink: str) -> None:
        """Return when there are events to read."""
        await self._sinks.wait(sink)

    async def read(self, sink: str, limit: int) -> list[Stored]:
        """The first `limit` events that this sink does not have, in order."""
        dropped = self._last - len(self._events)
        start = self._sinks.position(sink) - dropped
        return self._events[start : start + limit]

    async def checkpoint(self, sink: str) -> bytes | None:
        """What the sink recorded last with its position."""
        return self._sinks.checkpoint(sink)

    async def advance(self, sink: str, position: int, checkpoint: bytes | None) -> None:
        """This sink has all events up to this position."""
        self._sinks.advance(sink, position, checkpoint)
        dropped = self._last - len(self._events)
        del self._events[: self._sinks.done_by_all(sink, position) - dropped]

    async def dead_letter(self, sink: str, event: Stored, reason: str) -> None:
        """Keep an event that this sink refused for good."""
        self.dead_letters[sink, event.position] = (event, reason)


class MemoryQueue(PendingAssets):
    """A `QueueEngine` that keeps nothing when it is closed."""

    failing = False
    """There is nothing that could fail."""

    def __init__(self, clock: Clock, *, sinks: Sequence[str], dedupe_window: float, max_pending: int) -> None:
        """`sinks` are the names of those that read the outbox; the dedupe window is in seconds."""
        super().__init__(clock, max_pending=max_pending)
        self._dedupe_window = dedupe_window
        self._settled: dict[AssetId, tuple[int, float]] = {}
        """How often each asset was settled, and when last, in seconds since the epoch."""
        self._counts_outcomes = False
        self._outcomes: Counter[str] = Counter()
        self.outbox = MemoryOutbox(sinks)
        self.intakes: Mapping[str, bytes] = MappingProxyType({})

    async def put(
        self, submissions: Sequence[Submission], *, events: Sequence[Event], intake: str, position: bytes | None
    ) -> list[Submission]:
        """Accept submissions and events. The position is dropped: no later run could go on from it."""
        del intake, position
        now = self._clock.now()
        with self._accepting(submissions) as new:
            accepted = []
            for submission in new:
                count, settled_at = self._settled.get(submission.asset_id, (0, -inf))
                if settled_at < now - self._dedupe_window:
                    accepted.append((submission, count + 1))
            self._add(accepted, accepted_at=now)
        self._add_events(events)
        return [submission for submission, _ in accepted]

    async def defer(self, lease: Lease, delay: float, progress: Progress) -> None:
        """Not done: due again in `delay` seconds."""
        self._postpone(lease, delay, progress)

    async def settle(self, lease: Lease, event: Event) -> None:
        """Done: no longer pending, and the event is in the outbox."""
        self._settled[lease.submission.asset_id] = (lease.completion, self._clock.now())
        self._remove(lease)
        self._add_events([event])

    def _add_events(self, events: Sequence[Event]) -> None:
        self.outbox.add(events)
        if self._counts_outcomes:
            self._outcomes.update(event.outcome.value for event in events)

    def outbox_depth(self) -> int:
        """How many events at least one sink does not have yet."""
        return self.outbox.depth()

    async def begin(self, *, ends_by_itself: bool) -> None:
        """From now on the outcomes of a run that ends by itself are counted."""
        self._counts_outcomes = ends_by_itself

    async def run_maintenance(self) -> None:
        """Return at once: there is nothing to maintain."""

    async def finish(self) -> Mapping[str, int]:
        """The outcomes since `begin`."""
        return dict(self._outcomes)

    async def close(self) -> None:
        """Nothing is held."""


@asynccontextmanager
async def open_memory_queue(
    clock: Clock, *, sinks: Sequence[str], dedupe_window: float, max_pending: int
) -> AsyncIterator[MemoryQueue]:
    """An empty queue, kept for as long as this context."""
    queue = MemoryQueue(clock, sinks=sinks, dedupe_window=dedupe_window, max_pending=max_pending)
    try:
        yield queue
    finally:
        await queue.close()
