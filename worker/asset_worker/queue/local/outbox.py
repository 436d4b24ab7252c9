"""The outbox in the journal: events are written with their settlements, and deleted when every sink has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
import structlog

from asset_worker.domain.events import Stored
from asset_worker.queue.absent_sinks import SinkState, seconds_left, states_at_start
from asset_worker.queue.local.commits import Commits
from asset_worker.queue.local.journal import Journal
from asset_worker.queue.room import Room
from asset_worker.queue.sink_positions import SinkPositions

_log = structlog.get_logger()

PUT_IT_BACK = "put it back into events.sinks within that time, and it gets them; or else they are dropped"


class LocalOutbox:
    """The journal's outbox, as deliveries use it: each sink has its own position."""

    def __init__(
        self,
        commits: Commits,
        room: Room,
        *,
        sinks: Sequence[str],
        known: Mapping[str, SinkState],
        kept: tuple[int, int],
        now: float,
        window: float,
    ) -> None:
        """Take over the positions of an earlier run.

        Args:
            commits: reads and writes the journal.
            room: is taken by the events that the slowest sink lacks.
            sinks: the names of the sinks of this run.
            known: the state of each sink of earlier runs.
            kept: the positions of the first and the last event in the outbox.
            now: the steady time.
            window: for how many seconds events are kept for a sink that is absent from the settings.
        """
        first, last = kept
        self._commits = commits
        self._window = window
        states = states_at_start(known, sinks, first=first, last=last, now=now)
        self._changed = {name: state for name, state in states.items() if known.get(name) != state}
        self._held = {name: state for name, state in states.items() if state.is_held}
        self._sinks = SinkPositions(
            {name: (states[name].position, states[name].checkpoint) for name in sinks},
            room,
            last=last,
            held={name: state.position for name, state in self._held.items()},
        )

    async def begin(self, now: float) -> None:
        """Record which sinks there are; log what is kept for absent ones, or drop it if its time is over."""
        held = self._held

        def change(journal: Journal) -> dict[str, int]:
            for name, state in self._changed.items():
                journal.set_sink(name, state)
            return {name: journal.count_events_after(state.position) for name, state in held.items()}

        counts = await self._commits.write(change)
        for name, count in counts.items():
            left = seconds_left(held[name], now=now, window=self._window)
            if left > 0:
                _log.warning("sink.absent", sink=name, events=count, kept_for=round(left), advice=PUT_IT_BACK)
        await self.drop_expired(now)

    async def drop_expired(self, now: float) -> None:
        """Drop the events of absent sinks for which they have been kept long enough."""
        for name, state in list(self._held.items()):
            if seconds_left(state, now=now, window=self._window) <= 0:
                del self._held[name]
                await self._drop(name, state)

    async def _drop(self, name: str, state: SinkState) -> None:
        unneeded = self._sinks.release(name)

        def change(journal: Journal) -> int:
            count = journal.count_events_after(state.position)
            journal.set_sink(name, msgspec.structs.replace(state, is_released=True))
            journal.delete_events(unneeded)
            return count

        count = await self._commits.write(change)
        _log.warning("sink.dropped", sink=name, events=count)

    def add(self, last: int) -> None:
        """Record that events up to position `last` are durable now."""
        self._sinks.add(last)

    def depth(self) -> int:
        """Return how many events have not reached every sink yet."""
        return self._sinks.depth()

    async def wait(self, sink: str) -> None:
        """Wait until there are events to read."""
        await self._sinks.wait(sink)

    async def read(self, sink: str, limit: int) -> list[Stored]:
        """Return the first `limit` events that this sink does not have, in order."""
        if self._sinks.has_all(sink):
            return []
        position = self._sinks.position(sink)
        rows = await self._commits.read(lambda journal: journal.events_after(position, limit))
        return [Stored(place, event_id, body) for place, event_id, body in rows]

    async def checkpoint(self, sink: str) -> bytes | None:
        """Return the checkpoint that was last recorded with the sink's position; None: there is none."""
        return self._sinks.checkpoint(sink)

    async def advance(self, sink: str, position: int, checkpoint: bytes | None) -> None:
        """Record that the sink has all events up to `position`; durable when this returns."""
        done_by_all = self._sinks.done_by_all(sink, position)
        await self._commits.write(lambda journal: journal.advance(sink, position, checkpoint, done_by_all=done_by_all))
        self._sinks.advance(sink, position, checkpoint)
