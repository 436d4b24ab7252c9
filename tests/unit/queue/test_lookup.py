"""What the engines answer about one asset (`QueueLookup`)."""

from __future__ import annotations

import asyncio
import sqlite3
import zlib
from contextlib import asynccontextmanager, closing

import pytest

from asset_worker.domain.progress import LastSeen, Progress
from asset_worker.domain.states import AssetState, PendingState, SettledState, combined
from asset_worker.queue.local.engine import KEEP_EVENTS_SECONDS, PRUNE_EVERY_SECONDS
from asset_worker.queue.local.journal import FILE_NAME
from asset_worker.queue.memory import open_memory_queue
from tests.doubles.clocks import ManualClock
from tests.doubles.local_queue import event_for, maintain, open_local, put, settle, submission
from tests.doubles.threads import SuspendingThread
from tests.unit.queue.conformance import DEDUPE_WINDOW, IDS

NOW = 1_795_727_780.0
SEEN = Progress(3, last_seen=LastSeen("processing"), waiting_on=("asset",))
FIRST = IDS[0]


@pytest.fixture
def path(tmp_path):
    return tmp_path / FILE_NAME


@asynccontextmanager
async def opened(engine, path, clock):
    if engine == "memory":
        async with open_memory_queue(clock, sinks=("stdout",), dedupe_window=DEDUPE_WINDOW, max_pending=9) as queue:
            yield queue
    else:
        queue = open_local(path, clock)
        await queue.begin(ends_by_itself=False)
        yield queue
        await queue.close()


@pytest.mark.parametrize("engine", ["memory", "local"])
async def test_an_asset_is_unknown_then_pending_then_settled_then_both(engine, path):
    clock = ManualClock(NOW)
    async with opened(engine, path, clock) as queue:
        start = clock.steady()
        assert await queue.find(FIRST) == AssetState()
        await put(queue, 0)
        assert await queue.find(FIRST) == AssetState(PendingState(start, 1, Progress(), 0.0))
        [lease] = await queue.take(1)
        assert await queue.find(FIRST) == AssetState(PendingState(start, 1, Progress(), None)), "it is looked at now"
        await queue.defer(lease, 30.0, SEEN)
        clock.move(10.0)
        assert await queue.find(FIRST) == AssetState(PendingState(start, 1, SEEN, 20.0))
        clock.move(25.0)
        assert await queue.find(FIRST) == AssetState(PendingState(start, 1, SEEN, 0.0)), "it is overdue"
        [lease] = await queue.take(1)
        await queue.settle(lease, event_for(lease))
        settled = SettledState(1, "ready", start, start + 35.0, None)
        assert await queue.find(FIRST) == AssetState(settled=settled)
        clock.move(DEDUPE_WINDOW + 1)
        await put(queue, 0)
        pending = PendingState(start + 36.0 + DEDUPE_WINDOW, 2, Progress(), 0.0)
        assert await queue.find(FIRST) == AssetState(pending, settled)
        assert await queue.find(IDS[1]) == AssetState()


@pytest.mark.parametrize("engine", ["memory", "local"])
async def test_the_oldest_pending_assets_come_in_the_order_of_acceptance(engine, path):
    clock = ManualClock(NOW)
    async with opened(engine, path, clock) as queue:
        start = clock.steady()
        await put(queue, 2)
        await put(queue, 0, 1)
        [lease] = await queue.take(1)
        states = dict.fromkeys(IDS[:3], PendingState(start, 1, Progress(), 0.0))
        states[lease.submission.asset_id] = PendingState(start, 1, Progress(), None)
        assert list(queue.oldest(3).items()) == [(each, states[each]) for each in (IDS[2], *IDS[:2])]
        assert list(queue.oldest(1)) == [IDS[2]]


def test_a_wait_that_ended_after_it_was_read_as_pending_is_settled():
    pending = PendingState(1.0, 2, Progress(), 0.0)
    before, end = SettledState(1, "ready", 0.0, 0.5, None), SettledState(2, "failed", 1.0, 2.0, None)
    assert combined(pending, before) == AssetState(pending, before)
    assert combined(pending, end) == AssetState(settled=end)


