"""The outbox in the journal: events are written with their settlements, and deleted when every sink has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from asset_worker.domain.events import Stored
from asset_worker.queue.local.commits import Commits
from asset_worker.queue.local.journal import Journal
from asset_worker.queue.sink_positions import SinkPositions


class LocalOutbox:
    """The journal's outbox, as deliveries use it: each sink has its own position."""

    def __init__(
        self,
        commits: Commits,
        *,
        sinks: Sequence[str],
        known: Mapping[str, tuple[int, bytes | None]],
        kept: tuple[int, int],
    ) -> None:
        """Take over the positions of an earlier run.

        Args:
            commits: reads and writes the journal.
            sinks: the names of the sinks of this run.
            known: the position and checkpoint of each sink of earlier runs.
            kept: the positions of the first and the last event in the outbox.

        A sink that is new, or was not in use while events were deleted, starts with the oldest event that is kept.
        """
        first, last = kept
        self._commits = commits
        found = {name: known.get(name, (0, None)) for name in sinks}
        self._sinks = SinkPositions(
            {name: (max(position, first - 1), checkpoint) for name, (position, checkpoint) in found.items()}, last=last
        )

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

    async def dead_letter(self, sink: str, event: Stored, reason: str) -> None:
        """Keep an event that the sink refused permanently; durable when this returns. A repeat changes nothing."""

        def change(journal: Journal) -> None:
            journal.dead_letter(sink, event.position, event.id, event.body, reason)

        await self._commits.write(change)
