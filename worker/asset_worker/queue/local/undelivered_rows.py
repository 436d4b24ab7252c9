"""The records of events that independent sinks lack: the table `undelivered` of the journal's database.

A record keeps its event in the outbox after all sinks have passed it. So whatever deletes a record also deletes the
event, if nothing else needs it. Every method that writes must be called within a transaction. No method reads more rows
than it returns or changes, apart from those of the same asset: a million events may be owed.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Iterator, Sequence

import msgspec

from asset_worker.domain.deliveries import LONGEST_RETRY_DELAY, Owed
from asset_worker.domain.events import Stored, heading_of
from asset_worker.queue.local.dead_letter_rows import DeadLetterRows

LONGEST_DELAY_SECONDS = 2.0 * LONGEST_RETRY_DELAY
"""A record that is due later than this is damaged: no retry plan has so long a step, its jitter included."""

_encode = msgspec.json.Encoder().encode


_IS_TRANSITION = "o.id GLOB u.asset_id || '.*.*'"
"""The condition that the record `u` is that of a transition, whose event is `o`: `<asset>.<count>.<name>`."""


class Claim(msgspec.Struct):
    """What `UndeliveredRows.claim` did."""

    position: int
    """The last event that it examined."""
    recorded: int = 0
    """How many events got a record."""
    events: list[Owed] = []
    """Those of them that may be sent now."""
    superseded: list[str] = []
    """The IDs of the transitions that became dead letters, and have no record any more."""
    holding_up: list[int] = []
    """The positions of the transitions whose completion was recorded, and waits for them."""


class UndeliveredRows:
    """The table `undelivered`.

    A record *gives way* if it is that of a transition whose completion has no record: of the events that are due, those
    that don't are sent first. So a completion never waits for a step of another asset.
    """

    def __init__(self, connection: sqlite3.Connection, dead_letters: DeadLetterRows) -> None:
        self._execute = connection.execute
        self._dead_letters = dead_letters

    def count(self, sink: str) -> int:
        """Return the number of records of a sink."""
        [count] = self._execute("SELECT count(*) FROM undelivered WHERE sink = ?", (sink,)).fetchone()
        return int(count)

    def count_by_sink(self) -> dict[str, int]:
        """Return the number of records of each sink that has any."""
        return dict(self._execute("SELECT sink, count(*) FROM undelivered GROUP BY sink").fetchall())

    def oldest_owed(self, sink: str, position: int) -> Stored | None:
        """Return the first event that a sink with this position lacks: with a record, or after it; None: it has all."""
        row = self._execute(
            "SELECT position, id, body FROM outbox WHERE position >= "
            "coalesce((SELECT min(position) FROM undelivered WHERE sink = ?), ? + 1) ORDER BY position LIMIT 1",
            (sink, position),
        ).fetchone()
        return None if row is None else Stored(*row)

    def due(self, sink: str, limit: int, *, until: float, without: Collection[int], gives_way: bool) -> list[Owed]:
        """Return at most `limit` events with a record that is due by `until`, the earliest first.

        Either those that give way, or the others. Left out are the positions in `without`, the events of their assets,
        and the events whose asset has an earlier record.
        """
        rows = self._execute(
            f"SELECT u.position, o.id, o.body, u.asset_id, u.attempts, u.first_at, u.next_at, {_IS_TRANSITION} "  # noqa: S608
            "FROM undelivered AS u INDEXED BY undelivered_by_time CROSS JOIN outbox AS o ON o.position = u.position "
            "WHERE u.sink = ?1 AND u.gives_way = ?5 AND u.next_at <= ?2 "
            "AND u.position NOT IN (SELECT value FROM json_each(?3)) "
            "AND NOT EXISTS (SELECT 1 FROM undelivered AS e INDEXED BY undelivered_by_asset "
            "WHERE e.sink = ?1 AND e.asset_id = u.asset_id "
            "AND (e.position < u.position OR e.position IN (SELECT value FROM json_each(?3)))) "
            "ORDER BY u.next_at, u.position LIMIT ?4",
            (sink, until, _as_json(without), limit, gives_way),
        )
        return [
            Owed(Stored(position, event_id, body), asset_id, attempts, first_at, next_at, bool(is_transition))
            for position, event_id, body, asset_id, attempts, first_at, next_at, is_transition in rows
        ]

    def next_at(self, sink: str, *, after: float, without: Collection[int]) -> float | None:
        """Return when the first record is due of those that are due later than `after`; None: there is none."""
        found = [
            self._execute(
                "SELECT next_at FROM undelivered INDEXED BY undelivered_by_time "
                "WHERE sink = ? AND gives_way = ? AND next_at > ? "
                "AND position NOT IN (SELECT value FROM json_each(?)) ORDER BY next_at LIMIT 1",
                (sink, gives_way, after, _as_json(without)),
            ).fetchone()
            for gives_way in (False, True)
        ]
        return min((float(row[0]) for row in found if row is not None), default=None)

    def claim(
        self,
        sink: str,
        position: int,
        limit: int,
        *,
        examine: int,
        now: float,
        wants: Callable[[Stored], bool],
        without: Collection[int] = (),
    ) -> Claim:
        """Record new events that the sink wants, until `limit` of them may be sent or `examine` were examined.

        Begin after `position`, or after the sink's recorded position, if that is later. The events are due `now`; one
        whose asset has an earlier record is not sent yet, and due no sooner than that; nor is a transition, which may
        have to give way. If a completion finds that a transition of its asset waits for a retry, it is
        superseded, and so are the other transitions of the asset, those in `without` aside.
        """
        row = self._execute("SELECT position FROM sinks WHERE name = ?", (sink,)).fetchone()
        position = position if row is None else max(position, row[0])
        claim = Claim(position)
        for event in self._events_after(position, examine):
            claim.position = event.position
            if not wants(event):
                continue
            asset_id, is_transition = _subject_of(event)
            if asset_id is not None and not is_transition:
                self._make_way(claim, sink, asset_id, now=now, without=without)
            [earlier] = self._execute(
                "SELECT max(next_at) FROM undelivered INDEXED BY undelivered_by_asset WHERE sink = ? AND asset_id = ?",
                (sink, asset_id),
            ).fetchone()
            next_at = now if earlier is None else max(now, earlier)
            self._execute(
                "INSERT INTO undelivered (sink, position, asset_id, attempts, next_at, gives_way) "
                "VALUES (?, ?, ?, 0, ?, ?)",
                (sink, event.position, asset_id, next_at, is_transition),
            )
            claim.recorded += 1
            if earlier is None and not is_transition:
                claim.events.append(Owed(event, asset_id, 0, None, next_at))
                if len(claim.events) == limit:
                    break
        return claim

    def _make_way(self, claim: Claim, sink: str, asset_id: str, *, now: float, without: Collection[int]) -> None:
        """Make way for the completion of an asset, which is about to get a record."""
        rows = self._execute(
            "SELECT u.position, u.first_at IS NOT NULL AND u.next_at > ? "  # noqa: S608
            "FROM undelivered AS u INDEXED BY undelivered_by_asset JOIN outbox AS o ON o.position = u.position "
            f"WHERE u.sink = ? AND u.asset_id = ? AND {_IS_TRANSITION}",
            (now, sink, asset_id),
        ).fetchall()
        positions = [position for position, _ in rows]
        if any(waits for _, waits in rows):
            # One that waits may be in `without`: its attempt has just ended.
            superseded = [position for position, waits in rows if waits or position not in without]
            claim.superseded += self._supersede(sink, superseded, now=now)
            positions = [each for each in positions if each not in superseded]
        for position in positions:
            self._execute("UPDATE undelivered SET gives_way = 0 WHERE sink = ? AND position = ?", (sink, position))
            claim.holding_up.append(position)

    def _supersede(self, sink: str, positions: Sequence[int], *, now: float) -> list[str]:
        """Make dead letters of transitions that hold up a completion, which is then due `now`. Return their IDs."""
        superseded = [self._dead_letters.supersede(sink, position, now=now) for position in positions]
        for position in positions:
            self.delete(sink, position, now=now)
        return superseded

    def supersede(self, sink: str, position: int, *, attempts: int, first_at: float, now: float) -> list[str]:
        """Supersede a transition whose attempt failed, and all others, if they hold up a completion.

        Return the IDs of what became dead letters; empty: the event is no transition, or no completion waits for it.
        """
        rows = self._execute(
            "SELECT u.position FROM undelivered AS f "  # noqa: S608
            "JOIN undelivered AS u INDEXED BY undelivered_by_asset ON u.sink = f.sink AND u.asset_id = f.asset_id "
            f"JOIN outbox AS o ON o.position = u.position AND {_IS_TRANSITION} "
            "WHERE f.sink = ? AND f.position = ? AND u.gives_way = 0",
            (sink, position),
        ).fetchall()
        positions = [each for [each] in rows]
        if position not in positions:
            return []
        self._execute(
            "UPDATE undelivered SET attempts = ?, first_at = ? WHERE sink = ? AND position = ?",
            (attempts, first_at, sink, position),
        )
        return self._supersede(sink, positions, now=now)

    def change(self, sink: str, position: int, *, attempts: int, first_at: float, next_at: float, error: str) -> None:
        """Change the record of an event after a failed attempt. Later events of its asset are due no sooner."""
        self._execute(
            "UPDATE undelivered SET attempts = ?, first_at = ?, next_at = ?, error = ? WHERE sink = ? AND position = ?",
            (attempts, first_at, next_at, error, sink, position),
        )
        self._execute(
            "UPDATE undelivered INDEXED BY undelivered_by_asset SET next_at = ?1 "
            "WHERE sink = ?2 AND position > ?3 AND next_at < ?1 "
            "AND asset_id = (SELECT asset_id FROM undelivered WHERE sink = ?2 AND position = ?3)",
            (next_at, sink, position),
        )

    def delete(self, sink: str, position: int, *, now: float) -> int:
        """Delete a record. The first of those that its asset has left is due `now`. Return how many were deleted."""
        row = self._execute(
            "SELECT asset_id FROM undelivered WHERE sink = ? AND position = ?", (sink, position)
        ).fetchone()
        if row is None:
            return 0
        self._execute("DELETE FROM undelivered WHERE sink = ? AND position = ?", (sink, position))
        self._execute(
            "UPDATE undelivered SET next_at = ?1 WHERE sink = ?2 AND next_at > ?1 AND position = "
            "(SELECT min(position) FROM undelivered INDEXED BY undelivered_by_asset WHERE sink = ?2 AND asset_id = ?3)",
            (now, sink, row[0]),
        )
        self._delete_unneeded_event(position)
        return 1

    def delete_some(self, sink: str, limit: int) -> int:
        """Delete at most `limit` records of a sink for which nothing is kept any more. Return how many."""
        rows = self._execute("SELECT position FROM undelivered WHERE sink = ? LIMIT ?", (sink, limit)).fetchall()
        for [position] in rows:
            self._execute("DELETE FROM undelivered WHERE sink = ? AND position = ?", (sink, position))
            self._delete_unneeded_event(position)
        return len(rows)

    def make_due(self, sink: str, *, after: int, limit: int, now: float) -> int | None:
        """Make due `now` what would be due later, of the `limit` records after the position `after`.

        Events that wait for an earlier one of their asset stay as they are: they are due when that one is done. Return
        the position of the last of these records; None: there are no more.
        """
        [last, count] = self._execute(
            "SELECT max(position), count(*) FROM "
            "(SELECT position FROM undelivered WHERE sink = ? AND position > ? ORDER BY position LIMIT ?)",
            (sink, after, limit),
        ).fetchone()
        self._execute(
            "UPDATE undelivered SET next_at = ?1 WHERE sink = ?2 AND position > ?3 AND position <= ?4 AND next_at > ?1 "
            "AND NOT EXISTS (SELECT 1 FROM undelivered AS e INDEXED BY undelivered_by_asset "
            "WHERE e.sink = ?2 AND e.asset_id = undelivered.asset_id AND e.position < undelivered.position)",
            (now, sink, after, last),
        )
        return last if count == limit else None

    def end_future(self, now: float) -> None:
        """Correct instants that can't be right: first attempts later than `now`, and delays longer than any plan's."""
        self._execute("UPDATE undelivered SET first_at = ?1 WHERE first_at > ?1", (now,))
        self._execute("UPDATE undelivered SET next_at = ? WHERE next_at > ?", (now, now + LONGEST_DELAY_SECONDS))

    def _events_after(self, position: int, limit: int) -> Iterator[Stored]:
        rows = self._execute(
            "SELECT position, id, body FROM outbox WHERE position > ? ORDER BY position LIMIT ?", (position, limit)
        )
        return (Stored(place, event_id, body) for place, event_id, body in rows)

    def _delete_unneeded_event(self, position: int) -> None:
        self._execute(
            "DELETE FROM outbox WHERE position = ?1 AND position <= (SELECT position FROM passed) "
            "AND NOT EXISTS (SELECT 1 FROM undelivered WHERE position = ?1)",
            (position,),
        )


def _as_json(positions: Collection[int]) -> str:
    return _encode(list(positions)).decode()


def _subject_of(event: Stored) -> tuple[str | None, bool]:
    """Return the asset that the event is about, and whether the event is a transition.

    None: it is about no asset, or its body is damaged, so that it needs no order.
    """
    try:
        heading = heading_of(event)
    except msgspec.DecodeError:
        return None, False
    return heading.subject, heading.is_transition
