"""The queue engine in memory: for `wait`, which keeps nothing between runs, and for tests.

It keeps the promises of `ports.py` while the process lives. It never forgets which assets were settled, so its memory
grows with each asset of the run.
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
from asset_worker.queue.room import Room
from asset_worker.queue.sink_positions import SinkPositions
from asset_worker.runtime.clock import Clock


class MemoryOutbox:
    """The events to send, in order. An event is dropped when every sink has it."""

    def __init__(self, sinks: Sequence[str], room: Room) -> None:
        self._events: list[Stored] = []
        self._last = 0
        self._sinks = SinkPositions(dict.fromkeys(sinks, (0, None)), room, last=0)

    def add(self, events: Iterable[Event]) -> None:
        """Put events into the outbox, in this order."""
        for event in events:
            self._last += 1
            self._events.append(Stored(self._last, event.id, event.body))
        self._sinks.add(self._last)

    def depth(self) -> int:
        """Return how many events have not reached every sink yet."""
        return self._sinks.depth()

    async def wait(self, sink: str) -> None:
        """Wait until there are events to read."""
        await self._sinks.wait(sink)

    async def read(self, sink: str, limit: int) -> list[Stored]:
        """Return the first `limit` events that this sink does not have, in order."""
        dropped = self._last - len(self._events)
        start = self._sinks.position(sink) - dropped
        return self._events[start : start + limit]

    async def checkpoint(self, sink: str) -> bytes | None:
        """Return the checkpoint that was last recorded with the sink's position; None: there is none."""
        return self._sinks.checkpoint(sink)

    async def advance(self, sink: str, position: int, checkpoint: bytes | None) -> None:
        """Record that the sink has all events up to `position`."""
        self._sinks.advance(sink, position, checkpoint)
        dropped = self._last - len(self._events)
        del self._events[: self._sinks.done_by_all(sink, position) - dropped]


class MemoryQueue(PendingAssets):
    """A `QueueEngine` that keeps nothing when it is closed."""

    failing = False
    """Always False: writing to memory doesn't fail."""

    def __init__(self, clock: Clock, *, sinks: Sequence[str], dedupe_window: float, max_pending: int) -> None:
        """`sinks` are the names of the sinks that read the outbox; `dedupe_window` is in seconds."""
        room = Room(max_pending, clock)
        super().__init__(clock, room)
        self._dedupe_window = dedupe_window
        self._settled: dict[AssetId, tuple[int, float]] = {}
        """How often each asset was settled, and when it last was, in steady time."""
        self._counts_outcomes = False
        self._outcomes: Counter[str] = Counter()
        self.outbox = MemoryOutbox(sinks, room)
        self.intakes: Mapping[str, bytes] = MappingProxyType({})

    async def put(
        self, submissions: Sequence[Submission], *, events: Sequence[Event], intake: str, position: bytes | None
    ) -> list[Submission]:
        """Accept submissions and events; see `Queue.put`. The position is dropped: no later run could use it."""
        del intake, position
        now = self._clock.steady()
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
        """End a lease: the asset stays pending, and is due again in `delay` seconds."""
        self._postpone(lease, delay, progress)

    async def settle(self, lease: Lease, event: Event) -> None:
        """End a lease: the asset is no longer pending, and its event is in the outbox."""
        self._settled[lease.submission.asset_id] = (lease.completion, self._clock.steady())
        self._remove(lease)
        self._add_events([event])

    def _add_events(self, events: Sequence[Event]) -> None:
        self.outbox.add(events)
        if self._counts_outcomes:
            self._outcomes.update(event.outcome.value for event in events)

    def outbox_depth(self) -> int:
        """Return how many events have not reached every sink yet."""
        return self.outbox.depth()

    async def begin(self, *, ends_by_itself: bool) -> None:
        """Begin a run. If it ends by itself, its outcomes are counted."""
        self._counts_outcomes = ends_by_itself

    async def run_maintenance(self) -> None:
        """Return at once: there is nothing to maintain."""

    async def finish(self) -> Mapping[str, int]:
        """Return the count of each outcome since `begin`; empty for a run that does not end by itself."""
        return dict(self._outcomes)

    async def close(self) -> None:
        """Do nothing: there is nothing to release."""


@asynccontextmanager
async def open_memory_queue(
    clock: Clock, *, sinks: Sequence[str], dedupe_window: float, max_pending: int
) -> AsyncIterator[MemoryQueue]:
    """Open an empty queue for the length of the context. `dedupe_window` is in seconds."""
    queue = MemoryQueue(clock, sinks=sinks, dedupe_window=dedupe_window, max_pending=max_pending)
    try:
        yield queue
    finally:
        await queue.close()
