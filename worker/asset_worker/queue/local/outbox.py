"""The outbox in the journal: events are written with their settlements, and deleted when every sink has them.

What is in memory are each sink's position and numbers of events: a million that are owed take no memory.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Final

import msgspec

from asset_worker.domain.deliveries import Condition, Owed, Taken
from asset_worker.domain.events import Stored, made_at
from asset_worker.queue.absent_sinks import PUT_IT_BACK, SinkState, seconds_left, states_at_start
from asset_worker.queue.commits import Commits
from asset_worker.queue.dead_letters import Selection
from asset_worker.queue.local.journal import Journal
from asset_worker.queue.local.undelivered_rows import Claim
from asset_worker.queue.room import Room
from asset_worker.queue.sink_positions import SinkPositions
from asset_worker.runtime.log import get_logger

_log = get_logger()


EXAMINED_EVENTS: Final = 500
"""New events that a sink's filter sees in one transaction at most."""
CHANGED_RECORDS: Final = 5_000
"""Records that are changed or deleted in one transaction at most. Other writers don't wait long for it."""

PRUNED_DEAD_LETTERS: Final = 1_000
"""Dead letters, which hold whole events, that are deleted in one transaction at most."""


class LocalOutbox:
    """The journal's outbox, as deliveries use it: each sink has its own position.

    It is an `Outbox` and an `IndependentOutbox` (`sinks.ports`). What it counts changes when a transaction is durable,
    also if the caller was cancelled meanwhile.
    """

    def __init__(
        self,
        commits: Commits[Journal],
        room: Room,
        *,
        sinks: Sequence[str],
        known: Mapping[str, SinkState],
        kept: tuple[int, int],
        records: Mapping[str, int],
        dead_letters: Mapping[str, int],
        now: float,
        window: float,
    ) -> None:
        """Take over the positions of an earlier run.

        Args:
            commits: reads and writes the journal.
            room: is taken by the events that the slowest sink lacks.
            sinks: the names of the sinks of this run.
            known: the state of each sink of earlier runs.
            kept: the positions of the first event that a sink has not passed, and of the last event.
            records: how many events have a record, by their sink.
            dead_letters: how many dead letters there are, by their sink.
            now: the steady time.
            window: for how many seconds events are kept for a sink that is absent from the settings.
        """
        first, last = kept
        self._commits = commits
        self._window = window
        states = states_at_start(known, sinks, first=first, last=last, now=now, with_records=records)
        self._changed = {name: state for name, state in states.items() if known.get(name) != state}
        self._held = {name: state for name, state in states.items() if state.is_held}
        self._sinks = SinkPositions(
            {name: (states[name].position, states[name].checkpoint) for name in sinks},
            room,
            last=last,
            held={name: state.position for name, state in self._held.items()},
            records=records,
        )
        self.dead_letters = Counter(dead_letters)
        """How many dead letters there are, by their sink."""
        self._oldest_at: Mapping[str, float | None] = {}
        """When the oldest event was made that each sink lacked at the latest look."""
        self._retried = {name: asyncio.Event() for name in sinks}

    async def begin(self, now: float) -> None:
        """Record which sinks there are; log what is kept for absent ones, or drop it if its time is over."""
        held, sinks, passed_by_all = self._held, self._retried.keys(), self._sinks.passed_by_all

        def change(journal: Journal) -> dict[str, int]:
            for name, state in self._changed.items():
                journal.set_sink(name, state)
            journal.delete_events(passed_by_all)  # what was kept for a reader that is absent now
            journal.begin_conditions(sinks)
            return {name: journal.count_owed(name, state.position) for name, state in held.items()}

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
        count = 0
        while deleted := await self._commits.write(
            lambda journal: journal.undelivered.delete_some(name, CHANGED_RECORDS)
        ):
            count += deleted
        unneeded = self._sinks.release(name)

        def change(journal: Journal) -> int:
            count = journal.count_owed(name, state.position)
            journal.set_sink(name, msgspec.structs.replace(state, is_released=True))
            journal.delete_events(unneeded)
            return count

        count += await self._commits.write(change)
        _log.warning("sink.dropped", sink=name, events=count)

    def add(self, last: int) -> None:
        """Record that events up to position `last` are durable now."""
        self._sinks.add(last)

    def depth(self) -> int:
        """Return how many events the sink furthest behind still lacks."""
        return self._sinks.depth()

    def owed(self, sink: str) -> int:
        """Return how many events the sink lacks: those with a record, and those after its position."""
        return self._sinks.owed(sink)

    async def look_for_oldest(self) -> None:
        """Look up which events are the oldest that the sinks lack. It costs one read of an index for each sink."""
        positions = {name: self._sinks.position(name) for name in self._retried if self.owed(name)}

        def query(journal: Journal) -> dict[str, float | None]:
            found = {name: journal.undelivered.oldest_owed(name, position) for name, position in positions.items()}
            return {name: None if event is None else made_at(event) for name, event in found.items()}

        self._oldest_at = await self._commits.read(query) if positions else {}

    def oldest_at(self, sink: str) -> float | None:
        """Return when the oldest event was made that the sink lacks; see `Outbox.oldest_at`."""
        return self._oldest_at.get(sink) if self.owed(sink) else None

    async def wait(self, sink: str) -> None:
        """Wait until there are events after the sink's position."""
        await self._sinks.wait(sink)

    async def read(self, sink: str, limit: int) -> list[Stored]:
        """Return the first `limit` events that this sink does not have, in order."""
        if self._sinks.has_passed_all(sink):
            return []
        position = self._sinks.position(sink)
        rows = await self._commits.read(lambda journal: journal.events_after(position, limit))
        return [Stored(place, event_id, body) for place, event_id, body in rows]

    async def checkpoint(self, sink: str) -> bytes | None:
        """Return the checkpoint that was last recorded with the sink's position; None: there is none."""
        return self._sinks.checkpoint(sink)

    async def advance(self, sink: str, position: int, checkpoint: bytes | None) -> None:
        """Record that the sink has all events up to `position`; durable when this returns."""
        others = self._sinks.others(sink)
        await self._commits.write(
            lambda journal: journal.advance(sink, position, checkpoint, others=others),
            applied=lambda _: self._sinks.advance(sink, position, checkpoint),
        )

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
        """Return at most `limit` events to send now; see `IndependentOutbox.take`. `wants` is called in a thread."""
        left_out = frozenset(without)
        due, yielding, next_at = await self._find_due(sink, limit, transitions, until=until, without=left_out)
        taken = Taken([*due, *yielding], next_at, (), _positions_of_transitions(due))
        if len(due) == limit or self._sinks.has_passed_all(sink):
            return taken
        events, superseded, holding_up = due, [], [*taken.holding_up]
        while len(events) < limit and not self._sinks.has_passed_all(sink):
            claim = await self._claim(sink, limit - len(events), now=now, wants=wants, without=left_out)
            superseded += claim.superseded
            holding_up += claim.holding_up
            events = [owed for owed in (*events, *claim.events) if owed.event.id not in claim.superseded]
        if (left := limit - len(events)) > 0:
            known = left_out | {owed.event.position for owed in events}
            due, yielding, _ = await self._find_due(sink, left, transitions, until=until, without=known)
            events += [*due, *yielding]
        return Taken(events, next_at, tuple(superseded), tuple(holding_up))

    async def _find_due(
        self, sink: str, limit: int, transitions: int, *, until: float, without: Collection[int]
    ) -> tuple[list[Owed], list[Owed], float | None]:
        """Return what is due: what does not give way, then what does; and when the next record is due."""

        def query(journal: Journal) -> tuple[list[Owed], list[Owed], float | None]:
            find = partial(journal.undelivered.due, sink, until=until, without=without)
            due = find(limit, gives_way=False)
            yielding = find(min(limit - len(due), transitions), gives_way=True)
            return due, yielding, journal.undelivered.next_at(sink, after=until, without=without)

        return await self._commits.read(query)

    async def _claim(
        self,
        sink: str,
        limit: int,
        *,
        now: float,
        wants: Callable[[Stored], bool],
        without: Collection[int],
    ) -> Claim:
        """Record the next events that the sink wants, at most `limit` of which may be sent."""
        position, others = self._sinks.position(sink), self._sinks.others(sink)

        def change(journal: Journal) -> Claim:
            claim = journal.undelivered.claim(
                sink,
                position,
                limit,
                examine=EXAMINED_EVENTS,
                now=now,
                wants=wants,
                without=without,
            )
            journal.advance(sink, claim.position, None, others=others)
            return claim

        def count(claim: Claim) -> None:
            self.dead_letters[sink] += len(claim.superseded)
            self._sinks.add_records(sink, claim.recorded - len(claim.superseded))
            self._sinks.advance(sink, claim.position, None)

        return await self._commits.write(change, applied=count)

    async def wait_for_retry(self, sink: str) -> None:
        """Wait until `dead-letters retry` asks for this sink. Requests from before the call count once."""
        await self._retried[sink].wait()
        self._retried[sink].clear()

    def ask_for_retry(self, sink: str) -> None:
        """End the present wait, or else the next one, in `wait_for_retry`."""
        self._retried[sink].set()

    def count_request(self, counts: Mapping[str, int], *, is_retry: bool) -> None:
        """Count dead letters that are gone, by their sink. `is_retry`: they are events with a record again."""
        self.dead_letters.subtract(counts)
        for sink, count in counts.items() if is_retry else ():
            self._sinks.add_records(sink, count)
            self.ask_for_retry(sink)

    async def prune_dead_letters(self, *, before: float) -> int:
        """Delete the dead letters whose last attempt was before `before`, in several transactions. Return how many."""

        def change(journal: Journal) -> tuple[int, dict[str, int]]:
            count = journal.dead_letters.prune(before=before, limit=PRUNED_DEAD_LETTERS)
            return count, journal.dead_letters.count_by_sink(Selection()) if count else {}

        def keep_count(done: tuple[int, dict[str, int]]) -> None:
            if done[0]:
                self.dead_letters = Counter(done[1])

        pruned = 0
        while count := (await self._commits.write(change, applied=keep_count))[0]:
            pruned += count
        return pruned

    async def delivered(self, sink: str, position: int, *, now: float) -> None:
        """Delete the record of an event that the sink accepted. The asset's next event is due `now`."""
        await self._commits.write(
            lambda journal: journal.undelivered.delete(sink, position, now=now),
            applied=lambda deleted: self._sinks.add_records(sink, -deleted),
        )

    async def failed(
        self, sink: str, position: int, *, attempts: int, first_at: float, now: float, next_at: float, error: str
    ) -> tuple[str, ...]:
        """Change the record of an event that was not accepted, or supersede it; see `IndependentOutbox.failed`."""

        def change(journal: Journal) -> list[str]:
            rows = journal.undelivered
            superseded = rows.supersede(sink, position, attempts=attempts, first_at=first_at, now=now)
            if not superseded:
                rows.change(sink, position, attempts=attempts, first_at=first_at, next_at=next_at, error=error)
            return superseded

        superseded = await self._commits.write(change, applied=lambda ids: self._count_dead(sink, len(ids)))
        return tuple(superseded)

    async def dead_letter(
        self, sink: str, position: int, *, attempts: int, first_at: float, now: float, reason: str
    ) -> tuple[str, ...]:
        """Keep an event whose last attempt failed as a dead letter; see `IndependentOutbox.dead_letter`."""

        def change(journal: Journal) -> tuple[list[str], int]:
            rows = journal.undelivered
            if superseded := rows.supersede(sink, position, attempts=attempts, first_at=first_at, now=now):
                return superseded, len(superseded)
            journal.dead_letters.add(sink, position, attempts=attempts, first_at=first_at, now=now, reason=reason)
            journal.count_dead_letter()
            return [], rows.delete(sink, position, now=now)

        superseded, _ = await self._commits.write(change, applied=lambda done: self._count_dead(sink, done[1]))
        return tuple(superseded)

    def _count_dead(self, sink: str, count: int) -> None:
        """Count records that are dead letters now."""
        self.dead_letters[sink] += count
        self._sinks.add_records(sink, -count)

    async def make_all_due(self, sink: str, *, now: float) -> None:
        """Make every event with a record due `now` that would be due later, in several transactions."""
        after: int | None = 0
        while after is not None:
            after = await self._commits.write(
                partial(_make_due, sink=sink, after=after, limit=CHANGED_RECORDS, now=now)
            )

    async def condition(self, sink: str) -> Condition | None:
        """Return what was recorded last as wrong with the sink, also by an earlier run; None: it works."""
        return await self._commits.read(lambda journal: journal.conditions().get(sink))

    async def set_condition(self, sink: str, condition: Condition | None) -> None:
        """Record what is wrong with the sink, for `status` and the next run; None: it works."""
        await self._commits.write(lambda journal: journal.set_condition(sink, condition))


def _make_due(journal: Journal, *, sink: str, after: int, limit: int, now: float) -> int | None:
    return journal.undelivered.make_due(sink, after=after, limit=limit, now=now)


def _positions_of_transitions(due: Iterable[Owed]) -> tuple[int, ...]:
    """Return the positions of the transitions among events that don't give way: their completion has a record."""
    return tuple(owed.event.position for owed in due if owed.is_transition)
