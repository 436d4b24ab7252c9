"""What `status` shows of one worker of a fleet: what it owns and owes, read from the fleet's tables."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

import msgspec

from asset_worker.domain.progress import Progress
from asset_worker.queue.local.reading import shown_instant
from asset_worker.queue.local.status_report import (
    RECENT_SECONDS,
    CompletedLine,
    ConditionLine,
    RetryLine,
    StatusReport,
    pending_line,
)
from asset_worker.queue.outbox_readers import is_reader
from asset_worker.queue.postgres.connection import Connection, execute
from asset_worker.queue.postgres.membership import read_time
from asset_worker.schedule.forecast import TimeLeft, never_known

READ_AT_ONCE: Final = 5_000


def read_status(
    connection: Connection, schema: str, name: str, *, limit: int, time_left: TimeLeft = never_known
) -> StatusReport:
    """Return what the worker of this name owns and owes now, in a transaction of the caller.

    One that does not run owns nothing. Dead letters are those of the whole fleet: they belong to no worker.

    Args:
        connection: the connection.
        schema: the name of the fleet's schema.
        name: the worker's name.
        limit: how many pending, and how many completed assets are shown at most.
        time_left: forecasts how long a wait still lasts.
    """
    now = read_time(connection)
    values = {"name": name, "limit": limit, "since": now - RECENT_SECONDS}
    me = f"(SELECT id FROM {schema}.workers WHERE name = %(name)s)"

    def rows(query: str) -> list[tuple[Any, ...]]:
        return execute(connection, query.format(s=schema, me=me), values).fetchall()

    total, oldest, waiting_on = _count_pending(connection, schema, me, values)
    pending = rows(
        "SELECT asset_id, origin, line, accepted_at, options, completion, progress FROM {s}.pending "
        "WHERE owner = {me} ORDER BY accepted_at LIMIT %(limit)s"
    )
    completed = rows(
        "SELECT asset_id, outcome, accepted_at, completed_at FROM {s}.settled WHERE life = {me} "
        "ORDER BY completed_at DESC LIMIT %(limit)s"
    )
    lately = rows(
        "SELECT outcome, count(*) FROM {s}.settled WHERE life = {me} AND completed_at > %(since)s GROUP BY outcome"
    )
    [(outbox_count,)] = rows(
        "SELECT count(DISTINCT position) FROM {s}.deliveries WHERE owner = {me} AND sink NOT LIKE ' %%'"
    )
    sinks = rows(
        "SELECT jsonb_array_elements_text(facts -> 'settings' -> 'events.sinks') FROM {s}.workers WHERE name = %(name)s"
    )
    owed = rows("SELECT sink, count(*) FROM {s}.deliveries WHERE owner = {me} GROUP BY sink")
    depths = {sink: count for sink, count in owed if not is_reader(sink)}
    retries = rows(
        "SELECT sink, count(*), min(next_at) FROM {s}.deliveries WHERE owner = {me} AND NOT is_new GROUP BY sink"
    )
    conditions = rows("SELECT sink, kind, since, error FROM {s}.conditions WHERE name = %(name)s")
    dead_letters = dict(rows("SELECT sink, count(*) FROM {s}.dead_letters GROUP BY sink"))
    return StatusReport(
        pending_count=total,
        oldest_age=0.0 if oldest is None else max(0.0, now - oldest),
        waiting_on=waiting_on,
        pending=[pending_line(each, now=now, time_left=time_left) for each in pending],
        completed_lately=dict(lately),
        completed=[
            CompletedLine(asset_id, outcome, max(0.0, completed_at - accepted_at), max(0.0, now - completed_at))
            for asset_id, outcome, accepted_at, completed_at in completed
        ],
        outbox_count=outbox_count,
        outbox_depth={sink: 0 for [sink] in sinks}
        | {sink: count for sink, count in depths.items() if not is_reader(sink)},
        outbox_kept={},
        outbox_new=0,
        waiting_for_retry={sink: RetryLine(count, max(0.0, next_at - now)) for sink, count, next_at in retries},
        conditions={
            sink: ConditionLine(kind, shown_instant(since, 0.0), error) for sink, kind, since, error in conditions
        },
        dead_letters=sum(dead_letters.values()),
        dead_letters_by_sink=dead_letters,
    )


def _count_pending(
    connection: Connection, schema: str, me: str, values: dict[str, Any]
) -> tuple[int, float | None, dict[str, int]]:
    """Return how many assets the worker owns, when the first was accepted, and how many wait for what."""
    decode = msgspec.json.Decoder(Progress).decode
    waiting_on: Counter[str] = Counter()
    total, oldest = 0, None
    with connection.cursor("pending") as cursor:  # there may be a million
        cursor.itersize = READ_AT_ONCE
        cursor.execute(f"SELECT accepted_at, progress FROM {schema}.pending WHERE owner = {me}", values)
        for accepted_at, progress in cursor:
            total, oldest = total + 1, accepted_at if oldest is None else min(oldest, accepted_at)
            waiting_on.update((decode(progress).waiting_on if progress else ()) or ("first look",))
    return total, oldest, dict(waiting_on)
