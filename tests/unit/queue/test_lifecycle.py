"""What every engine promises as a `QueueLifecycle`, and how a local one goes on with a run after a crash."""

from __future__ import annotations

import asyncio
import sqlite3

import pytest

from asset_worker.queue.local.engine import PRUNE_EVERY_SECONDS
from asset_worker.queue.memory import MemoryQueue
from tests.doubles.clocks import LoopClock, ManualClock
from tests.doubles.local_queue import event_for, maintain, open_local, put, rejection, settle
from tests.doubles.threads import SuspendingThread
from tests.unit.queue.conformance import DEDUPE_WINDOW

ENGINES = {
    "local": lambda path: open_local(path, ManualClock()),
    "local, with a thread that suspends": lambda path: open_local(path, ManualClock(), thread=SuspendingThread()),
    "memory": lambda _: MemoryQueue(ManualClock(), sinks=["stdout"], dedupe_window=60.0, max_pending=99),
}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "j"


@pytest.fixture(params=ENGINES)
def engine(request, path):
    """A queue that nothing was put into yet."""
    return ENGINES[request.param](path)


async def send_all(queue):
    for stored in await queue.outbox.read("stdout", 100):
        await queue.outbox.advance("stdout", stored.position, None)


async def test_a_run_that_ends_by_itself_reports_its_outcomes(engine):
    await engine.begin(ends_by_itself=True)
    await settle(engine, 0, 1)
    await put(engine, 2, events=[rejection("a")])
    await send_all(engine)
    assert await engine.finish() == {"ready": 2, "rejected": 1}
    await engine.close()


async def refuse_for_good(queue, sink="hook"):
    [owed] = (await queue.outbox.take(sink, 9, now=0.0, until=0.0, without=(), wants=lambda _: True)).events
    await queue.outbox.dead_letter(sink, owed.event.position, attempts=1, first_at=0.0, now=0.0, reason="HTTP 500")


async def test_a_run_that_ends_by_itself_reports_dead_letters_also_those_before_a_crash(path):
    """They are no events that were delivered."""
    queue = open_local(path, ManualClock(), sinks=["hook"], independent=["hook"])
    await queue.begin(ends_by_itself=True)
    await settle(queue, 0)
    await refuse_for_good(queue)
    queue.crash()
    for expected in ({"ready": 1, "dead_letter": 1}, {}):
        queue = open_local(path, ManualClock(), sinks=["hook"], independent=["hook"])
        await queue.begin(ends_by_itself=True)
        assert await queue.finish() == expected
        await queue.close()


async def test_a_service_does_not_count_dead_letters(path):
    queue = open_local(path, ManualClock(), sinks=["hook"], independent=["hook"])
    await queue.begin(ends_by_itself=False)
    await settle(queue, 0)
    await refuse_for_good(queue)
    assert await queue.finish() == {}
    await queue.close()


async def test_a_run_that_does_nothing_reports_no_outcome(engine):
    await engine.begin(ends_by_itself=True)
    assert await engine.finish() == {}
    await engine.close()


async def test_a_service_reports_no_outcomes(engine):
    await engine.begin(ends_by_itself=False)
    await settle(engine, 0)
    assert await engine.finish() == {}
    await engine.close()


async def test_a_queue_is_idle_before_the_first_put(engine):
    await asyncio.wait_for(engine.idle(), 1)
    await engine.close()


async def test_a_queue_is_not_idle_while_an_asset_is_being_put_or_is_pending(engine):
    putting = asyncio.ensure_future(put(engine, 0))
    await asyncio.sleep(0)
    idle = asyncio.ensure_future(engine.idle())
    await putting
    [lease] = await engine.take(1)
    for _ in range(5):
        await asyncio.sleep(0)
    assert not idle.done()
    await engine.settle(lease, event_for(lease))
    await asyncio.wait_for(idle, 1)
    await engine.close()


async def test_a_queue_is_idle_after_a_put_of_nothing_new(engine):
    await settle(engine, 0)
    assert await put(engine, 0) == []
    await asyncio.wait_for(engine.idle(), 1)
    await engine.close()


async def test_no_intake_has_a_position_before_the_first_run(engine):
    assert engine.intakes == {}
    await engine.close()


