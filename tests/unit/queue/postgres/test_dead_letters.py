"""The dead letters of a fleet: a command puts them back or drops them, and a worker sends what was put back."""

from __future__ import annotations

import threading

import psycopg
import pytest

from asset_worker.domain.deliveries import Condition
from asset_worker.queue.dead_letters import Answer, Request
from asset_worker.queue.postgres.dead_letter_rows import FleetDeadLetters
from tests.doubles.fleet import maintain, tick
from tests.doubles.local_queue import put, rejection
from tests.unit.queue.outbox_model import wants_all

HOOK, OTHER = "hook", "other"


@pytest.fixture
def dead(sql):
    """Makes a dead letter."""
    positions = iter(range(1, 99))

    def add(event_id, *sinks):
        position = next(positions)
        asset_id = None if event_id.startswith("rejected.") else event_id.partition(".")[0]
        for sink in sinks or (HOOK,):
            sql(
                "INSERT INTO dead_letters VALUES (%s, %s, %s, %s, '{}', 10, 1000, %s, '503')",
                sink,
                event_id,
                position,
                asset_id,
                2000 + position,
            )

    return add


@pytest.fixture
def letters(server, schema):
    """Calls a function with the dead letters, in a transaction of its own."""

    def run(work):
        with psycopg.connect(server) as connection:
            return work(FleetDeadLetters(connection, schema))

    return run


@pytest.fixture
def asked(letters, clock):
    def ask(action, *ids, sink=None, every=False):
        request = Request(action, ids or None, sink, every)
        return letters(lambda rows: rows.carry_out(request, known=[HOOK, OTHER], now=clock.steady()))

    return ask


def pending(sql, asset_id, completion):
    sql("INSERT INTO pending VALUES (%s, NULL, 0, %s, 'inbox', 1)", asset_id, completion)


async def taken(queue, sink, clock):
    found = await queue.outbox.take(sink, 99, now=clock.steady(), until=clock.steady(), without=(), wants=wants_all)
    return [each.event.id for each in found.events]


async def test_what_is_put_back_is_adopted_and_sent_again(opened, asked, sql, clock):
    queue = await opened(sinks=["stdout", HOOK])
    await put(queue, events=[rejection("k")])
    assert await taken(queue, HOOK, clock) == ["rejected.k"]
    [(position,)] = sql("SELECT position FROM deliveries WHERE sink = 'hook'")
    await queue.outbox.dead_letter(HOOK, position, attempts=3, first_at=1, now=clock.steady(), reason="503")
    assert (await taken(queue, HOOK, clock), queue.outbox.owed(HOOK)) == ([], 0)
    assert asked("retry", "rejected.k") == Answer({HOOK: 1})
    await tick(queue)
    assert (await taken(queue, HOOK, clock), queue.outbox.owed(HOOK)) == (["rejected.k"], 1)
    assert sql("SELECT attempts, first_at, error FROM deliveries WHERE sink = 'hook'") == [(0, None, None)]
    assert sql("SELECT count(*) FROM dead_letters") == [(0,)]


async def test_only_a_worker_that_has_the_sink_adopts_it(opened, asked, dead, clock):
    dead("rejected.k", OTHER)
    asked("retry", sink=OTHER)
    first, second = await opened("a"), await opened("b", sinks=["stdout", OTHER])
    await tick(first)
    await tick(second)
    assert await taken(second, OTHER, clock) == ["rejected.k"]


def test_one_event_serves_all_its_sinks_and_all_keep_their_order(asked, dead, sql):
    dead("a.1", HOOK, OTHER)
    dead("b.1", HOOK)
    dead("c.1", OTHER)
    assert asked("retry", every=True) == Answer({HOOK: 2, OTHER: 2})
    rows = sql("SELECT e.id, d.sink FROM events AS e JOIN deliveries AS d USING (position) ORDER BY position, sink")
    assert rows == [("a.1", HOOK), ("a.1", OTHER), ("b.1", HOOK), ("c.1", OTHER)]
    assert sql("SELECT count(*) FROM events") == [(3,)]


