"""The tally of an plan that ends by itself, over all the runs that it takes."""

from __future__ import annotations

import sqlite3

import pytest

from tests.doubles.clocks import ManualClock
from tests.doubles.local_queue import crash, event_for, open_local, put, rejection, settle


@pytest.fixture
def path(tmp_path):
    return tmp_path / "j"


async def begin(path, *, ends_by_itself=True):
    queue = open_local(path, ManualClock())
    await queue.begin_run(ends_by_itself=ends_by_itself)
    return queue


async def send_all(queue):
    await queue.outbox.advance("stdout", queue.outbox._last, None)


async def tally_of_a_run_that_does_nothing(path):
    queue = await begin(path)
    tally = await queue.end_run()
    await queue.close()
    return tally


async def test_outcomes_are_counted_over_the_crash_of_an_errand_that_ends_by_itself(path):
    queue = await begin(path)
    await settle(queue, 0, 1)
    await put(queue, events=[rejection("a")])
    crash(queue)
    queue = await begin(path)
    await settle(queue, 2)
    assert await queue.end_run() == {"ready": 3, "rejected": 1}
    await queue.close()


async def test_a_service_counts_nothing_and_forgets_what_an_errand_left(path):
    queue = await begin(path)
    await settle(queue, 0)
    crash(queue)
    queue = await begin(path, ends_by_itself=False)
    await settle(queue, 1)
    crash(queue)
    assert await tally_of_a_run_that_does_nothing(path) == {}


async def test_an_errand_ends_with_the_run_that_leaves_nothing_to_do(path):
    queue = await begin(path)
    await settle(queue, 0)
    await send_all(queue)
    assert await queue.end_run() == {"ready": 1}
    await queue.close()
    assert await tally_of_a_run_that_does_nothing(path) == {}


async def test_an_errand_goes_on_while_an_asset_is_pending(path):
    queue = await begin(path)
    await settle(queue, 0)
    await put(queue, 1)
    await send_all(queue)
    assert await queue.end_run() == {"ready": 1}
    await queue.close()
    queue = await begin(path)
    [lease] = await queue.take(1)
    await queue.settle(lease, event_for(lease))
    await send_all(queue)
    assert await queue.end_run() == {"ready": 2}
    await queue.close()
    assert await tally_of_a_run_that_does_nothing(path) == {}


async def test_an_errand_goes_on_while_a_sink_lacks_an_event(path):
    queue = await begin(path)
    await settle(queue, 0)
    assert await queue.end_run() == {"ready": 1}
    await queue.close()
    queue = await begin(path)
    await send_all(queue)
    assert await queue.end_run() == {"ready": 1}
    await queue.close()
    assert await tally_of_a_run_that_does_nothing(path) == {}


async def test_a_journal_that_cannot_be_written_at_the_end_tells_no_tally_and_keeps_it(path):
    queue = await begin(path)
    await settle(queue, 0)
    await send_all(queue)
    queue._commits._journal._execute("PRAGMA query_only = ON")
    assert await queue.end_run() is None
    await queue.close()
    assert await tally_of_a_run_that_does_nothing(path) == {"ready": 1}


async def test_an_event_that_was_not_committed_is_not_counted(path):
    queue = await begin(path)
    journal = queue._commits._journal

    def fail(journal):
        journal.add_events([rejection("a")])
        raise sqlite3.DatabaseError("damaged")

    with pytest.raises(sqlite3.DatabaseError, match="damaged"):
        await queue._commits.write(fail)
    assert journal.tally() == {}
    await queue.close()
