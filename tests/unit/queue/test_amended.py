"""Pending assets whose submission changes, and those that nobody waits for any more: what an embedded worker needs."""

from __future__ import annotations

import asyncio
import math
from contextlib import asynccontextmanager

import msgspec
import pytest

from asset_worker.domain.submissions import Options
from asset_worker.queue.local.journal import FILE_NAME
from asset_worker.queue.memory import KEEP_COUNTS_SECONDS, open_memory_queue
from tests.doubles.clocks import LoopClock
from tests.doubles.local_queue import event_for, open_local, put, submission
from tests.unit.queue.conformance import IDS

pytestmark = pytest.mark.virtual_time

FIRST = IDS[0]
AMENDED = msgspec.structs.replace(submission(0), options=Options(deadline=7.0))


@asynccontextmanager
async def opened(engine, path, *, window=0.0):
    clock = LoopClock(asyncio.get_running_loop())
    if engine == "memory":
        async with open_memory_queue(clock, sinks=(), dedupe_window=window, max_pending=9) as queue:
            yield queue
    else:
        queue = open_local(path / FILE_NAME, clock, window=window)
        await queue.begin(ends_by_itself=False)
        yield queue
        await queue.close()


@pytest.mark.parametrize("engine", ["memory", "local"])
async def test_an_amended_asset_is_due_sooner_and_is_leased_with_its_new_submission(engine, tmp_path):
    async with opened(engine, tmp_path) as queue:
        assert queue.accepted_at(FIRST) is None
        await put(queue, 0)
        [lease] = await queue.take(1)
        assert queue.accepted_at(FIRST) == lease.accepted_at
        await queue.defer(lease, 100.0, lease.progress)
        began = asyncio.get_running_loop().time()
        queue.amend(AMENDED, due_in=200.0, completion=3)
        queue.amend(AMENDED, due_in=5.0)
        [lease] = await queue.take(1)
        assert asyncio.get_running_loop().time() - began == pytest.approx(5.0)
        assert (lease.submission, lease.completion) == (AMENDED, 3)
        assert queue.due_count() == 0


@pytest.mark.parametrize("engine", ["memory", "local"])
async def test_an_asset_that_is_leased_is_amended_for_its_next_lease(engine, tmp_path):
    async with opened(engine, tmp_path) as queue:
        await put(queue, 0)
        [lease] = await queue.take(1)
        queue.amend(AMENDED, due_in=0.0)
        assert queue.due_count() == 0
        await queue.defer(lease, 1.0, lease.progress)
        [lease] = await queue.take(1)
        assert lease.submission == AMENDED


async def test_a_dropped_asset_is_not_pending_and_has_no_event(tmp_path):
    async with opened("memory", tmp_path) as queue:
        await put(queue, 0)
        [lease] = queue.lease([FIRST], not_seen_since=math.inf)
        queue.drop(lease)
        assert (queue.pending_count(), queue.outbox.depth()) == (0, 0)
        await asyncio.wait_for(queue.idle(), 1)
        await put(queue, 0)
        [lease] = await queue.take(1)
        assert lease.completion == 1


async def test_completions_are_counted_for_a_week_and_then_forgotten(tmp_path):
    async with opened("memory", tmp_path, window=-1.0) as queue:
        completions = []
        for wait in (0.0, KEEP_COUNTS_SECONDS - 1, KEEP_COUNTS_SECONDS + 1):
            await asyncio.sleep(wait)
            await put(queue, 1)  # another asset's end is when what is old is forgotten
            [lease] = await queue.take(1)
            await queue.settle(lease, event_for(lease))
            await put(queue, 0)
            [lease] = await queue.take(1)
            completions.append(lease.completion)
            await queue.settle(lease, event_for(lease))
        assert completions == [1, 2, 1]
