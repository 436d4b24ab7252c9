"""The memory engine: the conformance suite, and what only it has."""

from __future__ import annotations

from sys import getrefcount

import pytest

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


async def test_the_search_for_overdue_assets_goes_round_in_steps():
    clock = ManualClock()
    queue = MemoryQueue(clock, sinks=["a"], dedupe_window=60.0, max_pending=9)
    await put(queue, 1, 2, 3)
    found = [queue.take_overdue(2, age_limit=lambda _: 1.0) for _ in range(2)]
    clock.move(1.0)
    found += [queue.take_overdue(2, age_limit=lambda _: 1.0) for _ in range(2)]
    assert [len(leases) for leases in found] == [0, 0, 2, 1]
