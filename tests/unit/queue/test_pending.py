"""Pending assets in memory: which are leased, when, with which ages, and what is counted of them."""

from __future__ import annotations

import asyncio

import pytest

from asset_worker.domain.assets import AssetId
from asset_worker.domain.progress import Progress
from asset_worker.domain.states import PendingState
from asset_worker.domain.submissions import Options, Submission
from asset_worker.queue import pending as pending_assets
from asset_worker.queue.memory import MemoryQueue
from asset_worker.queue.pending import PendingAssets
from asset_worker.queue.ports import Lease
from asset_worker.queue.room import Room
from tests.doubles.clocks import LoopClock, ManualClock
from tests.doubles.local_queue import event_for, put, submission
from tests.unit.queue.conformance import DEDUPE_WINDOW, IDS, turns

LIMIT = 5
WAITING = Progress(polls=1, waiting_on=("hls",))


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def queue(clock):
    return MemoryQueue(clock, sinks=["stdout"], dedupe_window=DEDUPE_WINDOW, max_pending=LIMIT)


class Restored(PendingAssets):
    """Assets that an earlier run has kept."""

    def __init__(self, clock, kept, delays):
        super().__init__(clock, Room(LIMIT, clock))
        self._restore(kept, lambda count: delays[:count])


def numbers(leases):
    return [IDS.index(lease.submission.asset_id) for lease in leases]


async def defer(queue, *delays, progress=WAITING):
    """Lease what is due, and defer each by one of these delays."""
    for lease, delay in zip(await queue.take(len(delays)), delays, strict=True):
        await queue.defer(lease, delay, progress)


async def is_waiting(work):
    waiting = asyncio.ensure_future(work)
    await turns(3)
    is_done = waiting.done()
    waiting.cancel()
    await asyncio.wait([waiting])
    return not is_done


async def test_a_lease_has_the_ages_of_its_moment(queue, clock):
    await put(queue, 0)
    progress = Progress(polls=1, ready_at=clock.steady() + 1.0, missing_at=clock.steady() + 3.0)
    await defer(queue, 4.0, progress=progress)
    clock.move(10.0)
    assert await queue.take(9) == [
        Lease(submission(0), clock.steady() - 10.0, 10.0, 9.0, 7.0, 1, progress, 6.0, clock.steady())
    ]


async def test_what_is_due_is_leased_and_what_is_due_soon_if_that_is_asked_for(queue, clock):
    await put(queue, 0, 1, 2)
    await defer(queue, 1.0, 2.0, 3.0)
    clock.move(1.0)
    assert [(*numbers([lease]), lease.late) for lease in await queue.take(9, ahead=1.0)] == [(0, 0.0), (1, -1.0)]
    clock.move(2.0)
    assert numbers(await queue.take(9)) == [2]
    await put(queue, 3, 4)
    assert numbers(await queue.take(1)) == [3]
    await defer(queue, 0.5)
    assert await is_waiting(queue.take(9)), "nothing is leased early without that"


@pytest.mark.virtual_time
async def test_a_wait_ends_when_the_first_is_due_or_another_becomes_due_sooner():
    loop = asyncio.get_running_loop()
    queue = MemoryQueue(LoopClock(loop), sinks=["stdout"], dedupe_window=DEDUPE_WINDOW, max_pending=LIMIT)
    taking = asyncio.ensure_future(queue.take(9))
    await asyncio.sleep(1.0)
    await put(queue, 0, 1)
    [first, second] = await taking
    taking = asyncio.ensure_future(queue.take(9))
    await asyncio.sleep(1.0)
    await queue.defer(first, 60.0, WAITING)
    await asyncio.sleep(1.0)
    await queue.defer(second, 9.0, WAITING)
    assert (numbers(await taking), loop.time()) == ([1], 12.0)
    taking = asyncio.ensure_future(queue.take(9))
    await asyncio.sleep(1.0)
    for due_in in (90.0, 5.0, 7.0):
        queue.amend(submission(0, Options(deadline=due_in)), due_in=due_in)
    [lease] = await taking
    assert (lease.submission.options, loop.time()) == (Options(deadline=7.0), 18.0)
    queue.amend(submission(0), due_in=1.0, completion=4)
    await queue.defer(lease, 2.0, WAITING)
    [lease] = await queue.take(9)
    assert (lease.completion, lease.submission, loop.time()) == (4, submission(0), 20.0)


@pytest.mark.virtual_time
async def test_the_queue_is_idle_while_nothing_is_pending(queue):
    assert not await is_waiting(queue.idle())
    with queue._accepting([submission(0)]):
        assert await is_waiting(queue.idle())
    assert not await is_waiting(queue.idle())
    await put(queue, 0, 1)
    for lease in await queue.take(9):
        assert await is_waiting(queue.idle())
        await queue.settle(lease, event_for(lease))
    assert not await is_waiting(queue.idle())


