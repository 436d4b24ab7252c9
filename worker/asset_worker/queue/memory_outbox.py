"""The outbox in memory, for the engine that keeps nothing between runs."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from operator import attrgetter

import msgspec

from asset_worker.domain.deliveries import Condition, Owed, Taken
from asset_worker.domain.events import Event, Stored, heading_of, made_at
from asset_worker.queue.room import Room
from asset_worker.queue.sink_positions import SinkPositions

_due_order = attrgetter("next_at", "event.position")


class MemoryOutbox:
    """The events to send, in order. An event is dropped when no sink needs it any more.

    Dead letters are counted and dropped: no command could show them.
    """

    def __init__(self, sinks: Sequence[str], room: Room) -> None:
        self._events: dict[int, Stored] = {}
        """By position, in order."""
        self._sinks = SinkPositions(dict.fromkeys(sinks, (0, None)), room, last=0)
        self._dropped = 0
        """The position up to which all sinks have passed the events."""
        self._records: dict[str, dict[int, Owed]] = {name: {} for name in sinks}
        """The records of each sink, by the position of their event."""
        self._never = asyncio.Event()
        self.dead_letters: Counter[str] = Counter()
        """How many events each sink refused for good."""

    def add(self, events: Iterable[Event]) -> None:
        """Put events into the outbox, in this order."""
        last = self._sinks.last
        for event in events:
            last += 1
            self._events[last] = Stored(last, event.id, event.body)
        self._sinks.add(last)

    def depth(self) -> int:
        """Return how many events the sink furthest behind still lacks."""
        return self._sinks.depth()

    def owed(self, sink: str) -> int:
        """Return how many events the sink lacks: those with a record, and those after its position."""
        return self._sinks.owed(sink)

    def oldest_at(self, sink: str) -> float | None:
        """Return when the oldest event was made that the sink lacks; see `Outbox.oldest_at`."""
        oldest = min([*self._records[sink], self._sinks.position(sink) + 1])
        return made_at(self._events[oldest]) if self.owed(sink) else None

    async def wait(self, sink: str) -> None:
        """Wait until there are events after the sink's position."""
        await self._sinks.wait(sink)

    async def read(self, sink: str, limit: int) -> list[Stored]:
        """Return the first `limit` events after the sink's position, in order."""
        start = self._sinks.position(sink) + 1
        return [self._events[position] for position in range(start, min(start + limit, self._sinks.last + 1))]

    async def checkpoint(self, sink: str) -> bytes | None:
        """Return the checkpoint that was last recorded with the sink's position; None: there is none."""
        return self._sinks.checkpoint(sink)

    async def advance(self, sink: str, position: int, checkpoint: bytes | None) -> None:
        """Record that the sink has all events up to `position`."""
        self._sinks.advance(sink, position, checkpoint)
        dropped, self._dropped = self._dropped, self._sinks.done_by_all(sink, position)
        for each in range(dropped + 1, self._dropped + 1):
            self._drop_unneeded(each)

    def position(self, reader: str) -> int:
        """Return the position up to which a reader has all events."""
        return self._sinks.position(reader)

    async def move_on(self, reader: str, *, keep: int) -> int:
        """Let a reader pass all but the last `keep` events. Return how many it misses for it."""
        if (missed := self.owed(reader) - keep) <= 0:
            return 0
        await self.advance(reader, self.position(reader) + missed, None)
        return missed

    async def take(
        self,
        sink: str,
        limit: int,
        *,
        now: float,
        until: float,
        without: Collection[int],
        wants: Callable[[Stored], bool],
        transitions: int = 0,
    ) -> Taken:
        """Return at most `limit` events to send now; see `IndependentOutbox.take`."""
        records = self._records[sink]
        later = [owed.next_at for position, owed in records.items() if position not in without and owed.next_at > until]
        events = self._due(sink, limit, 0, until=until, without=without)
        superseded: list[str] = []
        while len(events) < limit and (new := await self.read(sink, 1)):
            if wants(new[0]):
                superseded += (gone := await self._make_way(sink, new[0], now=now, without=without))
                events = [owed for owed in events if owed.event.id not in gone]
                owed = self._record(sink, new[0], now)
                if self._is_first(sink, owed) and not owed.is_transition:
                    events.append(owed)
            await self.advance(sink, new[0].position, None)
        known = {*without, *(owed.event.position for owed in events)}
        events += self._due(sink, limit - len(events), transitions, until=until, without=known)
        holding_up = (position for position, owed in records.items() if self._holds_up(sink, owed))
        return Taken(events, min(later, default=None), tuple(superseded), tuple(holding_up))

    def _due(self, sink: str, limit: int, transitions: int, *, until: float, without: Collection[int]) -> list[Owed]:
        """Return what is due: what does not give way, then at most `transitions` of what does."""
        candidates = sorted(
            (
                owed
                for position, owed in self._records[sink].items()
                if position not in without and owed.next_at <= until and self._is_first(sink, owed)
            ),
            key=_due_order,
        )
        yielding = [owed for owed in candidates if owed.is_transition and not self._holds_up(sink, owed)]
        due = [owed for owed in candidates if owed not in yielding][:limit]
        return [*due, *yielding[: min(limit - len(due), transitions)]]

    async def wait_for_retry(self, sink: str) -> None:
        """Wait for ever: nobody can ask for a retry."""
        del sink
        await self._never.wait()

    async def delivered(self, sink: str, position: int, *, now: float) -> None:
        """Delete the record of an event that the sink accepted. The asset's next event is due `now`."""
        owed = self._records[sink].pop(position, None)
        if owed is None:
            return
        self._sinks.add_records(sink, -1)
        if (following := min(self._of_same_asset(sink, owed), key=_position, default=None)) is not None:
            self._replace(sink, following, next_at=min(now, following.next_at))
        if position <= self._dropped:
            self._drop_unneeded(position)

    async def failed(
        self, sink: str, position: int, *, attempts: int, first_at: float, now: float, next_at: float, error: str
    ) -> tuple[str, ...]:
        """Change the record of an event that was not accepted, or supersede it; see `IndependentOutbox.failed`."""
        del error
        owed = self._records[sink].get(position)
        if owed is None:
            return ()
        if superseded := await self._supersede_with(sink, owed, now=now):
            return superseded
        self._records[sink][position] = msgspec.structs.replace(
            owed, attempts=attempts, first_at=first_at, next_at=next_at
        )
        for each in self._of_same_asset(sink, owed):
            if each.event.position > position:
                self._replace(sink, each, next_at=max(next_at, each.next_at))
        return ()

    async def dead_letter(
        self, sink: str, position: int, *, attempts: int, first_at: float, now: float, reason: str
    ) -> tuple[str, ...]:
        """Count a dead letter, and all that are superseded with it. The asset's next event is due `now`."""
        del attempts, first_at, reason
        owed = self._records[sink].get(position)
        if owed is None:
            return ()
        if superseded := await self._supersede_with(sink, owed, now=now):
            return superseded
        self.dead_letters[sink] += 1
        await self.delivered(sink, position, now=now)
        return ()

    async def make_all_due(self, sink: str, *, now: float) -> None:
        """Make every event with a record due `now` that would be due later."""
        for owed in [each for each in self._records[sink].values() if self._is_first(sink, each)]:
            self._replace(sink, owed, next_at=min(now, owed.next_at))

    async def condition(self, sink: str) -> Condition | None:
        """Return None: there was no earlier run."""
        del sink
        return None

    async def set_condition(self, sink: str, condition: Condition | None) -> None:
        """Do nothing: nobody can ask for the status."""

    def _record(self, sink: str, event: Stored, now: float) -> Owed:
        heading = heading_of(event)
        owed = Owed(event, heading.subject, 0, None, now, heading.is_transition)
        earlier = [each.next_at for each in self._of_same_asset(sink, owed)]
        owed = msgspec.structs.replace(owed, next_at=max([now, *earlier]))
        self._records[sink][event.position] = owed
        self._sinks.add_records(sink, 1)
        return owed

    async def _supersede_with(self, sink: str, owed: Owed, *, now: float) -> tuple[str, ...]:
        """If this is a transition that holds up a completion, supersede all that do. Return their IDs."""
        if not self._holds_up(sink, owed):
            return ()
        all_of_them = [owed, *(each for each in self._of_same_asset(sink, owed) if each is not owed)]
        superseded = [each for each in all_of_them if self._holds_up(sink, each)]
        await self._supersede(sink, superseded, now=now)
        return tuple(each.event.id for each in superseded)

    async def _supersede(self, sink: str, superseded: Iterable[Owed], *, now: float) -> None:
        for each in superseded:
            self.dead_letters[sink] += 1
            await self.delivered(sink, each.event.position, now=now)

    async def _make_way(self, sink: str, event: Stored, *, now: float, without: Collection[int]) -> list[str]:
        """Make way for an event that is about to get a record, if it is the completion of an asset.

        Return the IDs of the transitions that are superseded.
        """
        heading = heading_of(event)
        if heading.subject is None or heading.is_transition:
            return []
        earlier = [
            each for each in self._records[sink].values() if each.asset_id == heading.subject and each.is_transition
        ]
        waiting = [each for each in earlier if each.first_at is not None and each.next_at > now]
        if not waiting:
            return []
        superseded = [each for each in earlier if each in waiting or each.event.position not in without]
        await self._supersede(sink, superseded, now=now)
        return [each.event.id for each in superseded]

    def _holds_up(self, sink: str, owed: Owed) -> bool:
        """Return whether this is a transition whose completion has a record."""
        return owed.is_transition and any(
            each.event.position > owed.event.position and not each.is_transition
            for each in self._of_same_asset(sink, owed)
        )

    def _of_same_asset(self, sink: str, owed: Owed) -> list[Owed]:
        """Return the other events of its asset that have a record."""
        records = self._records[sink].values()
        return [each for each in records if each.asset_id is not None and each.asset_id == owed.asset_id]

    def _is_first(self, sink: str, owed: Owed) -> bool:
        return all(each.event.position >= owed.event.position for each in self._of_same_asset(sink, owed))

    def _replace(self, sink: str, owed: Owed, *, next_at: float) -> None:
        self._records[sink][owed.event.position] = msgspec.structs.replace(owed, next_at=next_at)

    def _drop_unneeded(self, position: int) -> None:
        if not any(position in records for records in self._records.values()):
            self._events.pop(position, None)


def _position(owed: Owed) -> int:
    return owed.event.position
