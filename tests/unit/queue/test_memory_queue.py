"""The memory engine: the conformance suite, and what only it has."""

from __future__ import annotations

from sys import getrefcount

import pytest

from asset_worker.domain.progress import Progress
from asset_worker.queue.memory import MemoryQueue, open_memory_queue
from tests.doubles.clocks import ManualClock
from tests.doubles.local_queue import put, rejection, settle
from tests.unit.queue.conformance import DEDUPE_WINDOW, MAX_PENDING, QueueMachine


class MemoryQueueMachine(QueueMachine):
    """It ends with the process, so there is no crash to come back from."""

    async def open(self):
        return MemoryQueue(self.clock, sinks=["stdout"], dedupe_window=DEDUPE_WINDOW, max_pending=MAX_PENDING)

    async def run_maintenance(self):
        await self.queue.run_maintenance()


TestConformance = pytest.mark.timeout(3600)(MemoryQueueMachine.TestCase)


async def test_it_opens_empty_and_keeps_nothing():
    clock = ManualClock()
    for _ in range(2):
        async with open_memory_queue(clock, sinks=["stdout"], dedupe_window=60.0, max_pending=9) as queue:
            assert (queue.pending_count(), queue.outbox_depth(), queue.intakes) == (0, 0, {})
            await settle(queue, 0)
            await put(queue, 1, position=b"7")


async def test_an_event_that_every_sink_has_takes_no_memory():
    queue = MemoryQueue(ManualClock(), sinks=["a", "b"], dedupe_window=60.0, max_pending=9)
    event = rejection("k")
    references = [getrefcount(event.body)]
    await put(queue, events=[event])
    for sink in ("a", "b"):
        references.append(getrefcount(event.body))
        await queue.outbox.advance(sink, 1, None)
    references.append(getrefcount(event.body))
    first = references[0]
    assert references == [first, first + 1, first + 1, first]


async def test_assets_past_their_age_limit_are_leased_once_wherever_they_wait():
    clock = ManualClock()
    queue = MemoryQueue(clock, sinks=["a"], dedupe_window=60.0, max_pending=9)
    await put(queue, 1, 2, 3)
    clock.move(5.0)
    [leased] = await queue.take(1)
    overdue = queue.take_overdue(9, age_limit=lambda _: 5.0)
    assert [lease.age for lease in overdue] == [5.0, 5.0]
    assert leased.submission not in [lease.submission for lease in overdue]
    assert queue.take_overdue(9, age_limit=lambda _: 0.0) == [], "all are leased"
    await queue.defer(overdue[0], 2.0, overdue[0].progress)
    assert queue.take_overdue(9, age_limit=lambda _: 0.0) == [], "it is not due"
    clock.move(2.0)
    [again] = await queue.take(9)
    assert (again.submission, again.late) == (overdue[0].submission, 0.0), "its first due time no longer counts"
    await queue.defer(overdue[1], 2.0, overdue[1].progress)
    clock.move(2.0)
    [due] = queue.take_overdue(9, age_limit=lambda _: 0.0)
    assert (due.submission, due.late) == (overdue[1].submission, 0.0), "it is due now"


async def test_the_search_for_overdue_assets_goes_round_in_steps():
    clock = ManualClock()
    queue = MemoryQueue(clock, sinks=["a"], dedupe_window=60.0, max_pending=9)
    await put(queue, 1, 2, 3)
    found = [queue.take_overdue(2, age_limit=lambda _: 1.0) for _ in range(2)]
    clock.move(1.0)
    found += [queue.take_overdue(2, age_limit=lambda _: 1.0) for _ in range(2)]
    assert [len(leases) for leases in found] == [0, 0, 2, 1]


async def test_an_asset_that_was_looked_at_since_is_not_leased_for_an_older_look():
    clock = ManualClock()
    queue = MemoryQueue(clock, sinks=["a"], dedupe_window=60.0, max_pending=9)
    await put(queue, 1, 2)
    [first, second] = await queue.take(2)
    await queue.defer(first, 30.0, Progress(waiting_at=clock.steady()))
    clock.move(5.0)
    await queue.defer(second, 30.0, Progress(waiting_at=clock.steady()))
    asset_ids = [each.submission.asset_id for each in (first, second)]
    [lease] = queue.lease(asset_ids, not_seen_since=clock.steady())
    assert (lease.submission, lease.late) == (first.submission, -25.0)


async def test_assets_that_are_leased_again_and_again_before_they_are_due_take_no_more_memory():
    clock = ManualClock()
    queue = MemoryQueue(clock, sinks=["a"], dedupe_window=60.0, max_pending=9)
    await put(queue, 1)
    [lease] = await queue.take(1)
    for _ in range(3_000):
        await queue.defer(lease, 86_400.0, lease.progress)
        [lease] = queue.lease([lease.submission.asset_id], not_seen_since=clock.steady())
    assert len(queue._heap) < 1_100
    await queue.defer(lease, 5.0, lease.progress)
    clock.move(5.0)
    assert [each.submission for each in await queue.take(9)] == [lease.submission]
