"""The lives of the workers in the table `workers`, and what the dead leave behind.

A *life* is a worker from one start to its end. It owns rows by its id, and what it writes is fenced by that: who was
retired meanwhile changes nothing. A life is alive until `alive_until`, by the database's clock, and extends that again
and again. It is retired by the deletion of its row. What it owned is freed afterwards, and repeatedly: a claim that was
under way may be committed after the deletion.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from asset_worker.queue.postgres.connection import Connection, execute

FREED_AT_ONCE: Final = 5_000
"""Rows that are freed in one statement at most, so that nobody waits long for them."""


class Life(msgspec.Struct, frozen=True):
    """A worker that was not retired, as the others see it."""

    id: int
    name: str
    alive_for: float
    """Seconds until its lease ends; negative: it has ended."""
    owned: int
    """How many assets it owned when it last extended its lease."""
    portion: float
    """Which portion of the quota it uses."""
    facts: dict[str, Any]
    """What it tells the others: its settings that must be the same for all, and what it has learned of limits."""


class Lives:
    """The statements about lives."""

    def __init__(self, schema: str, *, lease: float) -> None:
        """`lease` is in seconds."""
        self._lease = lease
        self._begin = (
            f"INSERT INTO {schema}.workers (name, version, alive_until, facts) "
            "VALUES (%(name)s, %(version)s, clock_timestamp() + %(lease)s * interval '1 second', %(facts)s::jsonb) "
            "ON CONFLICT (name) DO NOTHING RETURNING id"
        )
        self._retire_named = f"DELETE FROM {schema}.workers WHERE name = %s AND alive_until < clock_timestamp()"

        self._renew = (
            f"UPDATE {schema}.workers SET alive_until = clock_timestamp() + %(lease)s * interval '1 second', "
            "owned = %(owned)s, portion = %(portion)s, leases_lost = %(leases_lost)s, facts = %(facts)s::jsonb "
            "WHERE id = %(life)s AND name = %(name)s"
        )
        self._others = (
            "SELECT id, name, extract(epoch FROM alive_until - clock_timestamp())::float8, owned, portion, facts "
            f"FROM {schema}.workers WHERE id <> %s ORDER BY id"
        )
        self._retire = (
            f"DELETE FROM {schema}.workers WHERE id IN (SELECT id FROM {schema}.workers "
            "WHERE alive_until < clock_timestamp() AND id <> %(life)s FOR UPDATE SKIP LOCKED) RETURNING id, name"
        )
        self._end = f"DELETE FROM {schema}.workers WHERE id = %s AND name = %s RETURNING id"
        # The owners are found by jumps along the index, one for each: there are few owners, and a million rows.
        self._orphans = {
            table: (
                f"WITH RECURSIVE owners AS ((SELECT owner FROM {schema}.{table} WHERE owner IS NOT NULL "
                "ORDER BY owner LIMIT 1) UNION ALL SELECT (SELECT t.owner "
                f"FROM {schema}.{table} AS t WHERE t.owner > o.owner ORDER BY t.owner LIMIT 1) "
                "FROM owners AS o WHERE o.owner IS NOT NULL) "
                f"SELECT owner FROM owners WHERE owner IS NOT NULL AND owner NOT IN (SELECT id FROM {schema}.workers)"
            )
            for table in ("pending", "deliveries")
        }
        self._free = (
            f"UPDATE {schema}.pending SET owner = NULL WHERE asset_id IN (SELECT asset_id FROM {schema}.pending "
            "WHERE owner = ANY(%s) LIMIT %s FOR UPDATE SKIP LOCKED)"
        )

    def begin(self, connection: Connection, *, name: str, version: str, facts: bytes) -> int | None:
        """Begin a life. Return its id; None: a worker with this name is alive."""
        execute(connection, self._retire_named, (name,))
        row = execute(
            connection, self._begin, {"name": name, "version": version, "lease": self._lease, "facts": facts.decode()}
        ).fetchone()
        return None if row is None else int(row[0])

    def others(self, connection: Connection, life: int) -> list[Life]:
        """Return all other lives that were not retired."""
        return [Life(*row) for row in execute(connection, self._others, (life,)).fetchall()]

    def renew(
        self,
        connection: Connection,
        life: int,
        *,
        name: str,
        owned: int,
        portion: float,
        leases_lost: int,
        facts: bytes,
    ) -> bool:
        """Extend the lease. Return whether this life was not retired.

        After a failover that has lost some commits, or the restoring of a backup, another worker may have the number.
        """
        parameters = {
            "life": life,
            "name": name,
            "lease": self._lease,
            "owned": owned,
            "portion": portion,
            "leases_lost": leases_lost,
            "facts": facts.decode(),
        }
        return execute(connection, self._renew, parameters).rowcount == 1

    def retire_dead(self, connection: Connection, life: int) -> list[tuple[int, str]]:
        """Retire the lives whose lease has ended. Return the id and the name of each."""
        return [(int(each), name) for each, name in execute(connection, self._retire, {"life": life}).fetchall()]

    def end(self, connection: Connection, life: int, *, name: str) -> bool:
        """Retire one life of the worker of this name. Return whether it was not retired before."""
        return execute(connection, self._end, (life, name)).fetchone() is not None

    def orphans(self, connection: Connection, table: str) -> list[int]:
        """Return the owners of rows in `pending` or `deliveries` that were retired."""
        return [int(each) for [each] in execute(connection, self._orphans[table]).fetchall()]

    def free(self, connection: Connection, owners: Sequence[int], *, limit: int = FREED_AT_ONCE) -> int:
        """Free at most `limit` pending assets of these owners. Return how many."""
        return execute(connection, self._free, (list(owners), limit)).rowcount
