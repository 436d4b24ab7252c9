"""The records of events that independent sinks lack: the table `undelivered` of the journal's database.

A record keeps its event in the outbox after all sinks have passed it. So whatever deletes a record also deletes the
event, if nothing else needs it. Every method that writes must be called within a transaction. No method reads more rows
than it returns or changes, apart from those of the same asset: a million events may be owed.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Iterator

import msgspec

from asset_worker.domain.deliveries import LONGEST_RETRY_DELAY, Owed
from asset_worker.domain.events import Stored, heading_of

LONGEST_DELAY_SECONDS = 2.0 * LONGEST_RETRY_DELAY
"""A record that is due later than this is damaged: no retry plan has so long a step, its jitter included."""

_encode = msgspec.json.Encoder().encode


class Claim(msgspec.Struct, frozen=True):
    """What `UndeliveredRows.claim` did."""

    position: int
    """The last event that it examined."""
    recorded: int
    """How many events got a record."""
    events: list[Owed]
    """Those of them that may be sent now."""


class UndeliveredRows:
    """The table `undelivered`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._execute = connection.execute

    def count(self, sink: str) -> int:
        """Return the number of records of a sink."""
        [count] = self._execute("SELECT count(*) FROM undelivered WHERE sink = ?", (sink,)).fetchone()
        return int(count)

    def count_by_sink(self) -> dict[str, int]:
        """Return the number of records of each sink that has any."""
        return dict(self._execute("SELECT sink, count(*) FROM undelivered GROUP BY sink").fetchall())

    def due(self, sink: str, limit: int, *, until: float, without: Collection[int]) -> list[Owed]:
        """Return at most `limit` events with a record that is due by `until`, the earliest first.

        Left out are the positions in `without`, the events of their assets, and the events whose asset has an earlier
        record.
        """
        rows = self._execute(
            "SELECT u.position, o.id, o.body, u.asset_id, u.attempts, u.first_at, u.next_at "
            "FROM undelivered AS u INDEXED BY undelivered_by_time CROSS JOIN outbox AS o ON o.position = u.position "
            "WHERE u.sink = ?1 AND u.next_at <= ?2 AND u.position NOT IN (SELECT value FROM json_each(?3)) "
            "AND NOT EXISTS (SELECT 1 FROM undelivered AS e INDEXED BY undelivered_by_asset "
            "WHERE e.sink = ?1 AND e.asset_id = u.asset_id "
            "AND (e.position < u.position OR e.position IN (SELECT value FROM json_each(?3)))) "
            "ORDER BY u.next_at, u.position LIMIT ?4",
            (sink, until, _as_json(without), limit),
        )
        return [
            Owed(Stored(position, event_id, body), asset_id, attempts, first_at, next_at)
            for position, event_id, body, asset_id, attempts, first_at, next_at in rows
        ]

    def next_at(self, sink: str, *, after: float, without: Collection[int]) -> float | None:
        """Return when the first record is due of those that are due later than `after`; None: there is none."""
        row = self._execute(
            "SELECT next_at FROM undelivered INDEXED BY undelivered_by_time WHERE sink = ? AND next_at > ? "
            "AND position NOT IN (SELECT value FROM json_each(?)) ORDER BY next_at LIMIT 1",
            (sink, after, _as_json(without)),
        ).fetchone()
        return None if row is None else float(row[0])

    def claim(
        self, sink: str, position: int, limit: int, *, examine: int, now: float, wants: Callable[[Stored], bool]
    ) -> Claim:
        """Record new events that the sink wants, until `limit` of them may be sent or `examine` were examined.

        Begin after `position`, or after the sink's recorded position, if that is later. The events are due `now`; one
        whose asset has an earlier record is not sent yet, and due no sooner than that.
        """
        row = self._execute("SELECT position FROM sinks WHERE name = ?", (sink,)).fetchone()
        position = position if row is None else max(position, row[0])
        events: list[Owed] = []
        recorded = 0
        for event in self._events_after(position, examine):
            position = event.position
            if not wants(event):
                continue
            recorded += 1
            asset_id = _asset_of(event)
            [earlier] = self._execute(
                "SELECT max(next_at) FROM undelivered INDEXED BY undelivered_by_asset WHERE sink = ? AND asset_id = ?",
                (sink, asset_id),
            ).fetchone()
            next_at = now if earlier is None else max(now, earlier)
            self._insert(sink, event.position, asset_id, next_at)
            if earlier is None:
                events.append(Owed(event, asset_id, 0, None, next_at))
                if len(events) == limit:
                    break
        return Claim(position, recorded, events)

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

    def _insert(self, sink: str, position: int, asset_id: str | None, next_at: float) -> None:
        self._execute(
            "INSERT INTO undelivered (sink, position, asset_id, attempts, next_at) VALUES (?, ?, ?, 0, ?)",
            (sink, position, asset_id, next_at),
        )

    def _delete_unneeded_event(self, position: int) -> None:
        self._execute(
            "DELETE FROM outbox WHERE position = ?1 AND position <= (SELECT position FROM passed) "
            "AND NOT EXISTS (SELECT 1 FROM undelivered WHERE position = ?1)",
            (position,),
        )


def _as_json(positions: Collection[int]) -> str:
    return _encode(list(positions)).decode()


def _asset_of(event: Stored) -> str | None:
    """Return the asset that the event is about; None: none, or its body is damaged, so that it needs no order."""
    try:
        return heading_of(event).subject
    except msgspec.DecodeError:
        return None
