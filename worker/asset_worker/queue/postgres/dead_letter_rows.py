"""The dead letters of a fleet: read by commands, and put back or dropped by them. No worker takes part.

What is put back is a new event of the same ID, which nobody owns: a worker that has the sink adopts it within a third
of its lease. It is a new one because workers delete events that nobody is owed any more, and do not see meanwhile that
somebody puts one back.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, Final

from asset_worker.queue.dead_letters import Answer, DeadLetter, Found, Request, Selection, answer_to, letters_of
from asset_worker.queue.local.reading import shown_instant
from asset_worker.queue.postgres.connection import Connection, execute

NOBODY: Final = 0
"""The owner of what is put back. No life has this id, so it is adopted like what a retired life has left."""
READ_AT_ONCE: Final = 1_000

_COLUMNS: Final = "id, sink, asset_id, attempts, first_at, last_at, reason"
_IS_STEP: Final = "(asset_id IS NOT NULL AND id LIKE '%%.%%.%%')"
"""The condition that an event reports a step: its ID is that of the asset, which has no full stop, with two parts."""


class FleetDeadLetters:
    """The table `dead_letters` of a fleet, in one transaction of a command."""

    def __init__(self, connection: Connection, schema: str) -> None:
        self._connection = connection
        self._schema = schema
        self._dead = f"{schema}.dead_letters"
        self._is_over = (
            f"({_IS_STEP} AND NOT EXISTS (SELECT FROM {schema}.pending AS p "
            "WHERE p.asset_id = d.asset_id AND p.completion::text = split_part(d.id, '.', 2)))"
        )

    def read(self, show: Callable[[Found], None], *, sink: str | None, limit: int | None) -> None:
        """Pass the dead letters of one sink (None: of all) to `show`, at most `limit` (None: all), the latest first."""
        where, values = self._where(Selection(sinks=None if sink is None else (sink,)))
        [[total]] = self._rows(f"SELECT count(*) FROM {self._dead} AS d WHERE {where}", values)
        with self._connection.cursor("dead_letters") as cursor:  # there may be a million
            cursor.itersize = READ_AT_ONCE
            cursor.execute(
                f"SELECT {_COLUMNS} FROM {self._dead} AS d WHERE {where} ORDER BY last_at DESC LIMIT %(limit)s",
                values | {"limit": limit},
            )
            show(Found(total, letters_of(cursor, _shown)))

    def find(self, event_id: str, *, sink: str | None) -> list[DeadLetter]:
        """Return the dead letters of one event, with the event: of one sink; None: of all."""
        where, values = self._where(Selection((event_id,), None if sink is None else (sink,)))
        rows = self._rows(f"SELECT {_COLUMNS}, body FROM {self._dead} AS d WHERE {where} ORDER BY sink", values)
        return list(letters_of(((*row[:-1], row[-1].encode()) for row in rows), _shown))

    def carry_out(self, request: Request, *, known: Collection[str], now: float) -> Answer:
        """Carry out a request. `known` are the sinks of the settings: they count if no worker runs.

        `now` is what the database's clock shows, in seconds since the epoch.
        """
        named = Selection(request.ids or None, None if request.sink is None else (request.sink,))
        if request.action == "retry":
            self._hold_waits(named)
        rows = self._rows(
            "SELECT DISTINCT jsonb_array_elements_text(facts -> 'settings' -> 'events.sinks') "
            f"FROM {self._schema}.workers",
            {},
        )
        receivers = {name for [name] in rows} or None
        answer = answer_to(request, self, receivers=receivers, known=known, now=now)
        if request.action == "retry" and request.sink is not None and answer.error is None:
            self._resume(request.sink)
        return answer

    def count_by_sink(self, selection: Selection, /) -> dict[str, int]:
        """Return how many of the selected dead letters each sink has, of those that have any."""
        where, values = self._where(selection)
        return dict(self._rows(f"SELECT sink, count(*) FROM {self._dead} AS d WHERE {where} GROUP BY sink", values))

    def missing(self, selection: Selection, /) -> list[str]:
        """Return the IDs in the selection that no dead letter of its sinks has."""
        if selection.ids is None:
            return []
        where, values = self._where(selection)
        found = {event_id for [event_id] in self._rows(f"SELECT id FROM {self._dead} AS d WHERE {where}", values)}
        return [each for each in selection.ids if each not in found]

    def sinks(self) -> set[str]:
        """Return the sinks that have dead letters."""
        return set(self.count_by_sink(Selection()))

    def independent_sinks(self) -> set[str]:
        """Return the sinks that have dead letters: ordered ones have none."""
        return self.sinks()

    def put_back(self, selection: Selection, /, *, now: float) -> None:
        """Put the selected events back into the outbox, owned by nobody, each due `now` for its sink."""
        where, values = self._where(selection)
        self._rows(
            f"WITH chosen AS (DELETE FROM {self._dead} AS d WHERE {where} RETURNING d.*), "
            # One event for all its sinks, in the order in which they were made.
            f"added AS (INSERT INTO {self._schema}.events (id, body) SELECT id, body FROM "
            "(SELECT DISTINCT ON (id) id, body, position FROM chosen ORDER BY id, position) AS e ORDER BY e.position "
            "RETURNING position, id) "
            f"INSERT INTO {self._schema}.deliveries "
            "(position, sink, owner, asset_id, is_transition, is_new, gives_way, next_at) "
            f"SELECT a.position, c.sink, {NOBODY}, c.asset_id, c.is_step, false, c.is_step, %(now)s "
            f"FROM (SELECT *, {_IS_STEP} AS is_step FROM chosen) AS c JOIN added AS a USING (id)",
            values | {"now": now},
        )

    def delete(self, selection: Selection, /) -> None:
        """Delete the selected dead letters."""
        where, values = self._where(selection)
        self._rows(f"DELETE FROM {self._dead} AS d WHERE {where}", values)

    def _hold_waits(self, selection: Selection) -> None:
        """Let no wait end before the transaction does whose steps are selected: its completion must come after them."""
        where, values = self._where(selection)
        self._rows(
            f"SELECT FROM {self._schema}.pending WHERE asset_id IN "
            f"(SELECT d.asset_id FROM {self._dead} AS d WHERE {where} AND {_IS_STEP}) ORDER BY asset_id FOR SHARE",
            values,
        )

    def _resume(self, sink: str) -> None:
        """Have every worker resume a sink that is paused. They see that nothing is recorded about it any more."""
        query = f"DELETE FROM {self._schema}.conditions WHERE sink = %(sink)s AND kind = 'paused'"
        self._rows(query, {"sink": sink})

    def _where(self, selection: Selection) -> tuple[str, dict[str, Any]]:
        """Return the condition on a row `d`, and its values."""
        conditions, values = ["TRUE"], dict[str, Any]()
        if selection.ids is not None:
            conditions.append("d.id = ANY(%(ids)s)")
            values["ids"] = list(selection.ids)
        if selection.sinks is not None:
            conditions.append("d.sink = ANY(%(sinks)s)")
            values["sinks"] = list(selection.sinks)
        if selection.is_over is not None:
            conditions.append(self._is_over if selection.is_over else f"NOT {self._is_over}")
        return " AND ".join(conditions), values

    def _rows(self, query: str, values: dict[str, Any]) -> list[tuple[Any, ...]]:
        cursor = execute(self._connection, query, values)
        return cursor.fetchall() if cursor.description else []


def _shown(instant: float | None) -> str | None:
    """Return an instant as people read it: steady time is that of the database's clock."""
    return shown_instant(instant, 0.0)