@pytest.mark.virtual_time
async def test_maintenance_takes_nothing_away(engine):
    await put(engine, 0, events=[rejection("a")])
    await maintain(engine)
    assert (engine.pending_count(), engine.outbox_depth()) == (1, 1)
    await engine.close()


@pytest.mark.virtual_time
async def test_maintenance_drops_what_was_kept_long_enough_for_a_sink_that_was_removed(path):
    clock = LoopClock(asyncio.get_running_loop())
    queue = open_local(path, clock, sinks=["a", "b"])
    await queue.begin(ends_by_itself=False)
    await put(queue, events=[rejection("x")])
    await queue.outbox.advance("a", 1, None)
    await queue.close()
    queue = open_local(path, clock, sinks=["a"])
    await queue.begin(ends_by_itself=False)
    maintaining = asyncio.ensure_future(queue.run_maintenance())
    await asyncio.sleep(DEDUPE_WINDOW - 1)
    assert len(queue.journal.events_after(0, 9)) == 1
    await asyncio.sleep(PRUNE_EVERY_SECONDS + 2)
    assert len(queue.journal.events_after(0, 9)) == 0
    maintaining.cancel()
    await queue.close()


async def begin(path, *, ends_by_itself=True):
    queue = open_local(path, ManualClock())
    await queue.begin(ends_by_itself=ends_by_itself)
    return queue


async def outcomes_of_a_run_that_does_nothing(path):
    queue = await begin(path)
    outcomes = await queue.finish()
    await queue.close()
    return outcomes


async def test_outcomes_are_counted_over_the_crash_of_a_run_that_ends_by_itself(path):
    queue = await begin(path)
    await settle(queue, 0, 1)
    await put(queue, events=[rejection("a")])
    queue.crash()
    queue = await begin(path)
    await settle(queue, 2)
    assert await queue.finish() == {"ready": 3, "rejected": 1}
    await queue.close()


async def test_a_service_counts_nothing_and_drops_the_counts_of_an_interrupted_run(path):
    queue = await begin(path)
    await settle(queue, 0)
    queue.crash()
    queue = await begin(path, ends_by_itself=False)
    await settle(queue, 1)
    queue.crash()
    assert await outcomes_of_a_run_that_does_nothing(path) == {}


async def test_a_run_is_complete_when_it_leaves_nothing_to_do(path):
    queue = await begin(path)
    await settle(queue, 0)
    await send_all(queue)
    assert await queue.finish() == {"ready": 1}
    await queue.close()
    assert await outcomes_of_a_run_that_does_nothing(path) == {}


async def test_a_run_goes_on_while_an_asset_is_pending(path):
    queue = await begin(path)
    await settle(queue, 0)
    await put(queue, 1)
    await send_all(queue)
    assert await queue.finish() == {"ready": 1}
    await queue.close()
    queue = await begin(path)
    [lease] = await queue.take(1)
    await queue.settle(lease, event_for(lease))
    await send_all(queue)
    assert await queue.finish() == {"ready": 2}
    await queue.close()
    assert await outcomes_of_a_run_that_does_nothing(path) == {}


async def test_a_run_goes_on_while_a_sink_lacks_an_event(path):
    queue = await begin(path)
    await settle(queue, 0)
    assert await queue.finish() == {"ready": 1}
    await queue.close()
    queue = await begin(path)
    await send_all(queue)
    assert await queue.finish() == {"ready": 1}
    await queue.close()
    assert await outcomes_of_a_run_that_does_nothing(path) == {}


async def test_a_journal_that_cannot_be_written_at_the_end_reports_no_outcomes_and_keeps_them(path):
    queue = await begin(path)
    await settle(queue, 0)
    await send_all(queue)
    queue.journal._execute("PRAGMA query_only = ON")
    assert await queue.finish() is None
    await queue.close()
    assert await outcomes_of_a_run_that_does_nothing(path) == {"ready": 1}


async def test_an_event_that_was_not_committed_is_not_counted(path):
    queue = await begin(path)
    add_events = queue.journal.add_events

    def fail(events):
        add_events(events)
        raise sqlite3.DatabaseError("damaged")

    queue.journal.add_events = fail
    with pytest.raises(sqlite3.DatabaseError, match="damaged"):
        await put(queue, events=[rejection("a")])
    assert queue.journal.tally() == {}
    await queue.close()
