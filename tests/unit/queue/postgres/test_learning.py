"""What workers of a fleet learn from one another of how long assets take."""

from __future__ import annotations

import asyncio

import pytest

from asset_worker.queue.postgres import learning
from asset_worker.queue.postgres.learning import share_periodically
from asset_worker.schedule.adaptive import AdaptiveSchedule
from asset_worker.schedule.life_table import MOST_EVIDENCE
from asset_worker.schedule.ports import WaitState

WAIT = WaitState(1, age=30.0, waiting_on=(), file_type="video/mp4")


def schedule_that_saw(ends):
    schedule = AdaptiveSchedule(initial=2.0, multiplier=1.5, maximum=30.0, uniform=lambda: 0.5)
    for _ in range(ends):
        schedule.observe(WAIT, since=28.0, ended=["asset"])
    return schedule


def evidence_of(schedule):
    return round(sum(schedule.evidence().values()))


async def exchange(queue, schedule):
    """Exchange once, as the first thing that the sharing does."""
    await learning._share(schedule, queue)


async def test_each_worker_plans_with_what_all_have_learned(opened):
    first, second = await opened("a"), await opened("b")
    mine, theirs = schedule_that_saw(20), schedule_that_saw(0)
    await exchange(first, mine)
    await exchange(second, theirs)
    assert evidence_of(theirs) == 20
    looks = WaitState(1, waiting_on=("asset",), file_type="video/mp4")
    assert theirs.slow_after(looks) is None
    for _ in range(3):
        await exchange(first, mine)
        await exchange(second, theirs)
    assert (evidence_of(mine), evidence_of(theirs)) == (20, 20), "nobody counts what comes back as its own"
    assert theirs(looks) == pytest.approx(mine(looks), rel=0.02)


async def test_what_a_dead_worker_has_learned_is_merged_once(opened, sql):
    dead, second, third = await opened("a"), await opened("b"), await opened("c")
    await exchange(dead, schedule_that_saw(20))
    sql("DELETE FROM workers WHERE id = %s", dead.life)
    heir, other = schedule_that_saw(10), schedule_that_saw(5)
    for _ in range(2):
        await exchange(second, heir)
        await exchange(third, other)
    await exchange(second, heir)
    assert (evidence_of(heir), evidence_of(other)) == (35, 35)
    assert sql("SELECT life FROM learned ORDER BY life") == [(second.life,), (third.life,)]
    assert round(sum(table.evidence for table in heir._knowledge.tables.values())) == 30


async def test_a_restarted_worker_goes_on_with_what_it_had_learned(opened):
    queue = await opened()
    sharing = asyncio.ensure_future(share_periodically(schedule_that_saw(20), queue))
    await asyncio.sleep(0)
    sharing.cancel()
    await asyncio.wait([sharing])
    await queue.finish()
    schedule = schedule_that_saw(0)
    await exchange(await opened(), schedule)
    assert evidence_of(schedule) == 20


async def test_a_worker_that_was_retired_does_not_count_its_own_evidence_twice(opened, sql):
    queue, schedule = await opened(), schedule_that_saw(20)
    await exchange(queue, schedule)
    sql("DELETE FROM workers")
    await exchange(queue, schedule)
    assert evidence_of(schedule) == 20
    assert sql("SELECT life FROM learned") == [(queue.life,)]


async def test_what_another_version_has_learned_is_left_out(opened, sql):
    queue, schedule = await opened(), schedule_that_saw(20)
    sql("INSERT INTO learned VALUES (-1, 'damaged')")
    await exchange(queue, schedule)
    assert evidence_of(schedule) == 20


async def test_merged_evidence_is_no_more_than_one_worker_could_have(opened, sql):
    """Or else it could not be read again, and would never give way to what is new."""
    dead, queue = await opened("a"), await opened("b")
    await exchange(dead, schedule_that_saw(2_000))
    sql("DELETE FROM workers WHERE id = %s", dead.life)
    schedule = schedule_that_saw(2_000)
    await exchange(queue, schedule)
    assert evidence_of(schedule) == round(MOST_EVIDENCE)
    [(kept,)] = sql("SELECT evidence FROM learned")
    assert len(learning.readable([kept])) == 1
