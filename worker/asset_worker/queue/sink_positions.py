"""The positions of the sinks in an outbox, and how many events each lacks, wherever an engine keeps the events."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from asset_worker.queue.outbox_readers import is_reader
from asset_worker.queue.room import Room


class SinkPositions:
    """Each sink's position and checkpoint; also lets a sink wait for new events."""

    def __init__(
        self,
        sinks: Mapping[str, tuple[int, bytes | None]],
        room: Room,
        *,
        last: int,
        held: Mapping[str, int] | None = None,
        records: Mapping[str, int] | None = None,
    ) -> None:
        """Begin with these positions.

        Args:
            sinks: the position and checkpoint of each sink, and of each reader (`outbox_readers`).
            room: is taken by the events that the slowest sink lacks.
            last: the position of the outbox's last event.
            held: the positions of sinks that are absent, and for which events are kept.
            records: how many events each sink has passed without having them: each has a record of its own.
        """
        self._positions = {name: position for name, (position, _) in sinks.items()}
        self._checkpoints = {name: checkpoint for name, (_, checkpoint) in sinks.items()}
        self._held = dict(held or {})
        self._records = {name: (records or {}).get(name, 0) for name in sinks}
        self.last = last
        """The position of the outbox's last event."""
        self._added = {name: asyncio.Event() for name in sinks}
        self._room = room
        room.set_undelivered(self.depth())

    def add(self, last: int) -> None:
        """Record that the outbox now holds events up to position `last`, and wake the sinks that wait for them."""
        if last > self.last:
            self.last = last
            self._room.set_undelivered(self.depth())
            for event in self._added.values():
                event.set()

    def position(self, sink: str) -> int:
        """Return the position that this sink has passed: up to it, it lacks only events that have a record."""
        return self._positions[sink]

    def checkpoint(self, sink: str) -> bytes | None:
        """Return the checkpoint that was last recorded with the sink's position; None: there is none."""
        return self._checkpoints[sink]

    def has_passed_all(self, sink: str) -> bool:
        """Return whether there is no event after this sink's position."""
        return self._positions[sink] >= self.last

    def add_records(self, sink: str, count: int) -> None:
        """Record that there are so many more such events; fewer, if `count` is negative."""
        self._records[sink] += count
        self._room.set_undelivered(self.depth())

    def owed(self, sink: str) -> int:
        """Return how many events this sink lacks."""
        # An event may be recorded before `add` is called for it: both are in the same transaction.
        return max(0, self.last - self._positions[sink]) + self._records[sink]

    def depth(self) -> int:
        """Return how many events the sink furthest behind still lacks. Absent sinks and readers don't count."""
        return max((self.owed(name) for name in self._positions if not is_reader(name)), default=0)

    async def wait(self, sink: str) -> None:
        """Wait until there are events after this sink's position."""
        while self.has_passed_all(sink):
            self._added[sink].clear()
            await self._added[sink].wait()

    def done_by_all(self, sink: str, position: int) -> int:
        """Return up to which position no event is needed any more once this sink has reached `position`."""
        others = (reached for name, reached in self._positions.items() if name != sink)
        return min([position, *others, *self._held.values()])

    @property
    def passed_by_all(self) -> int:
        """Up to which position no event is needed any more, except by records."""
        return min([*self._positions.values(), *self._held.values()], default=0)

    def others(self, sink: str) -> list[str]:
        """Return the other sinks for which events are kept, absent ones included."""
        return [name for name in (*self._positions, *self._held) if name != sink]

    def release(self, absent: str) -> int:
        """Keep no more events for an absent sink. Return up to which position no event is needed any more."""
        del self._held[absent]
        return self.passed_by_all

    def advance(self, sink: str, position: int, checkpoint: bytes | None) -> None:
        """Record that the sink has passed all events up to `position`."""
        self._positions[sink] = position
        self._checkpoints[sink] = checkpoint
        self._room.set_undelivered(self.depth())
