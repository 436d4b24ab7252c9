"""The dead letters in the journal's database: events that a sink refused for good, kept for the operator."""

from __future__ import annotations

import sqlite3
from typing import Final

import msgspec

from asset_worker.queue.dead_letters import Selection

SUPERSEDED: Final = "superseded"
"""The reason of a dead letter that reports a step of an asset whose completion was to be sent."""

_IS_OVER: Final = (
    "(id GLOB asset_id || '.*.*' AND NOT EXISTS (SELECT 1 FROM pending WHERE pending.asset_id = dead_letters.asset_id "
    "AND dead_letters.id GLOB pending.asset_id || '.' || pending.completion || '.*'))"
)
"""The condition that a dead letter reports a step of a wait that is over: its completion must not be followed by it."""

_encode = msgspec.json.Encoder().encode


class DeadLetterRows:
    """The table `dead_letters`. Every method that writes must be called within a transaction."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._execute = connection.execute

    def count_by_sink(self, selection: Selection) -> dict[str, int]:
        """Return how many of the selected dead letters each sink has, of those that have any."""
        where, values = _condition(selection)
        return dict(
            self._execute(f"SELECT sink, count(*) FROM dead_letters WHERE {where} GROUP BY sink", values).fetchall()  # noqa: S608
        )

    def missing(self, selection: Selection) -> list[str]:
        """Return the IDs in the selection that no dead letter of its sinks has."""
        if selection.ids is None:
            return []
        where, values = _condition(selection)
        rows = self._execute(f"SELECT id FROM dead_letters WHERE {where}", values)  # noqa: S608
        found = {event_id for [event_id] in rows}
        return [each for each in selection.ids if each not in found]

    def sinks(self) -> set[str]:
        """Return the sinks that have dead letters."""
        return {sink for [sink] in self._execute("SELECT DISTINCT sink FROM dead_letters")}

    def independent_sinks(self) -> set[str]:
        """Return the sinks that have dead letters of this version: in earlier ones, all sinks were ordered."""
        rows = self._execute("SELECT DISTINCT sink FROM dead_letters WHERE attempts IS NOT NULL")
        return {sink for [sink] in rows}

    def add(self, sink: str, position: int, *, attempts: int, first_at: float, now: float, reason: str) -> None:
        """Copy an event that a record names, and its record's asset, into the dead letters. The record stays."""
        self._execute(
            "INSERT OR REPLACE INTO dead_letters "
            "(sink, position, id, body, reason, asset_id, attempts, first_at, last_at) "
            "SELECT u.sink, u.position, o.id, o.body, ?3, u.asset_id, ?4, ?5, ?6 FROM undelivered AS u "
            "JOIN outbox AS o ON o.position = u.position WHERE u.sink = ?1 AND u.position = ?2",
            (sink, position, reason, attempts, first_at, now),
        )

    def supersede(self, sink: str, position: int, *, now: float) -> str:
        """Copy a transition that a record names, and what the record holds, into the dead letters. Return its ID."""
        [event_id] = self._execute(
            "INSERT OR REPLACE INTO dead_letters "
            "(sink, position, id, body, reason, asset_id, attempts, first_at, last_at) "
            "SELECT u.sink, u.position, o.id, o.body, ?3, u.asset_id, u.attempts, u.first_at, ?4 FROM undelivered AS u "
            "JOIN outbox AS o ON o.position = u.position WHERE u.sink = ?1 AND u.position = ?2 RETURNING id",
            (sink, position, SUPERSEDED, now),
        ).fetchone()
        return str(event_id)

    def put_back(self, selection: Selection, *, now: float) -> None:
        """Put the selected events back into the outbox, each with a record for its sink that is due `now`."""
        where, values = _condition(selection)
        self._execute(
            f"INSERT OR IGNORE INTO outbox (position, id, body) SELECT position, id, body FROM dead_letters "  # noqa: S608
            f"WHERE {where}",
            values,
        )
        self._execute(
            "INSERT OR IGNORE INTO undelivered (sink, position, asset_id, attempts, next_at, gives_way) "  # noqa: S608
            "SELECT sink, position, asset_id, 0, :now, asset_id IS NOT NULL AND id GLOB asset_id || '.*.*' "
            f"FROM dead_letters WHERE {where}",
            {**values, "now": now},
        )
        self.delete(selection)

    def delete(self, selection: Selection) -> None:
        """Delete the selected dead letters."""
        where, values = _condition(selection)
        self._execute(f"DELETE FROM dead_letters WHERE {where}", values)  # noqa: S608

    def prune(self, *, before: float, limit: int) -> int:
        """Delete at most `limit` dead letters whose last attempt was earlier than `before`. Return how many."""
        return self._execute(
            "DELETE FROM dead_letters WHERE rowid IN (SELECT rowid FROM dead_letters WHERE last_at < ? LIMIT ?)",
            (before, limit),
        ).rowcount

    def end_future(self, now: float) -> None:
        """Set the time of the last attempt to `now` where it is later or unknown: retention counts from it."""
        self._execute("UPDATE dead_letters SET last_at = ?1 WHERE last_at IS NULL", (now,))
        self._execute("UPDATE dead_letters SET last_at = ?1 WHERE last_at > ?1", (now,))


def _condition(selection: Selection) -> tuple[str, dict[str, str]]:
    """Return the condition of a statement, and its values."""
    conditions, values = ["TRUE"], {}
    if selection.ids is not None:
        conditions.append("id IN (SELECT value FROM json_each(:ids))")
        values["ids"] = _encode(selection.ids).decode()
    if selection.sinks is not None:
        conditions.append("sink IN (SELECT value FROM json_each(:sinks))")
        values["sinks"] = _encode(selection.sinks).decode()
    if selection.is_over is not None:
        conditions.append(f"{_IS_OVER} IS TRUE" if selection.is_over else f"{_IS_OVER} IS NOT TRUE")
    return " AND ".join(conditions), values
