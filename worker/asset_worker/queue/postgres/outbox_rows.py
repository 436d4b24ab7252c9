"""What each sink is still owed, in the table `deliveries`, and the events that these rows name.

There is no watermark: an event with a lower position may be committed later, by another worker. So a row stands for
each event that a sink lacks, from the settlement on, and is deleted once the sink has it. A life delivers the rows that
it owns; those of a retired life are adopted by a change of their owner.

A row is *new* until an independent sink has looked at it: then it is deleted, if the sink does not want the event, or
has a due time. Rows of ordered sinks stay new to their end. For all else, see `IndependentOutbox` (`sinks.ports`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import msgspec

from asset_worker.domain.deliveries import Condition, Owed
from asset_worker.domain.events import Stored
from asset_worker.queue.postgres.connection import Connection, execute

SUPERSEDED = "superseded"
"""The reason of a dead letter that reports a step of an asset whose completion was to be sent."""


_COMES_FIRST = "(NOT o.is_new OR o.owner IS DISTINCT FROM %(life)s)"
"""The condition that the row `o` of the same asset is to be sent before a later one: this life has looked at it, or it
is another worker's."""


class Examined(msgspec.Struct):
    """What became of new rows that an independent sink looked at."""

    count: int
    """How many there were; less than asked for: there are no more."""
    events: list[Owed] = []
    """Those that may be sent now."""
    superseded: list[str] = []
    """The IDs of the transitions that became dead letters."""
    holding_up: list[int] = []
    """The positions of the transitions whose completion waits for them."""
    dropped: int = 0
    """How many the sink did not want."""


