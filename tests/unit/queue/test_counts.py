"""What is counted about pending assets, against a walk over all of them."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asset_worker.queue.counts import FIRST_LOOK, Acceptance, Acceptances, WaitCounts
from asset_worker.queue.memory import MemoryQueue
from asset_worker.queue.pending import RECENT_SECONDS
from tests.doubles.clocks import LoopClock, ManualClock
from tests.doubles.local_queue import maintain, open_local, put

WAITS = st.sampled_from([(), ("asset",), ("hls", "thumbnail"), ("hls",), ("visibility",)])


def test_an_asset_counts_for_each_thing_that_it_waits_for_and_for_its_first_look_until_then():
    counts = WaitCounts()
    counts.add((), 3)
    counts.change((), ("hls", "thumbnail"))
    counts.change(("hls", "thumbnail"), ("hls", "thumbnail"))
    counts.add(("hls",))
    assert counts.read() == {"first look": 2, "hls": 2, "thumbnail": 1}
    counts.add(("hls",), -1)
    counts.add(("hls", "thumbnail"), -1)
    assert counts.read() == {"first look": 2}


def test_the_oldest_acceptance_is_the_first_of_which_an_asset_is_pending():
    acceptances, restored = Acceptances(), [Acceptance(3.0, 1), Acceptance(1.0, 1), Acceptance(2.0, 1)]
    assert acceptances.oldest_at is None
    acceptances.restore(restored)
    last = acceptances.add(4.0, 2)
    seen = []
    for each in (last, restored[2], restored[1], restored[0], last):
        seen.append(acceptances.oldest_at)
        acceptances.remove_one(each)
    assert [*seen, acceptances.oldest_at] == [1.0, 1.0, 1.0, 3.0, 4.0, None]


@given(st.lists(st.tuples(st.integers(0, 5), st.none() | WAITS)))
def test_the_counts_are_those_of_a_walk(changes):
    """None: the asset is settled."""
    counts, waits = WaitCounts(), {}
    for asset, after in changes:
        match waits.pop(asset, None), after:
            case None, None:
                continue
            case None, _:
                counts.add(after)
            case before, None:
                counts.add(before, -1)
            case before, _:
                counts.change(before, after)
        if after is not None:
            waits[asset] = after
        assert counts.read() == Counter(what for each in waits.values() for what in each or FIRST_LOOK)


@given(
    restored=st.lists(st.tuples(st.integers(0, 9), st.integers(1, 3)), max_size=4),
    added=st.lists(st.integers(1, 3), max_size=4),
    data=st.data(),
)
def test_the_oldest_acceptance_is_that_of_a_walk(restored, added, data):
    acceptances = Acceptances()
    old = [Acceptance(at, count) for at, count in restored]
    acceptances.restore(old)
    known = old + [acceptances.add(10.0 + number, count) for number, count in enumerate(added)]
    pending = [each for each in known for _ in range(each.pending)]
    while True:
        assert acceptances.oldest_at == min((each.at for each in pending), default=None)
        if not pending:
            return
        gone = pending.pop(data.draw(st.integers(0, len(pending) - 1)))
        acceptances.remove_one(gone)


async def test_what_is_due_is_counted_anew_after_a_moment():
    clock = ManualClock()
    queue = MemoryQueue(clock, sinks=["stdout"], dedupe_window=60.0, max_pending=99)
    assert queue.recent_due_count() == 0
    await put(queue, 0, 1)
    assert (queue.recent_due_count(), queue.due_count()) == (0, 2)
    clock.move(RECENT_SECONDS)
    assert queue.recent_due_count() == 2


@pytest.mark.virtual_time
async def test_maintenance_counts_what_is_due(tmp_path):
    queue = open_local(tmp_path / "j", LoopClock(asyncio.get_running_loop()))
    assert queue.recent_due_count() == 0
    await put(queue, 0, 1)
    assert queue.recent_due_count() == 0
    await maintain(queue)
    assert queue.recent_due_count() == 2
    await queue.close()
