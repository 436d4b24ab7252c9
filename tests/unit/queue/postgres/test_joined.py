"""Changes of a kind that are committed together take few statements, and end as if each were made alone."""

from __future__ import annotations

import asyncio

import psycopg
import pytest

from asset_worker.queue.postgres.changes import Delivered
from tests.doubles.local_queue import put, settle

HOOK = "https://app.example/hooks"
OTHER = "https://other.example/hooks"
NOW = 1_000_010.0


@pytest.fixture
def statements(monkeypatch):
    """The statements that are sent to the database, from now on."""
    sent = []
    run = psycopg.Connection.execute

    def recorded(connection, query, *arguments, **options):
        sent.append(query)
        return run(connection, query, *arguments, **options)

    monkeypatch.setattr(psycopg.Connection, "execute", recorded)
    return sent


async def owed_to(queue, sink, limit=50):
    taken = await queue.outbox.take(sink, limit, now=NOW, until=NOW, without=(), wants=lambda _: True)
    return [each.event.position for each in taken.events]


@pytest.mark.parametrize("count", [2, 6])
async def test_deliveries_that_end_together_take_as_many_statements_as_one(opened, statements, count):
    queue = await opened(sinks=(HOOK,))
    await settle(queue, *range(count + 1))
    first, *rest = await owed_to(queue, HOOK)
    statements.clear()
    await queue.outbox.delivered(HOOK, first, now=NOW)
    alone = len(statements)
    statements.clear()
    await asyncio.gather(*(queue.outbox.delivered(HOOK, each, now=NOW) for each in rest))
    assert len(statements) == alone
    assert queue.outbox.owed(HOOK) == 0


async def test_each_delivery_of_a_group_tells_whether_its_own_row_was_there(opened, sql):
    queue = await opened(sinks=(HOOK, OTHER))
    await settle(queue, 0, 1)
    first, second = await owed_to(queue, HOOK)
    sql("DELETE FROM deliveries WHERE sink = %s AND position = %s", HOOK, first)
    changes = [Delivered(HOOK, first, NOW), Delivered(OTHER, second, NOW), Delivered(HOOK, second, NOW)]
    assert await queue._commits.write(lambda tables: Delivered.together(changes, tables)) == [False, True, True]
    assert sql("SELECT sink, position FROM deliveries") == [(OTHER, first)]
    assert sql("SELECT position FROM events") == [(first,)], "an event goes with the last row that names it"


async def test_what_a_group_of_deliveries_leaves_of_an_asset_is_due_when_the_last_of_them_was_made(opened, sql):
    queue = await opened(sinks=(HOOK,))
    await put(queue, 0)
    sql(
        "WITH made AS (INSERT INTO events (id, body) SELECT 'e' || n, '{}' FROM generate_series(1, 4) AS n "
        "RETURNING position) INSERT INTO deliveries (position, sink, owner, asset_id, is_new, next_at) "
        "SELECT position, %s, %s, 'a', false, %s FROM made",
        HOOK, queue.life, NOW + 600,
    )  # fmt: skip
    positions = [each for [each] in sql("SELECT position FROM deliveries ORDER BY position")]
    changes = [Delivered(HOOK, positions[0], NOW), Delivered(HOOK, positions[1], NOW + 5)]
    await queue._commits.write(lambda tables: Delivered.together(changes, tables))
    assert sql("SELECT position, next_at FROM deliveries ORDER BY position") == [
        (positions[2], NOW + 5),
        (positions[3], NOW + 600),
    ]