class OutboxRows:
    """The statements about deliveries and dead letters."""

    def __init__(self, schema: str) -> None:
        d, e, dead = f"{schema}.deliveries", f"{schema}.events", f"{schema}.dead_letters"
        self._new = (
            "SELECT d.position, e.id, e.body, d.asset_id, d.is_transition "
            f"FROM {d} AS d JOIN {e} AS e USING (position) "
            "WHERE d.is_new AND d.owner = %s AND d.sink = %s ORDER BY d.position LIMIT %s"
        )
        # Each part reads one row of an index.
        self._oldest = (
            f"SELECT e.position, e.id, e.body FROM {e} AS e WHERE e.position = least("
            f"(SELECT min(position) FROM {d} WHERE is_new AND owner = %(life)s AND sink = %(sink)s), "
            f"(SELECT min(position) FROM {d} WHERE NOT is_new AND owner = %(life)s AND sink = %(sink)s))"
        )
        # An event is deleted with the last row that names it.
        self._unneeded = (
            f"DELETE FROM {e} AS e WHERE e.position = ANY(%s) "
            f"AND NOT EXISTS (SELECT 1 FROM {d} AS d WHERE d.position = e.position)"
        )
        # Two workers that delete the last two rows of an event at once both see the other's.
        self._all_unneeded = (
            f"DELETE FROM {e} WHERE position IN (SELECT position FROM {e} "
            f"WHERE position < coalesce((SELECT min(position) FROM {d}), {2**63 - 1}) "
            "LIMIT %s FOR UPDATE SKIP LOCKED)"
        )
        self._delete = (
            f"DELETE FROM {d} WHERE sink = %s AND position = ANY(%s) AND owner = %s RETURNING position, asset_id"
        )
        self._due = (
            f"SELECT d.position, e.id, e.body, d.asset_id, d.attempts, d.first_at, d.next_at, d.is_transition "
            f"FROM {d} AS d JOIN {e} AS e USING (position) "
            "WHERE NOT d.is_new AND d.owner = %(life)s AND d.sink = %(sink)s AND d.gives_way = %(gives_way)s "
            "AND d.next_at <= %(until)s AND d.position <> ALL(%(without)s) "
            f"AND NOT EXISTS (SELECT 1 FROM {d} AS o WHERE {_COMES_FIRST} AND o.sink = d.sink "
            "AND o.asset_id = d.asset_id AND (o.position < d.position OR o.position = ANY(%(without)s))) "
            "ORDER BY d.next_at, d.position LIMIT %(limit)s"
        )
        self._next_at = (
            f"SELECT min(next_at) FROM {d} WHERE NOT is_new AND owner = %s AND sink = %s AND gives_way = %s "
            "AND next_at > %s AND position <> ALL(%s)"
        )
        self._waits_for_another = (
            f"SELECT EXISTS (SELECT 1 FROM {d} AS d JOIN {d} AS o ON o.sink = d.sink AND o.asset_id = d.asset_id "
            "AND o.position < d.position AND o.owner IS DISTINCT FROM d.owner "
            "WHERE NOT d.is_new AND d.owner = %s AND d.sink = %s AND d.next_at <= %s)"
        )
        self._of_assets = (
            f"SELECT d.position, d.asset_id, d.is_transition, d.first_at, coalesce(d.next_at, 0) FROM {d} AS d "
            "WHERE (NOT d.is_new OR d.owner IS DISTINCT FROM %s) AND d.sink = %s AND d.asset_id = ANY(%s) "
            "ORDER BY d.position"
        )
        self._record = (
            f"UPDATE {d} AS d SET is_new = false, next_at = g.next_at, gives_way = g.gives_way "
            "FROM unnest(%s::bigint[], %s::float8[], %s::boolean[]) AS g (position, next_at, gives_way) "
            "WHERE d.sink = %s AND d.position = g.position"
        )
        self._hold_up = f"UPDATE {d} SET gives_way = false WHERE sink = %s AND position = ANY(%s)"
        self._bury = (
            f"INSERT INTO {dead} (sink, id, position, asset_id, body, attempts, first_at, last_at, reason) "
            f"SELECT d.sink, e.id, d.position, d.asset_id, e.body, d.attempts, d.first_at, %s, %s "
            f"FROM {d} AS d JOIN {e} AS e USING (position) WHERE d.sink = %s AND d.position = ANY(%s) "
            "ON CONFLICT (sink, position) DO NOTHING RETURNING id"
        )
        self._change = (
            f"UPDATE {d} SET attempts = %s, first_at = %s, next_at = %s, error = %s "
            "WHERE sink = %s AND position = %s AND owner = %s RETURNING asset_id, is_transition, gives_way"
        )
        self._delay_others = (
            f"UPDATE {d} SET next_at = %s WHERE NOT is_new AND sink = %s AND asset_id = %s "
            "AND position > %s AND next_at < %s"
        )
        self._advance_others = (
            f"UPDATE {d} SET next_at = %s WHERE sink = %s AND next_at > %s AND position IN "
            f"(SELECT min(position) FROM {d} WHERE NOT is_new AND sink = %s AND asset_id = ANY(%s) GROUP BY asset_id)"
        )
        self._make_due = (
            f"UPDATE {d} AS d SET next_at = %s WHERE NOT is_new AND owner = %s AND sink = %s AND next_at > %s "
            f"AND NOT EXISTS (SELECT 1 FROM {d} AS o WHERE NOT o.is_new AND o.sink = d.sink "
            "AND o.asset_id = d.asset_id AND o.position < d.position)"
        )
        self._adopt = (
            f"UPDATE {d} AS d SET owner = %s FROM (SELECT sink, position FROM {d} WHERE owner = ANY(%s) "
            "AND sink = ANY(%s) LIMIT %s FOR UPDATE SKIP LOCKED) AS o "
            "WHERE d.sink = o.sink AND d.position = o.position RETURNING d.sink, d.is_new"
        )
        self._hindered = (
            f"SELECT u.position FROM {d} AS f JOIN {d} AS u ON u.sink = f.sink AND u.asset_id = f.asset_id "
            "WHERE f.sink = %s AND f.position = %s AND NOT u.is_new AND u.is_transition AND NOT u.gives_way"
        )
        self._count_attempts = (
            f"UPDATE {d} SET attempts = %s, first_at = %s WHERE sink = %s AND position = %s AND owner = %s"
        )
        self._dead = f"SELECT sink, count(*) FROM {dead} GROUP BY sink"
        self._prune_dead = (
            f"DELETE FROM {dead} WHERE (sink, position) IN (SELECT sink, position FROM {dead} WHERE last_at < %s "
            "ORDER BY last_at LIMIT %s FOR UPDATE SKIP LOCKED)"
        )
        self._conditions = f"SELECT kind, since, error FROM {schema}.conditions WHERE name = %s AND sink = %s"
        self._end_condition = f"DELETE FROM {schema}.conditions WHERE name = %s AND sink = %s"
        self._set_condition = (
            f"INSERT INTO {schema}.conditions (name, sink, kind, since, error) VALUES (%s, %s, %s, %s, %s) "
            "ON CONFLICT (name, sink) DO UPDATE "
            "SET kind = excluded.kind, since = excluded.since, error = excluded.error"
        )

    def read_new(self, connection: Connection, life: int, sink: str, limit: int) -> list[Stored]:
        """Return the first `limit` events that an ordered sink lacks, in the order of their positions."""
        return [Stored(*row[:3]) for row in _stored(execute(connection, self._new, (life, sink, limit)).fetchall())]

    def oldest(self, connection: Connection, life: int, sink: str) -> Stored | None:
        """Return the first event that a sink lacks; None: it lacks none."""
        rows = _stored(execute(connection, self._oldest, {"life": life, "sink": sink}).fetchall())
        return Stored(*rows[0]) if rows else None

    def delete(
        self, connection: Connection, life: int, sink: str, positions: Sequence[int], *, now: float | None = None
    ) -> list[int]:
        """Delete rows. The first of those that their assets have left is due `now`. Return the positions deleted."""
        rows = execute(connection, self._delete, (sink, list(positions), life)).fetchall()
        if now is not None and (assets := [asset_id for _, asset_id in rows if asset_id is not None]):
            execute(connection, self._advance_others, (now, sink, now, sink, assets))
        deleted = [int(position) for position, _ in rows]
        execute(connection, self._unneeded, (deleted,))
        return deleted

    def delete_unneeded(self, connection: Connection, *, limit: int) -> int:
        """Delete at most `limit` events that come before all that sinks are owed. Return how many."""
        return execute(connection, self._all_unneeded, (limit,)).rowcount

    def due(
        self,
        connection: Connection,
        life: int,
        sink: str,
        limit: int,
        *,
        until: float,
        without: Collection[int],
        gives_way: bool,
    ) -> list[Owed]:
        """Return at most `limit` events that are due by `until`, the earliest first; see `IndependentOutbox.take`."""
        if limit <= 0:
            return []
        rows = execute(
            connection,
            self._due,
            {
                "life": life,
                "sink": sink,
                "gives_way": gives_way,
                "until": until,
                "without": list(without),
                "limit": limit,
            },
        ).fetchall()
        return [
            Owed(Stored(position, event_id, body.encode()), asset_id, attempts, first_at, next_at, is_transition)
            for position, event_id, body, asset_id, attempts, first_at, next_at, is_transition in rows
        ]

    def next_at(
        self, connection: Connection, life: int, sink: str, *, after: float, without: Collection[int]
    ) -> float | None:
        """Return when the first event is due of those that are due later than `after`; None: there is none."""
        found = [
            execute(connection, self._next_at, (life, sink, gives_way, after, list(without))).fetchone()
            for gives_way in (False, True)
        ]
        return min((float(row[0]) for row in found if row is not None and row[0] is not None), default=None)

    def waits_for_another(self, connection: Connection, life: int, sink: str, *, until: float) -> bool:
        """Return whether an event that is due by then has to wait for one that another worker sends."""
        row = execute(connection, self._waits_for_another, (life, sink, until)).fetchone()
        return row is not None and bool(row[0])

    def examine(
        self,
        connection: Connection,
        life: int,
        sink: str,
        *,
        limit: int,
        most: int,
        now: float,
        wants: Callable[[Stored], bool],
        without: Collection[int],
    ) -> Examined:
        """Look at the next new rows of an independent sink, until `limit` events may be sent or `most` were examined.

        Those that the sink does not want are deleted. The others are due `now`; one whose asset has an earlier row is
        not sent yet, and due no sooner than that; nor is a transition, which may have to give way. If a completion
        finds that a transition of its asset waits for a retry, that one is superseded, and so are the other
        transitions of the asset, those in `without` aside.
        """
        rows = execute(connection, self._new, (life, sink, most)).fetchall()
        kept: list[tuple[Any, ...]] = []
        unwanted: list[tuple[Any, ...]] = []
        for row in rows:
            (kept if wants(Stored(row[0], row[1], row[2].encode())) else unwanted).append(row)
            if sum(not each[4] for each in kept) >= limit:
                break
        found = Examined(len(kept) + len(unwanted), dropped=len(unwanted))
        if unwanted:
            self.delete(connection, life, sink, [row[0] for row in unwanted])
        if not kept:
            return found
        earlier = self._earlier(connection, life, sink, {row[3] for row in kept if row[3] is not None})
        recorded: list[tuple[int, float, bool]] = []
        superseded: list[int] = []
        for position, event_id, body, asset_id, is_transition in kept:
            before = earlier.get(asset_id, []) if asset_id is not None else []
            if asset_id is not None and not is_transition:
                gone, held = _make_way(before, now=now, without=without)
                superseded += gone
                found.holding_up += held
                before = earlier[asset_id] = [each for each in before if each.position not in gone]
            next_at = max([now, *(each.next_at for each in before)])
            recorded.append((position, next_at, is_transition))
            if not before and not is_transition:
                found.events.append(Owed(Stored(position, event_id, body.encode()), asset_id, 0, None, next_at))
            if asset_id is not None:
                earlier.setdefault(asset_id, []).append(_Earlier(position, is_transition, None, next_at))
        positions, instants, yielding = zip(*recorded, strict=True)
        execute(connection, self._record, (list(positions), list(instants), list(yielding), sink))
        if found.holding_up:
            execute(connection, self._hold_up, (sink, found.holding_up))
        if superseded:
            found.superseded = self.bury(connection, life, sink, superseded, now=now, reason=SUPERSEDED)
        return found

    def bury(
        self, connection: Connection, life: int, sink: str, positions: Sequence[int], *, now: float, reason: str
    ) -> list[str]:
        """Make dead letters of rows. The first of those that their assets have left is due `now`. Return their IDs."""
        ids = [each for [each] in execute(connection, self._bury, (now, reason, sink, list(positions))).fetchall()]
        self.delete(connection, life, sink, positions, now=now)
        return ids

    def supersede(
        self,
        connection: Connection,
        life: int,
        sink: str,
        position: int,
        *,
        attempts: int,
        first_at: float,
        now: float,
    ) -> list[str]:
        """Supersede a transition whose attempt failed, and all others, if they hold up a completion.

        Return the IDs of what became dead letters; empty: the event is no transition, or no completion waits for it.
        """
        rows = execute(connection, self._hindered, (sink, position)).fetchall()
        positions = [int(each) for [each] in rows]
        if position not in positions:
            return []
        self.count_attempts(connection, life, sink, position, attempts=attempts, first_at=first_at)
        return self.bury(connection, life, sink, positions, now=now, reason=SUPERSEDED)

    def count_attempts(
        self, connection: Connection, life: int, sink: str, position: int, *, attempts: int, first_at: float
    ) -> None:
        """Record how many attempts have failed, and when the first did."""
        execute(connection, self._count_attempts, (attempts, first_at, sink, position, life))

    def change(
        self,
        connection: Connection,
        life: int,
        sink: str,
        position: int,
        *,
        attempts: int,
        first_at: float,
        next_at: float,
        error: str,
    ) -> None:
        """Record a failed attempt. Later events of the same asset are due no sooner."""
        row = execute(connection, self._change, (attempts, first_at, next_at, error, sink, position, life)).fetchone()
        if row is not None and row[0] is not None:
            execute(connection, self._delay_others, (next_at, sink, row[0], position, next_at))

    def make_due(self, connection: Connection, life: int, sink: str, *, now: float) -> None:
        """Make due `now` what would be due later, except what waits for an earlier event of its asset."""
        execute(connection, self._make_due, (now, life, sink, now))

    def adopt(
        self, connection: Connection, life: int, owners: Sequence[int], sinks: Sequence[str], *, limit: int
    ) -> list[tuple[str, bool]]:
        """Make at most `limit` rows of retired lives this life's, of those that are owed to `sinks`.

        Return the sink of each, and whether it is new.
        """
        rows = execute(connection, self._adopt, (life, list(owners), list(sinks), limit)).fetchall()
        return [(sink, is_new) for sink, is_new in rows]

    def count_dead_letters(self, connection: Connection) -> dict[str, int]:
        """Return how many dead letters each sink has, of those that have any."""
        return {sink: int(count) for sink, count in execute(connection, self._dead).fetchall()}

    def prune_dead_letters(self, connection: Connection, *, before: float, limit: int) -> int:
        """Delete at most `limit` dead letters whose last attempt was before `before`. Return how many."""
        return execute(connection, self._prune_dead, (before, limit)).rowcount

    def condition(self, connection: Connection, name: str, sink: str) -> Condition | None:
        """Return what is wrong with a sink of the worker of this name; None: nothing is."""
        row = execute(connection, self._conditions, (name, sink)).fetchone()
        return None if row is None else Condition(*row)

    def set_condition(self, connection: Connection, name: str, sink: str, condition: Condition | None) -> None:
        """Record what is wrong with a sink of the worker of this name; None: nothing is."""
        if condition is None:
            execute(connection, self._end_condition, (name, sink))
        else:
            parts = (condition.kind, condition.since, condition.error)
            execute(connection, self._set_condition, (name, sink, *parts))

    def _earlier(
        self, connection: Connection, life: int, sink: str, assets: Collection[str]
    ) -> dict[str, list[_Earlier]]:
        found: dict[str, list[_Earlier]] = {}
        rows = execute(connection, self._of_assets, (life, sink, list(assets))).fetchall() if assets else []
        for position, asset_id, is_transition, first_at, next_at in rows:
            found.setdefault(asset_id, []).append(_Earlier(position, is_transition, first_at, next_at))
        return found


class _Earlier(msgspec.Struct, frozen=True):
    """A row of the same asset that was looked at before."""

    position: int
    is_transition: bool
    first_at: float | None
    next_at: float


def _make_way(earlier: Sequence[_Earlier], *, now: float, without: Collection[int]) -> tuple[list[int], list[int]]:
    """Return which transitions are superseded by the completion of their asset, and which it waits for."""
    transitions = [each for each in earlier if each.is_transition]
    waiting = {each.position for each in transitions if each.first_at is not None and each.next_at > now}
    gone = [
        each.position for each in transitions if waiting and (each.position in waiting or each.position not in without)
    ]
    return gone, [each.position for each in transitions if each.position not in gone]


def _stored(rows: Sequence[tuple[Any, ...]]) -> list[tuple[int, str, bytes]]:
    return [(position, event_id, body.encode()) for position, event_id, body, *_ in rows]
