"""A submission of an asset that is pending only because it was found in the account takes that one's place."""

from __future__ import annotations

import pytest

from asset_worker.domain.submissions import Options, Submission
from asset_worker.queue.memory import open_memory_queue
from tests.doubles.clocks import ManualClock
from tests.doubles.local_queue import event_for, open_local
from tests.unit.queue.conformance import DEDUPE_WINDOW, IDS

FOUND = Submission(IDS[0], "account", 0)
ASKED = Submission(IDS[0], "http", 0, Options(metadata={"user": "ada"}, deadline=60.0))
AGAIN = Submission(IDS[0], "file:/q", 7, Options(metadata={"user": "bob"}))


@pytest.fixture(params=["memory", "local"])
async def queue(request, tmp_path):
    clock = ManualClock(1000.0)
    if request.param == "memory":
        async with open_memory_queue(clock, sinks=("stdout",), dedupe_window=DEDUPE_WINDOW, max_pending=9) as it:
            yield it
        return
    it = open_local(tmp_path / "journal.sqlite3", clock)
    await it.begin(ends_by_itself=False)
    yield it
    await it.close()


async def put(queue, *submissions):
    return await queue.put(submissions, events=[], intake="i", position=None)


async def test_the_first_who_asks_for_a_found_asset_is_accepted(queue):
    assert await put(queue, FOUND) == [FOUND]
    assert await put(queue, ASKED, AGAIN) == [ASKED]
    assert await put(queue, AGAIN) == []
    assert await put(queue, FOUND) == [], "it is not found again"
    assert queue.pending_count() == 1
    [lease] = await queue.take(9)
    assert lease.submission == ASKED
    assert (await queue.find(IDS[0])).pending.options == ASKED.options


async def test_its_wait_goes_on_as_it_was(queue):
    await put(queue, FOUND)
    queue._clock.move(5.0)
    [lease] = await queue.take(9)
    await put(queue, ASKED)
    await queue.defer(lease, 0.0, lease.progress)
    [lease] = await queue.take(9)
    assert (lease.submission, lease.age, lease.completion) == (ASKED, 5.0, 1)


async def test_one_that_is_done_is_not_asked_for_any_more(queue):
    await put(queue, FOUND)
    [lease] = await queue.take(9)
    await queue.settle(lease, event_for(lease))
    assert await put(queue, ASKED) == []
    assert queue.pending_count() == 0


async def test_it_is_kept_over_a_restart(tmp_path):
    clock, path = ManualClock(1000.0), tmp_path / "journal.sqlite3"
    queue = open_local(path, clock)
    await put(queue, FOUND, Submission(IDS[1], "account", 0))
    await put(queue, ASKED)
    await queue.close()
    queue = open_local(path, clock)
    kept = {lease.submission.asset_id: lease.submission for lease in await queue.take(9)}
    assert kept == {IDS[0]: ASKED, IDS[1]: Submission(IDS[1], "account", 0)}
    await queue.close()
