"""What the poller does with a lease after a look."""

from __future__ import annotations

import asyncio

import pytest

from asset_worker.domain.assets import Expectations, Unanswered
from asset_worker.poller.actions import Actions
from asset_worker.poller.per_asset_refusals import DENIALS, PerAssetRefusals
from tests.doubles.clocks import LoopClock
from tests.doubles.looks import ID, IDS, SCHEDULE
from tests.doubles.polling import policy, put, queue_in_memory

pytestmark = pytest.mark.virtual_time


async def test_an_asset_settled_while_it_was_refused_is_forgotten_among_the_refused():
    clock, refusals = LoopClock(asyncio.get_running_loop()), PerAssetRefusals()
    queue = queue_in_memory(clock)
    at_once = policy(expectations=Expectations(deadline=0.0))
    actions = Actions(queue, schedule=SCHEDULE, policy=at_once, clock=clock, feedback=None, refusals=refusals)
    for now in range(DENIALS):
        denied_for = refusals.denied(ID, float(now), by_api=True)
        refusals.answered(IDS[0])
    assert denied_for is not None
    await put(queue, [ID])
    [lease] = await queue.take(1)
    await actions.act(lease, Unanswered("403"))
    assert dict(actions.completions) == {"timed_out": 1}
    assert not refusals.is_denied(ID)
