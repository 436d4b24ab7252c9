"""The gate of a worker that shares the limits of its key with others, in virtual time."""

from __future__ import annotations

import asyncio

import pytest

from asset_worker.domain.quota_share import LearnedRate
from asset_worker.runtime.clock import Clock
from tests.doubles.clocks import LoopClock
from tests.unit.api.test_gate import gate, now, request, warmed_up

pytestmark = pytest.mark.virtual_time


def clock() -> Clock:
    return LoopClock(asyncio.get_running_loop())


async def test_after_the_end_of_its_portion_it_sends_nothing_until_it_has_another_one() -> None:
    """The others use that portion by then."""
    it = await warmed_up(gate())
    began = now()
    it.share(0.5, None, until=clock().steady() + 10)
    await asyncio.sleep(9)
    assert await request(it) == began + 9
    await asyncio.sleep(1)
    waiting = [asyncio.ensure_future(request(it)) for _ in range(3)]
    await asyncio.sleep(3600)
    assert not any(each.done() for each in waiting)
    it.share(0.5, None, until=clock().steady() + 10)
    assert await asyncio.gather(*waiting) == [began + 3610] * 3


async def test_what_others_have_learned_is_used_and_what_is_known_is_returned() -> None:
    it = gate()
    assert it.share(1.0, None, until=1e9) is None
    assert it.share(0.5, LearnedRate(8.0, 2.0), until=1e9) == LearnedRate(8.0, 2.0)
