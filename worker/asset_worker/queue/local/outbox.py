"""Events to send: written with the settlement that made them, dropped when every sink has them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from asset_worker.domain.events import Stored
from asset_worker.queue.local.commits import Commits
from asset_worker.queue.local.journal import Journal


class LocalOutbox:
    """The journal's outbox, as sinks see it: each reads on from its own position."""

    def __init__(
        self,
        commits: Commits,
        *,
        sinks: Sequence[str],
        known: dict[str, tuple[int, bytes | None]],
        kept: tuple[int, int],
    ) -> None:
        """`known` is how far sinks had come before; `kept` are the positions of the first and the last event.

        A sink that is new, or was not there while events were dropped, starts with the oldest one that is kept.
        """
        first, last = kept
        self._commits = commits
        self._positions = {name: max(known.get(name, (0, None))[0], first - 1) for name in sinks}
        self._checkpoints = {name: known.get(name, (0, None))[1] for name in sinks}
        self._last = last
        self._added = {name: asyncio.Event() for name in sinks}

    def added(self, last: int) -> None:
        """Events up to this position are durable now."""
        if last > self._last:
            self._last = last
            for event in self._added.values():
                event.set()

    def depth(self) -> int:
        """How many events at least one sink does not have yet."""
        return self._last - min(self._positions.values(), default=self._last)

    def position(self, sink: str) -> int:
        return self._positions[sink]

    async def wait(self, sink: str) -> None:
        """Return when there may be events to read."""
        while self._positions[sink] >= self._last:
            self._added[sink].clear()
            await self._added[sink].wait()

    async def read(self, sink: str, limit: int) -> list[Stored]:
        """The first events that this sink does not have, in order."""
        position = self._positions[sink]
        if position >= self._last:
            return []
        rows = await self._commits.read(lambda journal: journal.events_after(position, limit))
        return [Stored(place, event_id, body) for place, event_id, body in rows]

    async def checkpoint(self, sink: str) -> bytes | None:
        """What the sink last recorded with its position."""
        return self._checkpoints[sink]

    async def advance(self, sink: str, position: int, checkpoint: bytes | None) -> None:
        """This sink has all events up to this position; durable when it returns."""
        others = (place for name, place in self._positions.items() if name != sink)
        done_by_all = min([position, *others])
        await self._commits.write(lambda journal: journal.advance(sink, position, checkpoint, done_by_all=done_by_all))
        self._positions[sink] = position
        self._checkpoints[sink] = checkpoint

    async def dead_letter(self, sink: str, event: Stored, reason: str) -> None:
        """Keep an event that this sink refused for good."""

        def change(journal: Journal) -> None:
            journal.dead_letter(sink, event.position, event.id, event.body, reason)

        await self._commits.write(change)