async def test_the_state_of_an_asset_that_is_settled_meanwhile_is_never_unknown(path):
    queue = open_local(path, ManualClock(NOW), thread=SuspendingThread())
    await put(queue, 0)
    [lease] = await queue.take(1)
    asking = asyncio.ensure_future(queue.find(FIRST))
    await asyncio.sleep(0)
    await queue.settle(lease, event_for(lease))
    assert await asking != AssetState()
    await queue.close()


async def test_the_event_of_the_last_completion_is_kept_if_it_may_be_asked_for(path):
    clock = ManualClock(NOW)
    queue = open_local(path, clock, keeps_events=True)
    for completion in (1, 2):
        await put(queue, 0)
        [lease] = await queue.take(1)
        event = event_for(lease)
        await queue.settle(lease, event)
        assert (await queue.find(FIRST)).settled == SettledState(
            completion, "ready", lease.accepted_at, clock.steady(), event.body
        )
        clock.move(DEDUPE_WINDOW + 1)
    await queue.close()
    queue = open_local(path, clock, keeps_events=True)
    assert (await queue.find(FIRST)).settled.event == event.body, "it outlives the process"
    with closing(sqlite3.connect(path)) as connection:
        assert [len(row[0]) < len(event.body) for row in connection.execute("SELECT body FROM last_events")] == [True]
    await queue.close()


async def test_no_event_is_kept_if_none_may_be_asked_for(path):
    queue = open_local(path, ManualClock(NOW))
    await settle(queue, 0)
    assert (await queue.find(FIRST)).settled.event is None
    await queue.close()


@pytest.mark.virtual_time
@pytest.mark.parametrize("window", [DEDUPE_WINDOW, 3 * KEEP_EVENTS_SECONDS])
async def test_events_are_kept_for_a_dedupe_window_and_at_least_a_day(path, window):
    clock = ManualClock(NOW)
    queue = open_local(path, clock, keeps_events=True, window=window)
    await queue.begin(ends_by_itself=False)
    await settle(queue, 0)
    for seconds, is_kept in ((max(window, KEEP_EVENTS_SECONDS) - 1, True), (2 + PRUNE_EVERY_SECONDS, False)):
        clock.move(seconds)
        await maintain(queue)
        settled = (await queue.find(FIRST)).settled
        assert (settled.outcome, settled.event is not None) == ("ready", is_kept)
    await queue.close()


@pytest.mark.virtual_time
async def test_events_are_deleted_by_a_start_after_which_none_may_be_asked_for(path):
    clock = ManualClock(NOW)
    queue = open_local(path, clock, keeps_events=True)
    await settle(queue, 0, 1)
    await queue.close()
    queue = open_local(path, clock)
    await queue.begin(ends_by_itself=False)
    clock.move(1.0)
    await maintain(queue)
    await queue.close()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM last_events").fetchone() == (0,)
        assert connection.execute("SELECT count(*) FROM settled").fetchone() == (2,)


@pytest.mark.parametrize("body", [b"no zlib", zlib.compress(b"x" * 40_000_000)[:-9]], ids=["damaged", "a bomb"])
async def test_a_forged_event_is_not_expanded_without_limit(path, body):
    queue = open_local(path, ManualClock(NOW), keeps_events=True)
    await settle(queue, 0)
    queue.journal._execute("UPDATE last_events SET body = ?", (body,))
    found = (await queue.find(FIRST)).settled.event
    assert found is None or len(found) <= 16 << 20
    await queue.close()


async def test_an_instant_in_the_future_does_not_keep_an_event_for_ever(path):
    clock = ManualClock(NOW)
    queue = open_local(path, clock, keeps_events=True)
    await settle(queue, 0)
    queue.journal._execute("UPDATE last_events SET completed_at = completed_at + 1e9")
    await queue.begin(ends_by_itself=False)
    [[at]] = queue.journal._execute("SELECT completed_at FROM last_events").fetchall()
    assert at == clock.steady()
    await queue.close()


async def test_what_is_being_accepted_is_not_known_yet(path):
    """It is not durable: a crash would lose it."""
    queue = open_local(path, ManualClock(NOW))
    with queue._accepting([submission(0)]):
        assert await queue.find(FIRST) == AssetState()
    await queue.close()