def test_some_are_put_back_or_dropped_by_id_and_sink(asked, dead, sql):
    dead("a.1", HOOK, OTHER)
    dead("b.1", HOOK)
    assert asked("drop", "a.1", sink=OTHER) == Answer({OTHER: 1})
    assert asked("retry", sink=HOOK) == Answer({HOOK: 2})
    assert asked("drop", every=True) == Answer()
    dead("c.1")
    assert asked("drop", sink=HOOK) == Answer({HOOK: 1})
    assert sql("SELECT count(*) FROM dead_letters") == [(0,)]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"ids": ["z.1"]}, "no dead letter has the ID z.1: nothing was done"),
        ({"ids": ["a.1", "z.1"]}, "no dead letter has the ID z.1: nothing was done"),
        ({"sink": "unknown"}, "there is no sink unknown: the sinks are hook, other"),
    ],
)
def test_what_can_not_be_done_changes_nothing(asked, dead, sql, arguments, says):
    dead("a.1")
    answer = asked("retry", *arguments.get("ids", ()), sink=arguments.get("sink"))
    assert answer == Answer(error=says)
    assert (sql("SELECT id FROM dead_letters"), sql("SELECT * FROM deliveries")) == ([("a.1",)], [])


def test_a_sink_that_no_worker_has_is_left(asked, dead, sql):
    facts = '{"settings": {"events.sinks": ["hook", "stdout"]}}'
    sql("INSERT INTO workers (name, version, alive_until, facts) VALUES ('a', '1', now(), %s)", facts)
    dead("a.1", HOOK, OTHER)
    assert asked("retry", every=True) == Answer({HOOK: 1}, left={OTHER: 1})
    assert "which is not a webhook in events.sinks" in asked("retry", sink=OTHER).error


def test_steps_of_waits_that_are_over_are_left(asked, dead, sql):
    pending(sql, "a", 2)
    for event_id in ("a.1.processed", "a.2.processed", "b.1.processed", "b.1"):
        dead(event_id)
    assert asked("retry", every=True) == Answer({HOOK: 2}, over={HOOK: 2})
    assert sql("SELECT e.id, gives_way, is_transition FROM deliveries JOIN events AS e USING (position)") == [
        ("a.2.processed", True, True),
        ("b.1", False, False),
    ]
    assert asked("retry", "a.1.processed").error is not None
    assert asked("drop", every=True) == Answer({HOOK: 2})


def test_a_step_that_is_put_back_comes_before_the_completion_of_its_wait(letters, asked, dead, sql, server, schema):
    """A settlement that is under way is waited for, and the wait is over then."""
    pending(sql, "a", 1)
    dead("a.1.processed")
    answers = []
    with psycopg.connect(server) as worker:
        worker.execute(f"DELETE FROM {schema}.pending WHERE asset_id = 'a'")
        command = threading.Thread(target=lambda: answers.append(asked("retry", every=True)))
        command.start()
        while command.is_alive() and sql("SELECT count(*) FROM pg_locks WHERE NOT granted") == [(0,)]:
            pass
    command.join()
    assert answers == [Answer(over={HOOK: 1})]
    assert sql("SELECT * FROM deliveries") == []


@pytest.mark.virtual_time
async def test_a_sink_that_is_paused_is_resumed_in_all_workers(opened, asked, sql):
    queues = [await opened(name, sinks=["stdout", HOOK]) for name in "ab"]
    for queue in queues:
        await queue.outbox.set_condition(HOOK, Condition("paused", 1.0, "410 Gone"))
    assert asked("retry", sink=OTHER) == Answer()
    for queue in queues:
        await maintain(queue)
    assert not any(queue.outbox._retried[HOOK].is_set() for queue in queues)
    assert asked("retry", sink=HOOK) == Answer()
    for queue in queues:
        await maintain(queue)
        assert queue.outbox._retried[HOOK].is_set()
    assert sql("SELECT * FROM conditions") == []


def test_they_are_listed_the_latest_first_and_shown_with_the_event(letters, dead):
    dead("a.1", HOOK, OTHER)
    dead("b.1")
    found = []

    def show(those):
        found.append((those.total, list(those.letters)))

    letters(lambda rows: rows.read(show, sink=None, limit=2))
    letters(lambda rows: rows.read(show, sink=OTHER, limit=None))
    [(total, [first, second]), of_other] = found
    assert (total, (first.id, first.sink), second.id) == (3, ("b.1", HOOK), "a.1")
    assert (first.first_at, first.last_at) == ("1970-01-01T00:16:40.000Z", "1970-01-01T00:33:22.000Z")
    assert (of_other[0], [each.sink for each in of_other[1]]) == (1, [OTHER])
    assert [each.sink for each in letters(lambda rows: rows.find("a.1", sink=None))] == [HOOK, OTHER]
    [shown] = letters(lambda rows: rows.find("a.1", sink=OTHER))
    assert bytes(shown.event) == b"{}"