async def test_there_is_room_for_assets_that_are_pending_and_for_as_many_more_as_the_limit_leaves(queue):
    await put(queue, 0, 1)
    assert (queue.pending_count(), await queue.room()) == (2, 3)
    assert queue.has_room_for(IDS[:5])
    assert not queue.has_room_for(IDS[:6])
    with queue._accepting([submission(2), submission(2), submission(0)]) as new:
        assert new == [submission(2)]
        assert queue.has_room_for(IDS[:5])
        assert queue.has_room_for([IDS[3], IDS[4]])
        assert not queue.has_room_for([IDS[3], IDS[4], IDS[5]])
        with queue._accepting([submission(2), submission(3)]) as more:
            assert more == [submission(3)]
    await put(queue, 2, 3, 4)
    assert (queue.has_room_for(IDS[:5]), queue.has_room_for([IDS[5]])) == (True, False)
    await put(queue, 6)
    assert queue.has_room_for(IDS[:5]), "what is pending takes no more room"
    [*_, lease] = queue.lease([IDS[6]], not_seen_since=0.0)
    await queue.settle(lease, event_for(lease))
    [lease, *_] = await queue.take(1)
    await queue.settle(lease, event_for(lease))
    assert queue.has_room_for([IDS[5]])


async def test_what_is_pending_is_counted_by_what_it_waits_for(queue):
    await put(queue, 0, 1, 2)
    assert queue.waiting_on() == {"first look": 3}
    await defer(queue, 0.0, 0.0)
    assert queue.waiting_on() == {"first look": 1, "hls": 2}
    for lease in await queue.take(2):
        await queue.settle(lease, event_for(lease))
    assert queue.waiting_on() == {"first look": 1}


async def test_the_oldest_assets_are_those_that_were_accepted_first(queue, clock):
    await put(queue, 3, options=Options(deadline=9.0))
    clock.move(2.0)
    await put(queue, 1)
    clock.move(3.0)
    [lease] = await queue.take(1)
    begin = clock.steady() - 5.0
    assert queue.oldest_age() == 5.0
    assert queue.oldest(1) == {IDS[3]: PendingState(begin, 1, Progress(), None, Options(deadline=9.0))}
    await queue.defer(lease, 4.0, WAITING)
    assert queue.pending_state(IDS[3]) == PendingState(begin, 1, WAITING, 4.0, Options(deadline=9.0))
    assert queue.pending_state(IDS[1]) == PendingState(begin + 2.0, 1, Progress(), 0.0, None)
    assert list(queue.oldest(9)) == [IDS[3], IDS[1]]
    assert (queue.pending_state(IDS[0]), queue.accepted_at(IDS[0]), queue.accepted_at(IDS[1])) == (
        None,
        None,
        begin + 2.0,
    )
    clock.move(4.0)
    [_, lease] = await queue.take(9)
    await queue.settle(lease, event_for(lease))
    assert queue.oldest_age() == 7.0


async def test_those_past_their_age_limit_are_found_by_looking_at_some_after_others(queue, clock):
    await put(queue, 0)
    clock.move(4.0)
    await put(queue, 1, 2, options=Options(deadline=1.0))
    await put(queue, 3)
    clock.move(6.0)

    async def overdue(limit):
        found = queue.take_overdue(limit, age_limit=lambda options: 10.0 if options is None else 6.0)
        for lease in found:
            await queue.defer(lease, 0.0, WAITING)
        return [(*numbers([lease]), lease.late) for lease in found]

    assert [await overdue(2), await overdue(1), await overdue(9)] == [[(0, 10.0), (1, 6.0)], [(2, 6.0)], []]
    assert await overdue(9) == [(0, 0.0), (1, 0.0), (2, 0.0)], "the first again, which are due at this moment"
    await defer(queue, 5.0, 5.0, 5.0, 5.0)
    assert await overdue(9) == [], "none is due"


async def test_what_is_shown_otherwise_is_leased_though_it_is_not_due_unless_it_was_seen_since(queue, clock):
    await put(queue, 0, 1, 2)
    now = clock.steady()
    for lease, waiting_at in zip(await queue.take(2), (now - 5.0, now - 4.0), strict=True):
        await queue.defer(lease, 60.0, Progress(polls=1, waiting_at=waiting_at))
    asked = [*IDS[:3], AssetId("unknown")]
    leases = queue.lease(asked, not_seen_since=now - 4.0)
    assert [(*numbers([lease]), lease.late) for lease in leases] == [(0, -60.0), (2, 0.0)]
    assert queue.lease(asked, not_seen_since=now - 4.0) == []


