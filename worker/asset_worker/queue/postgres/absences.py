"""What is owed to sinks that no worker of the fleet has any more.

All workers of a fleet have the same sinks. If these were changed, what dead workers owed to one that is gone is adopted
by nobody. It is kept for as long as the local engine keeps it, in case the sink is put back, and then deleted.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import msgspec

from asset_worker.queue.outbox_readers import is_reader
from asset_worker.queue.postgres.connection import Connection, execute

DELETED_AT_ONCE = 20_000
"""Rows that are deleted in one transaction at most."""


class Absences(msgspec.Struct, frozen=True):
    """What was found of absent sinks. Each mapping has the number of events by the sink's name."""

    new: Mapping[str, int]
    """Those that were not known to be absent."""
    dropped: Mapping[str, int]
    """Those whose time is over: so many of their events were deleted."""


class AbsenceRows:
    """The statements about absent sinks."""

    def __init__(self, schema: str) -> None:
        self._owed = (
            f"SELECT sink, count(*) FROM {schema}.deliveries WHERE owner = ANY(%s) AND sink <> ALL(%s) GROUP BY sink"
        )
        self._known = f"SELECT sink, since FROM {schema}.absences"
        self._record = f"INSERT INTO {schema}.absences (sink, since) VALUES (%s, %s) ON CONFLICT DO NOTHING"
        self._forget = f"DELETE FROM {schema}.absences WHERE sink = ANY(%s)"
        self._drop = (
            f"DELETE FROM {schema}.deliveries WHERE (position, sink) IN "
            f"(SELECT position, sink FROM {schema}.deliveries "
            "WHERE owner = ANY(%s) AND sink = ANY(%s) LIMIT %s FOR UPDATE SKIP LOCKED) RETURNING sink"
        )

    def review(
        self, connection: Connection, owners: Sequence[int], sinks: Collection[str], *, now: float, window: float
    ) -> Absences:
        """Record which sinks are absent, and delete what is owed to those whose time is over.

        Args:
            connection: the connection, in a transaction.
            owners: the retired lives that owe events, after all that is owed to `sinks` was adopted from them.
            sinks: the names of the sinks that there are.
            now: in steady time.
            window: for how many seconds events are kept.
        """
        owed: dict[str, int] = dict(execute(connection, self._owed, (list(owners), list(sinks))).fetchall())
        known: dict[str, float] = dict(execute(connection, self._known).fetchall())
        if back := [sink for sink in known if sink not in owed]:
            execute(connection, self._forget, (back,))
        new = {sink: count for sink, count in owed.items() if sink not in known and not is_reader(sink)}
        for sink in new:
            execute(connection, self._record, (sink, now))
        over = [sink for sink in owed if is_reader(sink) or (sink in known and known[sink] + window <= now)]
        dropped: dict[str, int] = {}
        for [sink] in execute(connection, self._drop, (list(owners), over, DELETED_AT_ONCE)) if over else ():
            dropped[sink] = dropped.get(sink, 0) + 1
        return Absences(new, {sink: count for sink, count in dropped.items() if not is_reader(sink)})
