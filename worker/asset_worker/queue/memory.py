"""The queue engine in memory: for `wait`, which keeps nothing between runs, for programs that embed it, and for tests.

It keeps the promises of `ports.py` while the process lives. How often an asset was settled is known for a week.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from math import inf
from types import MappingProxyType
from typing import Final

from asset_worker.domain.assets import AssetId
from asset_worker.domain.events import Event
from asset_worker.domain.progress import Progress
from asset_worker.domain.states import AssetState, SettledState, combined
from asset_worker.domain.submissions import Submission
from asset_worker.queue.memory_outbox import MemoryOutbox
from asset_worker.queue.pending import PendingAssets
from asset_worker.queue.ports import Lease
from asset_worker.queue.room import Room
from asset_worker.runtime.clock import Clock
from asset_worker.runtime.measures import SHORT_SECONDS, Operations

KEEP_COUNTS_SECONDS = 7 * 86400.0
"""Settlements are kept for seven dedupe windows, and at least this long, as by the engine with a journal."""


class MemoryQueue(PendingAssets):
    """A `QueueEngine` that keeps nothing when it is closed."""

    failure: Final = None
    """Always None: writing to memory doesn't fail."""

    def __init__(self, clock: Clock, *, sinks: Sequence[str], dedupe_window: float, max_pending: int) -> None:
        """`sinks` are the names of the sinks that read the outbox; `dedupe_window` is in seconds."""
        room = Room(max_pending, clock)
        super().__init__(clock, room)
        self._dedupe_window = dedupe_window
        self._settled: dict[AssetId, SettledState] = {}
        """How the last wait for each asset ended, without its event."""
        self._counts_outcomes = False
        self._outcomes: Counter[str] = Counter()
        self.outbox = MemoryOutbox(sinks, room)
        self.commits = Operations(SHORT_SECONDS)
        """Always empty: there is no journal."""
        self.intakes: Mapping[str, bytes] = MappingProxyType({})

    async def put(
        self,
        submissions: Sequence[Submission],
        *,
        events: Sequence[Event],
        intake: str,
        position: bytes | None,
        accepts_settled: bool = True,
    ) -> list[Submission]:
        """Accept submissions and events; see `Queue.put`. The position is dropped: no later run could use it."""
        del intake, position
        now = self._clock.steady()
        window_start = now - self._dedupe_window if accepts_settled else -inf
        asked = self._asked_for(submissions)
        with self._accepting(submissions) as new:
            accepted = []
            for submission in new:
                settled = self._settled.get(submission.asset_id)
                if settled is None or settled.completed_at < window_start:
                    accepted.append((submission, 1 if settled is None else settled.completion + 1))
            self._add(accepted, accepted_at=now)
        self._replace(asked.values())
        self._add_events(events)
        return [*(submission for submission, _ in accepted), *asked.values()]

    async def defer(self, lease: Lease, delay: float, progress: Progress, events: Sequence[Event] = ()) -> None:
        """End a lease: the asset stays pending, and is due again in `delay` seconds. Its events are in the outbox."""
        self._postpone(lease, delay, progress)
        self._add_events(events)

    async def settle(self, lease: Lease, event: Event, *, steps: Sequence[Event] = ()) -> None:
        """End a lease: the asset is no longer pending, and its event is in the outbox, after those of `steps`."""
        assert event.outcome is not None
        now, asset_id = self._clock.steady(), lease.submission.asset_id
        self._settled.pop(asset_id, None)  # so that they are in the order of settlement
        self._settled[asset_id] = SettledState(
            lease.completion, event.outcome.value, lease.accepted_at, now, event=None
        )
        self._forget_settled(before=now - max(7 * self._dedupe_window, KEEP_COUNTS_SECONDS))
        self._remove(lease)
        self._add_events([*steps, event])

    def drop(self, lease: Lease) -> None:
        """End a lease: the asset is no longer pending, and there is no event: nobody waits for it any more."""
        self._remove(lease)

    def _forget_settled(self, *, before: float) -> None:
        while self._settled:
            asset_id = next(iter(self._settled))
            if self._settled[asset_id].completed_at >= before:
                return
            del self._settled[asset_id]

    def _add_events(self, events: Sequence[Event]) -> None:
        self.outbox.add(events)
        if self._counts_outcomes:
            self._outcomes.update(event.outcome.value for event in events if event.outcome is not None)

    async def find(self, asset_id: AssetId) -> AssetState:
        """Return what is known of an asset; its event is not kept."""
        return combined(self.pending_state(asset_id), self._settled.get(asset_id))

    def outbox_depth(self) -> int:
        """Return how many events the sink furthest behind still lacks."""
        return self.outbox.depth()

    def dead_letters_by_sink(self) -> Mapping[str, int]:
        """Return how many events each sink refused for good."""
        return self.outbox.dead_letters

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
