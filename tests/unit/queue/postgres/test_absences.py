"""What is owed to sinks that no worker has any more."""

from __future__ import annotations

from structlog.testing import capture_logs

from tests.doubles.fleet import prune, tick
from tests.doubles.local_queue import put, rejection
from tests.unit.queue.conformance import DEDUPE_WINDOW


async def with_events_of(opened, sinks):
    """End a worker whose sinks lack an event each."""
    worker = await opened("a", sinks=sinks)
    await put(worker, events=[rejection("k")])
    await worker.finish()


async def test_what_is_owed_to_a_sink_that_is_gone_is_kept_for_the_dedupe_window(opened, sql, clock):
    await with_events_of(opened, ["stdout", "gone"])
    queue = await opened("b")
    await tick(queue)
    assert queue.outbox.owed("stdout") == 1
    with capture_logs() as log:
        await prune(queue)
        clock.move(DEDUPE_WINDOW - 1)
        await prune(queue)
    assert sql("SELECT sink FROM deliveries ORDER BY sink") == [("gone",), ("stdout",)]
    clock.move(1)
    with capture_logs() as later:
        await prune(queue)
        await prune(queue)
    assert sql("SELECT sink FROM deliveries") == [("stdout",)]
    shown = [{key: entry[key] for key in ("event", "sink", "events")} for entry in [*log, *later]]
    assert shown == [
        {"event": "sink.absent", "sink": "gone", "events": 1},
        {"event": "sink.dropped", "sink": "gone", "events": 1},
    ]
    await tick(queue)
    assert sql("SELECT * FROM absences") == [], "nothing is left to remember"


async def test_a_sink_that_is_put_back_gets_what_was_kept_for_it(opened, sql, clock):
    await with_events_of(opened, ["stdout", "gone"])
    queue = await opened("b")
    await tick(queue)
    await prune(queue)
    assert sql("SELECT sink FROM absences") == [("gone",)]
    await queue.finish()
    queue = await opened("b", sinks=["stdout", "gone"])
    await tick(queue)
    clock.move(2 * DEDUPE_WINDOW)
    await prune(queue)
    assert [each.id for each in await queue.outbox.read("gone", 9)] == ["rejected.k"]
    assert sql("SELECT * FROM absences") == []


async def test_nothing_is_kept_for_a_reader_that_is_gone(opened, sql):
    await with_events_of(opened, ["stdout", " traces"])
    queue = await opened("b")
    await tick(queue)
    with capture_logs() as log:
        await prune(queue)
    assert (sql("SELECT sink FROM deliveries"), log) == ([("stdout",)], [])