async def test_entries_that_no_longer_count_are_dropped_from_time_to_time_and_no_asset_with_them(
    queue, clock, monkeypatch
):
    monkeypatch.setattr(pending_assets, "SUPERSEDED_ENTRIES", 3)
    await put(queue, 0, 1, 2)
    await defer(queue, 20.0, 30.0, 10.0)
    for _ in range(9):
        [lease] = queue.lease([IDS[0]], not_seen_since=0.0)
        await queue.defer(lease, 20.0, Progress())
    clock.move(20.0)
    assert (numbers(await queue.take(9)), queue.due_count()) == ([2, 0], 0)
    clock.move(10.0)
    assert numbers(await queue.take(9)) == [1]


def test_entries_that_no_longer_count_are_dropped_when_they_are_a_thousand_more_than_those_that_may():
    assert pending_assets.SUPERSEDED_ENTRIES == 1000


async def test_what_is_due_is_counted_again_after_two_seconds(queue, clock):
    assert queue.recent_due_count() == 0
    await put(queue, 0, 1)
    counts = []
    for seconds in (0.0, 0.5, 1.4, 0.1):
        clock.move(seconds)
        counts.append(queue.recent_due_count())
    assert (counts, queue.due_count()) == ([0, 0, 0, 2], 2)
    await queue.take(1)
    clock.mono -= 1.0
    assert queue.recent_due_count() == 1, "a clock that went back"


async def test_what_was_kept_is_pending_again_in_the_order_of_acceptance(clock):
    begin = clock.steady()
    kept = [
        (submission(2), begin - 5.0, 1, WAITING),
        (submission(0), begin - 9.0, 3, Progress(ready_at=begin - 1.0)),
        (submission(1), begin - 5.0, 1, Progress()),
    ]
    queue = Restored(clock, kept, [3.0, 1.0, 2.0])
    assert list(queue.oldest(9)) == [IDS[0], IDS[2], IDS[1]]
    assert (queue.pending_count(), await queue.room(), queue.oldest_age()) == (3, 2, 9.0)
    assert queue.waiting_on() == {"first look": 2, "hls": 1}
    assert await is_waiting(queue.idle())
    assert queue.due_count() == 0
    taken = []
    for _ in range(3):
        clock.move(1.0)
        [lease] = await queue.take(9)
        taken.append((*numbers([lease]), lease.late, lease.completion))
        if len(taken) == 2:
            queue._remove(lease)
        elif len(taken) == 1:
            queue._remove(lease)
            assert queue.oldest_age() == 10.0
    assert taken == [(2, 0.0, 1), (1, 0.0, 1), (0, 0.0, 3)]
    assert lease.ready_age == 4.0
    queue._remove(lease)
    assert (queue.oldest_age(), queue.pending_count(), queue.waiting_on()) == (0.0, 0, {})
    assert not await is_waiting(queue.idle())


async def test_without_anything_kept_no_first_look_is_planned_and_the_queue_is_idle(clock):
    queue = PendingAssets(clock, Room(LIMIT, clock))
    queue._restore([], lambda count: [1.0] * (count + 1))
    assert (queue.pending_count(), await queue.room()) == (0, LIMIT)
    assert not await is_waiting(queue.idle())


async def test_a_found_asset_is_asked_for_by_the_first_who_did_not_find_it(queue):
    found = Submission(IDS[0], "account", 0)
    await queue.put([found, submission(1)], events=[], intake="i", position=None)
    assert queue._asked_for([found, submission(1), submission(2)]) == {}
    assert queue._asked_for([found, submission(0), Submission(IDS[0], "http", 9)]) == {IDS[0]: submission(0)}
    assert await queue.put([submission(0)], events=[], intake="i", position=None) == [submission(0)]
    assert [lease.submission for lease in await queue.take(9)] == [submission(0), submission(1)]


async def test_an_asset_that_was_leased_before_it_was_due_is_not_due_again_at_that_time(queue, clock):
    await put(queue, 0, 1, 2)
    leases = queue.lease(IDS[:2], not_seen_since=0.0)
    await queue.settle(leases[0], event_for(leases[0]))
    await queue.defer(leases[1], 20.0, WAITING)
    assert numbers(await queue.take(9)) == [2]
    assert await is_waiting(queue.take(9))
    clock.move(20.0)
    assert numbers(await queue.take(9)) == [1]


async def test_what_is_due_is_counted_up_to_a_thousand(queue):
    many = [Submission(AssetId(f"a{number}"), "stdin", 1) for number in range(1_001)]
    await queue.put(many, events=[], intake="i", position=None)
    assert (queue.due_count(), queue.recent_due_count(), queue.due_count(9)) == (1000, 1000, 9)
