"""The outbox in the database, as this worker's deliveries use it: the rows that its life owns.

What is in memory are numbers of events. They are this life's only: what another worker owes to its sinks is its own.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Final, TypeVar

from asset_worker.domain.deliveries import Condition, Owed, Taken
from asset_worker.domain.events import Stored, made_at
from asset_worker.queue.commits import Commits
from asset_worker.queue.outbox_readers import is_reader
from asset_worker.queue.postgres.changes import Delivered
from asset_worker.queue.postgres.database import RetiredError, Tables
from asset_worker.queue.postgres.outbox_rows import Examined
from asset_worker.queue.room import Room

T = TypeVar("T")

EXAMINED_EVENTS: Final = 500
"""New events that a sink's filter sees in one transaction at most."""
ASK_AGAIN_SECONDS: Final = 1.0
"""How long it takes to notice that another worker has sent an event that one of this worker's had to wait for."""
PRUNED_DEAD_LETTERS: Final = 1_000
"""Dead letters, which hold whole events, that are deleted in one transaction at most."""
SINK_CHECKPOINT: Final = "sink:{}"
"""How the checkpoint of a sink is called among those of a worker."""


class PostgresOutbox:
    """The outbox of one life: an `Outbox` and an `IndependentOutbox` (`sinks.ports`).

    After the life was retired nothing changes any more: others have adopted its rows.
    """

    def __init__(
        self,
        commits: Commits[Tables],
        room: Room,
        *,
        name: str,
        sinks: Sequence[str],
        checkpoints: Mapping[str, bytes],
        dead_letters: Mapping[str, int],
    ) -> None:
        """Begin without events.

        Args:
            commits: reads and writes the database.
            room: is taken by the events that the slowest sink lacks.
            name: the worker's name.
            sinks: the names of its sinks.
            checkpoints: what was recorded for this name.
            dead_letters: how many dead letters there are, by their sink.
        """
        self._commits = commits
        self._room = room
        self._name = name
        self.sinks = tuple(sinks)
        self._owed = dict.fromkeys(sinks, 0)
        self._new = dict.fromkeys(sinks, 0)
        """How many of them no delivery has looked at; for an ordered sink, all of them."""
        self._added = {sink: asyncio.Event() for sink in sinks}
        self._retried = {sink: asyncio.Event() for sink in sinks}
        self._read: dict[str, list[int]] = {}
        """The positions that each ordered sink has read last: a row with a lower one may be adopted meanwhile."""
        self._passed: dict[str, int] = {}
        self._checkpoints = {sink: checkpoints.get(SINK_CHECKPOINT.format(sink)) for sink in sinks}
        self._oldest_at: dict[str, float | None] = {}
        self._conditions: dict[str, Condition | None] = {}
        """What was recorded last about each sink."""
        self.dead_letters = Counter(dead_letters)
        """How many dead letters there are, by their sink."""

    def add(self, count: int) -> None:
        """Record that so many more events are durable, which every sink lacks.

        It is called as soon as they are (`Commits.write`): what looks at them in the same transaction counts them, too.
        """
        if count:
            for sink in self.sinks:
                self._count(sink, count, new=count)

    async def adopt_from(self, owners: Sequence[int], *, limit: int) -> int:
        """Adopt at most `limit` events that retired lives owed to these sinks. Return how many."""

        def change(tables: Tables) -> list[tuple[str, bool]]:
            return tables.outbox.adopt(tables.connection, tables.life, owners, self.sinks, limit=limit)

        adopted: list[tuple[str, bool]] = await self._write(change, self._adopted, otherwise=[])
        return len(adopted)

    def _adopted(self, rows: Iterable[tuple[str, bool]]) -> None:
        for (sink, is_new), count in Counter(rows).items():
            self._count(sink, count, new=count if is_new else 0)
            if not is_new:
                self.ask_for_retry(sink)  # what was due elsewhere is due here

    def reset(self) -> None:
        """Forget all events: they are others' now."""
        for sink in self.sinks:
            self._count(sink, -self._owed[sink], new=-self._new[sink])
        self._read = {}

    def _count(self, sink: str, count: int, *, new: int = 0) -> None:
        self._owed[sink] = max(0, self._owed[sink] + count)
        self._new[sink] = max(0, self._new[sink] + new)
        if self._new[sink]:
            self._added[sink].set()
        self._room.set_undelivered(self.depth())

    def depth(self) -> int:
        """Return how many events the sink furthest behind still lacks."""
        return max((owed for name, owed in self._owed.items() if not is_reader(name)), default=0)

    def owed(self, sink: str) -> int:
        """Return how many events the sink lacks."""
        return self._owed[sink]

    async def look_for_oldest(self) -> None:
        """Look up which events are the oldest that the sinks lack."""
        sinks = [sink for sink in self.sinks if self._owed[sink]]

        def query(tables: Tables) -> dict[str, float | None]:
            found = {sink: tables.outbox.oldest(tables.connection, tables.life, sink) for sink in sinks}
            return {sink: None if event is None else made_at(event) for sink, event in found.items()}

        self._oldest_at = await self._commits.read(query) if sinks else {}

    def oldest_at(self, sink: str) -> float | None:
        """Return when the oldest event was made that the sink lacks; see `Outbox.oldest_at`."""
        return self._oldest_at.get(sink) if self._owed[sink] else None

    async def wait(self, sink: str) -> None:
        """Wait until there may be events that no delivery has looked at."""
        while not self._new[sink]:
            self._added[sink].clear()
            await self._added[sink].wait()

    async def read(self, sink: str, limit: int) -> list[Stored]:
        """Return the first `limit` events that an ordered sink lacks, in order."""
        if not self._new[sink]:
            return []
        events = await self._commits.read(
            lambda tables: tables.outbox.read_new(tables.connection, tables.life, sink, limit)
        )
        self._read[sink] = [event.position for event in events]
        if not events:  # another worker has adopted them
            self._count(sink, -self._owed[sink], new=-self._new[sink])
        return events

    async def checkpoint(self, sink: str) -> bytes | None:
        """Return the checkpoint that was last recorded for the sink; None: there is none."""
        return self._checkpoints[sink]

    async def advance(self, sink: str, position: int, checkpoint: bytes | None) -> None:
        """Record that the sink has what it has read, up to this position; durable when this returns."""
        read = self._read.get(sink, [])
        count = read.index(position) + 1 if position in read else 0
        taken, self._read[sink] = read[:count], read[count:]
        self._passed[sink] = position

        def change(tables: Tables) -> int:
            if checkpoint is not None:
                name = SINK_CHECKPOINT.format(sink)
                tables.pending.set_checkpoint(tables.connection, self._name, name, checkpoint, life=tables.life)
            return len(tables.outbox.delete(tables.connection, tables.life, sink, taken))

        def applied(deleted: int) -> None:
            self._checkpoints[sink] = checkpoint
            self._count(sink, -deleted, new=-deleted)

        await self._write(change, applied, otherwise=0)

    def position(self, reader: str) -> int:
        """Return the position of the last event that a reader has; 0: it has had none since the start."""
        return self._passed.get(reader, 0)

    async def move_on(self, reader: str, *, keep: int) -> int:
        """Let a reader pass all but the last `keep` events. Return how many it misses for it."""
        if self._owed[reader] <= keep or not (missed := await self.read(reader, self._owed[reader] - keep)):
            return 0
        await self.advance(reader, missed[-1].position, None)
        return len(missed)

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
        """Return at most `limit` events to send now; see `IndependentOutbox.take`. `wants` is called in a thread."""
        left_out = frozenset(without)
        due, yielding, next_at = await self._find_due(sink, limit, transitions, until=until, without=left_out)
        holding_up = [owed.event.position for owed in due if owed.is_transition]
        if len(due) == limit or (not self._new[sink] and (due or yielding)):
            return Taken([*due, *yielding], next_at, (), tuple(holding_up))
        events, superseded = due, []
        while len(events) < limit and self._new[sink]:
            examined = await self._examine(sink, limit - len(events), now=now, wants=wants, without=left_out)
            superseded += examined.superseded
            holding_up += examined.holding_up
            events = [owed for owed in (*events, *examined.events) if owed.event.id not in examined.superseded]
        if (left := limit - len(events)) > 0:
            known = left_out | {owed.event.position for owed in events}
            due, yielding, _ = await self._find_due(sink, left, transitions, until=until, without=known)
            events += [*due, *yielding]
        if not events and next_at is None and await self._waits_for_another(sink, until=until):
            next_at = until + ASK_AGAIN_SECONDS
        return Taken(events, next_at, tuple(superseded), tuple(holding_up))

    async def _waits_for_another(self, sink: str, *, until: float) -> bool:
        """Return whether an event that is due has to wait for one that another worker sends."""
        return bool(self._owed[sink]) and await self._commits.read(
            lambda tables: tables.outbox.waits_for_another(tables.connection, tables.life, sink, until=until)
        )

    async def _find_due(
        self, sink: str, limit: int, transitions: int, *, until: float, without: Collection[int]
    ) -> tuple[list[Owed], list[Owed], float | None]:
        """Return what is due: what does not give way, then what does; and when the next event is due."""
        if self._owed[sink] == self._new[sink]:
            return [], [], None

        def query(tables: Tables) -> tuple[list[Owed], list[Owed], float | None]:
            connection, life, rows = tables.connection, tables.life, tables.outbox
            due = rows.due(connection, life, sink, limit, until=until, without=without, gives_way=False)
            left = min(limit - len(due), transitions)
            yielding = rows.due(connection, life, sink, left, until=until, without=without, gives_way=True)
            return due, yielding, rows.next_at(connection, life, sink, after=until, without=without)

        return await self._commits.read(query)

    async def _examine(
        self, sink: str, limit: int, *, now: float, wants: Callable[[Stored], bool], without: Collection[int]
    ) -> Examined:
        """Look at the next new events, at most `limit` of which may be sent."""

        def change(tables: Tables) -> Examined:
            return tables.outbox.examine(
                tables.connection,
                tables.life,
                sink,
                limit=limit,
                most=EXAMINED_EVENTS,
                now=now,
                wants=wants,
                without=without,
            )

        def applied(examined: Examined) -> None:
            seen = examined.count or self._new[sink]  # none: another worker has adopted them
            self._count(sink, -examined.dropped - (seen - examined.count), new=-seen)
            self._count_dead(sink, len(examined.superseded))

        return await self._write(change, applied, otherwise=Examined(0))

    async def wait_for_retry(self, sink: str) -> None:
        """Wait until something else than time asks for this sink's events to be looked at again."""
        await self._retried[sink].wait()
        self._retried[sink].clear()

    def ask_for_retry(self, sink: str) -> None:
        """End the present wait, or else the next one, in `wait_for_retry`."""
        self._retried[sink].set()

    async def delivered(self, sink: str, position: int, *, now: float) -> None:
        """Delete the row of an event that the sink accepted. The asset's next event is due `now`."""
        await self._write(
            Delivered(sink, position, now), lambda deleted: self._count(sink, -int(deleted)), otherwise=False
        )

    async def failed(
        self, sink: str, position: int, *, attempts: int, first_at: float, now: float, next_at: float, error: str
    ) -> tuple[str, ...]:
        """Change the row of an event that was not accepted, or supersede it; see `IndependentOutbox.failed`."""

        def change(tables: Tables) -> list[str]:
            rows, connection, life = tables.outbox, tables.connection, tables.life
            superseded = rows.supersede(connection, life, sink, position, attempts=attempts, first_at=first_at, now=now)
            if not superseded:
                rows.change(
                    connection,
                    life,
                    sink,
                    position,
                    attempts=attempts,
                    first_at=first_at,
                    next_at=next_at,
                    error=error,
                )
            return superseded

        def applied(superseded: list[str]) -> None:
            self._count_dead(sink, len(superseded))

        superseded = await self._write(change, applied, otherwise=list[str]())
        return tuple(superseded)

    async def dead_letter(
        self, sink: str, position: int, *, attempts: int, first_at: float, now: float, reason: str
    ) -> tuple[str, ...]:
        """Keep an event whose last attempt failed as a dead letter; see `IndependentOutbox.dead_letter`."""

        def change(tables: Tables) -> tuple[list[str], int]:
            rows, connection, life = tables.outbox, tables.connection, tables.life
            superseded = rows.supersede(connection, life, sink, position, attempts=attempts, first_at=first_at, now=now)
            if superseded:
                return superseded, len(superseded)
            rows.count_attempts(connection, life, sink, position, attempts=attempts, first_at=first_at)
            return [], len(rows.bury(connection, life, sink, [position], now=now, reason=reason))

        nothing: tuple[list[str], int] = ([], 0)
        superseded, _ = await self._write(change, lambda done: self._count_dead(sink, done[1]), otherwise=nothing)
        return tuple(superseded)

    def _count_dead(self, sink: str, count: int) -> None:
        """Count rows that are dead letters now."""
        self.dead_letters[sink] += count
        self._count(sink, -count)

    async def prune_dead_letters(self, *, before: float) -> int:
        """Delete the dead letters whose last attempt was before `before`, in several transactions. Return how many."""

        def change(tables: Tables) -> tuple[int, dict[str, int]]:
            connection, rows = tables.connection, tables.outbox
            count = rows.prune_dead_letters(connection, before=before, limit=PRUNED_DEAD_LETTERS)
            return count, rows.count_dead_letters(connection)

        def applied(done: tuple[int, dict[str, int]]) -> None:
            self.dead_letters = Counter(done[1])  # others make and drop some, too

        pruned = 0
        nothing: tuple[int, dict[str, int]] = (0, {})
        while count := (await self._write(change, applied, otherwise=nothing))[0]:
            pruned += count
        return pruned

    async def make_all_due(self, sink: str, *, now: float) -> None:
        """Make every event due `now` that would be due later."""
        await self._write(
            lambda tables: tables.outbox.make_due(tables.connection, tables.life, sink, now=now),
            lambda _: None,
            otherwise=None,
        )

    async def condition(self, sink: str) -> Condition | None:
        """Return what was recorded last as wrong with the sink, also by an earlier run; None: it works."""
        return await self._commits.read(lambda tables: tables.outbox.condition(tables.connection, self._name, sink))

    async def set_condition(self, sink: str, condition: Condition | None) -> None:
        """Record what is wrong with the sink, for the next run; None: it works."""
        self._conditions[sink] = condition
        await self._write(
            lambda tables: tables.outbox.set_condition(tables.connection, self._name, sink, condition),
            lambda _: None,
            otherwise=None,
        )

    async def look_for_resumed(self) -> None:
        """Ask for the events of each paused sink about which nothing is recorded any more: a command resumes it so."""
        for sink, condition in list(self._conditions.items()):
            if condition is not None and condition.kind == "paused" and await self.condition(sink) is None:
                self._conditions[sink] = None
                self.ask_for_retry(sink)

    async def _write(self, change: Callable[[Tables], T], applied: Callable[[T], None], *, otherwise: T) -> T:
        """Return what `change` returns, or `otherwise` if the life was retired: its rows are others' then."""
        try:
            return await self._commits.write(change, applied)
        except RetiredError:
            return otherwise
